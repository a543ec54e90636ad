"""What is wrong with preference data: duplicates, leaks, contradictions, noise, lengths, languages."""

from vrm.doctor.diagnose import diagnose
from vrm.doctor.findings import DoctorSettings, Thresholds
from vrm.doctor.lengths import Reading, load_reading, model_reading
from vrm.results.doctor import DoctorReport, Finding

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
