"""Audits: what edits that should not pay do to a reward. Names are loaded when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "EDITS": "vrm.evaluate.audit.edits",
    "LOWER": "vrm.evaluate.audit.edits",
    "NOT_RAISE": "vrm.evaluate.audit.edits",
    "AuditReport": "vrm.evaluate.audit.summary",
    "audit": "vrm.evaluate.audit.run",
    "Edit": "vrm.evaluate.audit.edits",
    "EditContext": "vrm.evaluate.audit.context",
    "EditResult": "vrm.evaluate.audit.summary",
    "Resampling": "vrm.evaluate.audit.length",
    "print_audit": "vrm.evaluate.audit.table",
    "print_edits": "vrm.evaluate.audit.listing",
    "select_edits": "vrm.evaluate.audit.edits",
}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    # The list of edits must not load torch.
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'vrm.evaluate.audit' has no attribute {name!r}")
