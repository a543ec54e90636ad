"""Requests that schemathesis makes of the OpenAPI document, right and wrong ones: no 5xx, and errors of one form."""

from __future__ import annotations

import pytest
from schemathesis import GenerationMode
from studies.drills.server_parts import openapi

OPERATIONS = ["/v1/score", "/v1/explain", "/get_reward", "/slime/reward", "/classify", "/pooling", "/score"]
SMALL = ["/v1/rows/{index}", "/v1/draws/{objectives}"]


@pytest.fixture(scope="module")
def document(tiny_decoder_dir):
    return openapi.document_of(tiny_decoder_dir)


@pytest.mark.parametrize("examples", [15, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("path", [*OPERATIONS, *SMALL])
def test_no_request_makes_the_server_fail(document, path, mode, examples):
    (operation,) = (found for found in openapi.operations(document) if found.path == path)
    found = openapi.check(operation, mode, examples)
    assert found.wrong == []
    assert found.statuses.total() >= (1 if path in SMALL else examples / 2)
    assert 1 <= len(found.digests) <= found.statuses.total()
    assert set(found.statuses) != {200} or mode == GenerationMode.POSITIVE
