"""What is wrong with preference data: duplicates, leaks, contradictions, noise, lengths, languages."""

from vrm.evaluate.doctor.diagnose import diagnose
from vrm.evaluate.doctor.findings import DoctorReport, DoctorSettings, Finding, Thresholds
from vrm.evaluate.doctor.tokens import Reading, load_reading, model_reading

__all__ = [
    "DoctorReport",
    "DoctorSettings",
    "Finding",
    "Reading",
    "Thresholds",
    "diagnose",
    "load_reading",
    "model_reading",
]
