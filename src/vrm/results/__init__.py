"""The documents that commands write: their types, how they are written and how they are read.

Importing this package loads no torch; `vrm.results.header` does, which asks a model for its hashes.
"""

from vrm.results.base import SCHEMA, Document, Kind, ModelDocument, from_json, parse_object, read_object, to_text
from vrm.results.evaluation import Evaluation, EvaluationDocument, FileEvaluation

__all__ = [
    "SCHEMA",
    "Document",
    "Evaluation",
    "EvaluationDocument",
    "FileEvaluation",
    "Kind",
    "ModelDocument",
    "from_json",
    "parse_object",
    "read_object",
    "to_text",
]
