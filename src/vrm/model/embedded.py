"""Where a backbone lies: in a package or the cache, in a sentence-transformers directory, or elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

from vrm.choices import EMBEDDED, EMBEDDED_DECODER
from vrm.errors import CheckpointError
from vrm.model.embedded_files import decoder_path, encoder_path
from vrm.model_files import loading

_PLACES = {EMBEDDED: encoder_path, EMBEDDED_DECODER: decoder_path}


def resolve_backbone(name_or_path: str) -> str:
    """An embedded backbone to its directory, a sentence-transformers model to its transformer's; others unchanged.

    Raises:
        CheckpointError: for a sentence-transformers model without a transformer.
        MissingExtraError: for an embedded backbone that is not installed.
    """
    if name_or_path in _PLACES:
        return str(_PLACES[name_or_path]())
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
