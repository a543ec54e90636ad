"""Model directories: weights, configuration, tokenizer and chat template together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateSyntaxError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from vrm.errors import CheckpointError
from vrm.files import follow_umask, writing
from vrm.model.backbones import embedding_rows
from vrm.model.configuration_vrm import VRMConfig
from vrm.model.embedded import resolve_backbone
from vrm.model.modeling_vrm import VRMForSequenceClassification, check_finite, check_keys
from vrm.model_files import (
    ADAPTER,
    CONFIG,
    TOKENIZER,
    check_model_directory,
    check_no_file,
    check_seals,
    loading,
    read_json,
    weight_files,
)
from vrm.seals import seal


def save_model(model: Any, tokenizer: PreTrainedTokenizerBase, directory: str | Path) -> None:
    """Write weights (safetensors), configuration, tokenizer and chat template; adapters keep the VRM configuration too.

    Args:
        model: a `VRMForSequenceClassification`, or a PEFT model around one.
        tokenizer: saved beside it.
        directory: created if needed.

    Raises:
        OutputError: if the disk is full, say.
    """
    target = Path(directory)
    is_adapter = hasattr(model, "peft_config")
    config = model.get_base_model().config if is_adapter else model.config
    config.text_digests = text_digests(tokenizer)
    with writing(target):
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        if is_adapter:
            config.save_pretrained(target)
        for file in target.glob("*.safetensors"):
            seal(file)
        follow_umask(*target.glob("*.safetensors"))


def load_model(
    name_or_path: str | Path, *, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
) -> tuple[VRMForSequenceClassification, PreTrainedTokenizerBase]:
    """Load a model directory (or Hub name), or an adapter directory merged into its backbone, ready for inference.

    Raises:
        CheckpointError: if it is not a variational reward model, is damaged, or weights or tokenizer do not match.

    Example:
        >>> from vrm import load_model
        >>> model, tokenizer = load_model("runs/mine/model")
        >>> len(model.config.objective_names) == model.config.num_objectives
        True
    """
    path = str(name_or_path)
    check_model_directory(path)
    tokenizer = _tokenizer(path)
    with loading(path):
        if (Path(path) / ADAPTER).is_file():
            model = _load_adapter(Path(path), dtype)
        else:
            model = VRMForSequenceClassification.from_pretrained(path, dtype=dtype or torch.float32)
    check_vocabulary(tokenizer, embedding_rows(model), path)
    check_texts(tokenizer, model.config.text_digests, path)
    model = model.to(device).eval()
    with loading(path):
        model.check_rows_apart()
    return model, tokenizer


def _load_adapter(directory: Path, dtype: torch.dtype | None) -> VRMForSequenceClassification:
    from peft import PeftModel, get_peft_model_state_dict

    check_seals(directory)
    config = VRMConfig.from_pretrained(directory)
    if not config.backbone_name_or_path:
        raise CheckpointError(f"{directory / 'config.json'} does not say which backbone the adapter belongs to")
    fields = {key: value for key, value in config.to_dict().items() if key in _HEAD_FIELDS}
    base = VRMForSequenceClassification.from_backbone(config.backbone_name_or_path, dtype=dtype, **fields)
    stored = {key: value for file in weight_files(directory) for key, value in load_file(file).items()}
    check_finite(str(directory), stored)
    try:
        model = PeftModel.from_pretrained(base, str(directory))
    except (RuntimeError, KeyError) as error:  # of another shape, or a part of the head is not there
        reason = " ".join(str(error).replace("modules_to_save.default.", "").replace(".default.", ".").split())
        raise CheckpointError(f"{directory} does not hold the weights its configuration promises: {reason}") from error
    # PEFT leaves at its beginning what a file does not have, and passes over what it has too much.
    expected = {key: value.shape for key, value in get_peft_model_state_dict(model).items()}
    check_keys(str(directory), expected.keys() - stored.keys(), stored.keys() - expected.keys(), ())
    return model.merge_and_unload()


_HEAD_FIELDS = frozenset(VRMConfig.__init__.__code__.co_varnames[1 : VRMConfig.__init__.__code__.co_argcount]) - {
    "backbone_config",
    "backbone_name_or_path",
}


def load_tokenizer(name_or_path: str) -> PreTrainedTokenizerBase:
    """Tokenizer of a backbone directory, Hub name, `embedded` or `embedded-decoder`.

    Raises:
        CheckpointError: it cannot be read, has no vocabulary, or has another one than the configuration beside it.
    """
    path = resolve_backbone(name_or_path)
    tokenizer = _tokenizer(path)
    config = Path(path) / CONFIG
    check_vocabulary(tokenizer, _stated_rows(read_json(config)) if config.is_file() else None, path)
    return tokenizer


def _tokenizer(path: str) -> PreTrainedTokenizerBase:
    check_no_file(path, "a tokenizer")
    with loading(path, "the tokenizer in "):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    with loading(path, "the tokenizer in "):
        try:
            _ids_of_texts(tokenizer)
        except TemplateSyntaxError as error:
            file = Path(path) / "chat_template.jinja"
            place = file if file.exists() else Path(path) / TOKENIZER
            raise CheckpointError(f"{place}: no valid chat template, line {error.lineno}: {error.message}") from None
    return tokenizer


def _stated_rows(config: Mapping[str, Any]) -> int | None:
    """Rows of the embeddings by a configuration as it is stored, of a backbone or of a model around one."""
    for name in ("backbone_config", "text_config"):
        if isinstance(config.get(name), dict):
            return _stated_rows(config[name])
    rows = config.get("vocab_size")
    return rows if isinstance(rows, int) else None


_LEAST_SHARE, _FEW, _FEW_LETTERS = 0.5, 256, 8


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int | None, name: str) -> None:
    """Raise CheckpointError for a tokenizer that cannot belong to a table of embeddings.

    Tables are often larger than vocabularies, and some vocabularies end with special tokens that no text becomes.

    Args:
        tokenizer: as it was loaded.
        rows: of the table; None where that is not known.
        name: directory or Hub name, for the message.
    """
    vocabulary = tokenizer.get_vocab()
    special = _special_ids(tokenizer)
    ordinary = [key for key in vocabulary.values() if key not in special]
    absent = _absent_files(tokenizer, Path(name))
    hint = f"; {' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not there" if absent else ""
    table = f"the table of embeddings has {rows or 0:,} rows"
    lost = bool(absent) and len(ordinary) < _FEW_LETTERS
    small = rows is not None and len(vocabulary) < _LEAST_SHARE * rows and rows - len(vocabulary) > _FEW
    if lost or small:
        than = "hardly more than special ones" if rows is None else f"but {table}: it is not this model's tokenizer"
        raise CheckpointError(f"{name}: the tokenizer knows {len(vocabulary):,} tokens, {than}{hint}")
    if rows is None:
        return
    highest = max([*ordinary, *_ids_of_texts(tokenizer)], default=0)
    if highest >= rows:
        token = tokenizer.convert_ids_to_tokens(highest)
        raise CheckpointError(f"{name}: the tokenizer has the token {token!r} with id {highest:,}, but {table}")


_PROBES = (
    "The quick brown fox: 3.14, 1,000 and 2026!",
    "  two  spaces\n\nand\ttabs ",
    "na\u00efve caf\u00e9, cafe\u0301, STRASSE \u00df \u0130",
    "\u4f60\u597d\u3002\u041f\u0440\u0438\u0432\u0435\u0442 \u0645\u0631\u062d\u0628\u0627 \U0001f600",
    "def f(x): return x**2  # https://example.org/a?b=c",
)
_PARTS = {
    "vocabulary": "gives its tokens other ids",
    "chat_template": "has another chat template",
    "ids": "cuts texts into other tokens",
}


def text_digests(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """SHA-256 over what a tokenizer does, however its files are written.

    Over the ids of its ordinary tokens, over those of a few texts with the special tokens around them, and over its
    chat template.
    """
    template = getattr(tokenizer, "chat_template", None)
    special = _special_ids(tokenizer)
    values = {
        "vocabulary": sorted((token, key) for token, key in tokenizer.get_vocab().items() if key not in special),
        "ids": [*(list(tokenizer.encode(text)) for text in _PROBES), _ids_of_texts(tokenizer)],
        "chat_template": template if template is None or isinstance(template, str) else dict(template),
    }
    return {
        name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest() for name, value in values.items()
    }


def check_texts(tokenizer: PreTrainedTokenizerBase, stated: Mapping[str, str], name: str) -> None:
    """Raise CheckpointError for another tokenizer or chat template than the model was saved with.

    Args:
        tokenizer: as it was loaded.
        stated: `text_digests` of the model's configuration; empty for models that were saved without.
        name: directory or Hub name, for the message.
    """
    digests = text_digests(tokenizer) if stated else {}
    for part, words in _PARTS.items():
        if part in stated and stated[part] != digests[part]:
            raise CheckpointError(
                f"{name}: the tokenizer {words} than the one that the model was saved with. Restore its files; if the "
                f"change is meant, take text_digests out of {CONFIG}"
            )


def _absent_files(tokenizer: PreTrainedTokenizerBase, directory: Path) -> list[str]:
    """Files that this kind of tokenizer reads its vocabulary from, where a directory has none of them."""
    if not directory.is_dir():
        return []
    names = sorted({name for name in tokenizer.vocab_files_names.values() if name != TOKENIZER})
    return [] if any((directory / name).exists() for name in names) else names


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    return {key for key, token in tokenizer.added_tokens_decoder.items() if token.special}


def _ids_of_texts(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of a short text and of a short conversation, with the special tokens around them."""
    ids = list(tokenizer.encode("."))
    if getattr(tokenizer, "chat_template", None):
        messages = [{"role": "user", "content": "."}, {"role": "assistant", "content": "."}]
        try:
            text = str(tokenizer.apply_chat_template(messages, tokenize=False))
        except TemplateSyntaxError:
            raise
        except Exception:  # a template may refuse these messages; what it takes is seen with the rows
            return ids
        ids += tokenizer.encode(text, add_special_tokens=False)
    return ids


def weights_sha256(model: str) -> str | None:
    """SHA-256 over a model's safetensors files in the order of their names; for one file, what `sha256sum` prints.

    None if there are none, as in a Hub model that is stored in another format.
    """
    from transformers.utils import cached_file

    directory = Path(model)
    if not directory.is_dir():
        # The files of a Hub model that has been loaded just now lie beside its configuration.
        directory = Path(str(cached_file(model, "config.json", local_files_only=True))).parent
    files = sorted(directory.glob("*.safetensors"))
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest() if files else None


def tokenizer_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over what turns text into ids: vocabulary, merges, normalization, added and special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else {"vocabulary": tokenizer.get_vocab()}
    # These two are of the last call, not of the tokenizer.
    rules |= {"truncation": None, "padding": None, "special": tokenizer.special_tokens_map}
    return hashlib.sha256(json.dumps(rules, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()


def tensors_sha256(tensors: Mapping[str, Tensor], *first: bytes) -> str:
    """SHA-256 over some bytes, then over tensors by name and content, in the order of their names."""
    digest = hashlib.sha256(b"".join(first))
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
