"""Asking a reward server from Python: `Client` and `AsyncClient`. Imports neither torch nor transformers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vrm.errors import MissingExtraError

_WHERE = {
    "Client": "vrm.client.sync_client",
    "AsyncClient": "vrm.client.async_client",
    "RetryPolicy": "vrm.client.calls",
    "ScoreResponse": "vrm.wire.schema",
    "ExplainResponse": "vrm.wire.schema",
    "VersionResponse": "vrm.wire.schema",
}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    # The server reads the schema, and needs no HTTP client for it.
    if name not in _WHERE:
        raise AttributeError(f"module 'vrm.client' has no attribute {name!r}")
    try:
        return getattr(import_module(_WHERE[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "httpx2":
            raise
        raise MissingExtraError("httpx2", "client", "vrm.client") from None
