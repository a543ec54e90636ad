"""What a model card may say: read from the run and from results, never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vrm.errors import ConfigError, DataError
from vrm.model.checkpoint import weights_sha256
from vrm.results import EvaluationDocument, Kind, RunDocument, from_json, read_document, read_object


def read_run_beside(model: str | Path) -> RunDocument | None:
    """The `run.json` that `vrm train` wrote beside a model directory; None if there is none.

    Raises:
        DataError: if it is not what `vrm train` writes.
    """
    file = Path(model).resolve().parent / "run.json"
    if not Path(model).is_dir() or not file.is_file():
        return None
    content = read_object(file)
    missing = sorted({"config", "rows", "metrics", "versions"} - set(content))
    if missing:
        raise DataError(f"{file} lacks {', '.join(missing)}, which `vrm train` writes: move it away, or train again")
    return from_json(RunDocument, content, file)


def read_results(files: Sequence[Path], model: str | Path) -> list[EvaluationDocument]:
    """Documents of `vrm evaluate --json`, checked to be of this model.

    Raises:
        DataError: if a file is not such a document.
        ConfigError: if it was measured on other weights.
    """
    documents = []
    weights = weights_sha256(str(model)) if files else None
    for file in files:
        document = read_document(file, [Kind.EVALUATION], "a document of `vrm evaluate --json`")
        assert isinstance(document, EvaluationDocument)
        if document.model_sha256 != weights:
            raise ConfigError(
                f"{file} was measured on the weights {document.model_sha256} (of {document.model}), "
                f"but {model} has {weights}: evaluate this model"
            )
        documents.append(document)
    return documents
