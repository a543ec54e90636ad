"""The documents that commands write: their types, how they are written and how they are read.

Importing this package loads no torch; `vrm.results.header` does, which asks a model for its hashes.
"""

from vrm.results.adaptation import AdaptationDocument, FittedRater, HeldOutVotes
from vrm.results.audit import AuditDocument, AuditReport, EditKind, EditResult, Verdict
from vrm.results.base import SCHEMA, Document, Kind, MeasuredModel, ModelDocument, from_json, read_object, to_text
from vrm.results.benchmarks import BenchmarkEntry, BestOfNEntry, FigureResult, PickCurve
from vrm.results.certificate import CertificateDocument, CertifiedRows, HeadCertificate, Latents
from vrm.results.comparison import (
    BenchmarkComparison,
    BenchmarkComparisonEntry,
    Comparison,
    ComparisonDocument,
    FileComparison,
    PairedComparison,
    PairedFigure,
)
from vrm.results.distillation import DistillationDocument
from vrm.results.doctor import DoctorDocument, DoctorReport, Finding, Severity
from vrm.results.evaluation import Evaluation, EvaluationDocument, FileEvaluation, Mistake, QuickstartDocument
from vrm.results.reading import FORMS, is_run, read_document, read_run
from vrm.results.run import RowCounts, Run, RunDocument

__all__ = [
    "FORMS",
    "SCHEMA",
    "AdaptationDocument",
    "AuditDocument",
    "AuditReport",
    "BenchmarkComparison",
    "BenchmarkComparisonEntry",
    "BenchmarkEntry",
    "BestOfNEntry",
    "CertificateDocument",
    "CertifiedRows",
    "Comparison",
    "ComparisonDocument",
    "DistillationDocument",
    "DoctorDocument",
    "DoctorReport",
    "Document",
    "EditKind",
    "EditResult",
    "Evaluation",
    "EvaluationDocument",
    "FigureResult",
    "FileComparison",
    "FileEvaluation",
    "Finding",
    "FittedRater",
    "HeadCertificate",
    "HeldOutVotes",
    "Kind",
    "Latents",
    "MeasuredModel",
    "Mistake",
    "ModelDocument",
    "PairedComparison",
    "PairedFigure",
    "PickCurve",
    "QuickstartDocument",
    "RowCounts",
    "Run",
    "RunDocument",
    "Severity",
    "Verdict",
    "from_json",
    "is_run",
    "read_document",
    "read_object",
    "read_run",
    "to_text",
]
