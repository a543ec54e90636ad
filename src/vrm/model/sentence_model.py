"""Directories that `SentenceTransformer.save` writes: a list of modules, of which one is the transformer."""

from __future__ import annotations

import json
from pathlib import Path

from vrm.errors import CheckpointError


def transformer_directory(directory: Path) -> Path:
    """Where the transformer of a saved sentence-transformers model lies; any other directory itself.

    Newer versions keep it beside `modules.json`, older ones in a folder such as `0_Transformer`.

    Raises:
        CheckpointError: if the model has no transformer, or its folder is not there.
    """
    file = directory / "modules.json"
    if (directory / "config.json").is_file() or not file.is_file():
        return directory
    modules = json.loads(file.read_text(encoding="utf-8"))
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    if "Transformer" not in kinds:
        raise CheckpointError(
            f"{file} lists {', '.join(kinds)}, but no Transformer: only sentence-transformers models with a "
            "transformer inside can be a backbone"
        )
    found = directory / str(modules[kinds.index("Transformer")]["path"])
    if not (found / "config.json").is_file():
        raise CheckpointError(f"{file} says that the transformer is in {found}, but that has no config.json")
    return found
