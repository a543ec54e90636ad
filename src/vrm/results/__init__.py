"""The documents that commands write: their types, how they are written and how they are read.

Importing this package loads no torch; `vrm.results.header` does, which asks a model for its hashes.
"""

from vrm.results.audit import AuditDocument, AuditReport, EditKind, EditResult, Verdict
from vrm.results.base import SCHEMA, Document, Kind, MeasuredModel, ModelDocument, from_json, read_object, to_text
from vrm.results.comparison import (
    BenchmarkComparison,
    BenchmarkComparisonEntry,
    Comparison,
    ComparisonDocument,
    FileComparison,
)
from vrm.results.doctor import DoctorDocument, DoctorReport, Finding, Severity
from vrm.results.evaluation import Evaluation, EvaluationDocument, FileEvaluation

__all__ = [
    "SCHEMA",
    "AuditDocument",
    "AuditReport",
    "BenchmarkComparison",
    "BenchmarkComparisonEntry",
    "Comparison",
    "ComparisonDocument",
    "DoctorDocument",
    "DoctorReport",
    "Document",
    "EditKind",
    "EditResult",
    "Evaluation",
    "EvaluationDocument",
    "FileComparison",
    "FileEvaluation",
    "Finding",
    "Kind",
    "MeasuredModel",
    "ModelDocument",
    "Severity",
    "Verdict",
    "from_json",
    "read_object",
    "to_text",
]
