"""Asking a reward server from Python: `Client` and `AsyncClient`. Imports neither torch nor transformers."""

from __future__ import annotations

from typing import Any

from vrm._lazy import lazy_names
from vrm.errors import MissingExtraError

_WHERE = {
    "Client": "vrm.client.clients",
    "AsyncClient": "vrm.client.clients",
    "RetryPolicy": "vrm.client.calls",
    "ScoreResponse": "vrm.wire.schema",
    "ExplainResponse": "vrm.wire.schema",
    "VersionResponse": "vrm.wire.schema",
}

__all__ = list(_WHERE)

_load, __dir__ = lazy_names(__name__, _WHERE)


def __getattr__(name: str) -> Any:
    try:
        return _load(name)
    except ModuleNotFoundError as error:
        if error.name != "httpx2":
            raise
        raise MissingExtraError("httpx2", "client", "vrm.client") from None
