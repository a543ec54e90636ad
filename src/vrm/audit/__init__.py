"""Audits: what edits that should not pay do to a reward. Names are loaded when they are used."""

from __future__ import annotations

from vrm._lazy import lazy_names

_WHERE = {
    "EDITS": "vrm.audit.edits",
    "LOWER": "vrm.audit.edits",
    "NOT_RAISE": "vrm.audit.edits",
    "AuditReport": "vrm.results.audit",
    "audit": "vrm.audit.run",
    "Edit": "vrm.audit.edits",
    "EditContext": "vrm.audit.edits",
    "EditResult": "vrm.results.audit",
    "print_audit": "vrm.audit.table",
    "print_edits": "vrm.audit.table",
    "select_edits": "vrm.audit.edits",
}

__all__ = list(_WHERE)

# The list of edits must not load torch.
__getattr__, __dir__ = lazy_names(__name__, _WHERE)
