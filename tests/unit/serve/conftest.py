"""Services and test clients over the tiny encoder, one for all tests of the directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.serve.app import create_app
from vrm.serve.service import Service
from vrm.serve.settings import ServeSettings

LOCAL = "http://localhost"
"""Where clients believe to ask; the one of their own, testserver, is no name that the server goes by."""


@pytest.fixture(scope="session")
def engine(tiny_model_dir: Path) -> RewardEngine:
    return RewardEngine.from_pretrained(tiny_model_dir, options=ExtractionOptions(precision="float32"))


@pytest.fixture(scope="session")
def make_client(engine: RewardEngine) -> Iterator[Callable[..., TestClient]]:
    """make_client(**ServeSettings fields): a client of an application; `raise_server_exceptions` is off."""
    opened: list[TestClient] = []

    def make(served: RewardEngine = engine, **settings: Any) -> TestClient:
        app = create_app(Service(served, ServeSettings(name="tiny", queue_delay=0, **settings)))
        client = TestClient(app, LOCAL, raise_server_exceptions=False).__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def client(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client()
