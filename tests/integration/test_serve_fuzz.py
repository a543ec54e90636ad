"""Requests that schemathesis makes of the OpenAPI document, right and wrong ones: no 5xx, and errors of one form."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from vrm.inference.engine import RewardEngine
from vrm.serve.app import create_app
from vrm.serve.service import Service
from vrm.serve.settings import ServeSettings

OPERATIONS = ["/v1/score", "/v1/explain", "/get_reward", "/slime/reward", "/classify", "/pooling", "/score"]


@pytest.fixture(scope="module")
def document(tiny_decoder_dir):
    service = Service(
        RewardEngine.from_pretrained(tiny_decoder_dir), ServeSettings(queue_delay=0, allowed_hosts=("testserver",))
    )
    return schemathesis.openapi.from_asgi("/openapi.json", create_app(service))


@pytest.mark.parametrize("examples", [15, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("path", OPERATIONS)
def test_no_request_makes_the_server_fail(document, path, mode, examples):
    (operation,) = (found.ok() for found in document.include(path=path).get_all_operations())
    statuses = []

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def check(case):
        response = case.call()
        statuses.append(response.status_code)
        assert response.status_code < 500, response.text
        if response.status_code != 200:
            assert response.json()["error"]["code"] == response.status_code

    check()
    assert len(statuses) >= examples / 2
    assert any(status != 200 for status in statuses) or mode == GenerationMode.POSITIVE
