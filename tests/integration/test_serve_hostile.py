"""Smuggled requests and forged boundaries, by the drill's own means, against a server in this process."""

from __future__ import annotations

import asyncio
import random

import pytest
from studies.drills.server_parts import forged, hostile, shapes


@pytest.fixture(scope="module")
def server(serve, tiny_decoder_dir):
    with serve(tiny_decoder_dir, max_body_bytes=hostile.MOST_BYTES, token=hostile.TOKEN, allowed_hosts=()) as running:
        yield running


@pytest.mark.parametrize("cases", [hostile.lengths, hostile.lines, hostile.tokens])
def test_what_is_no_request_gets_4xx_or_a_closed_connection(server, cases):
    port = int(server.url.rpartition(":")[2])
    found = asyncio.run(hostile.tried(port, list(cases()), 1, random.Random(0)))
    assert {name: faults for name, (_, faults) in found.items() if faults} == {}
    assert server.service.metrics.registry.get_sample_value("vrm_texts_total") == 0


def test_forged_texts_add_no_special_token(make_tiny_model):
    # Texts that are cut to the limit have other prompts.
    draw, reference = random.Random(0), shapes.Reference(make_tiny_model(kind="decoder", max_input_tokens=512))
    texts = [forged.forged_text(number, draw) for number in range(50)]
    assert [text for text in texts if not forged.stay_text(reference, text)] == []
    assert sum("<|im_start|>" in text for text in texts) > 10
