"""What a certificate says in words, and that it says it of the right numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from vrm.certify import print_certificate
from vrm.results import CertificateDocument, CertifiedRows, HeadCertificate, Latents

VRM = HeadCertificate("vrm", Latents.MEAN, 128, 0.301, 0.342, 0.297, 4.2, 0.1, 0.365)
BT = HeadCertificate("bt", Latents.MEAN, 3456, 0.322, 0.364, 0.321, 0.3, 0.03, 0.381)
DOCUMENT = CertificateDocument(
    run="runs/mine", delta=0.05, seed=0, rows=CertifiedRows(800, 90, 700, 750), heads=(VRM, BT)
)


def printed(document: CertificateDocument) -> str:
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as capture:
        print_certificate(console, document)
    return " ".join(capture.get().split())


def test_every_number_is_in_the_table_and_the_promises_are_in_words():
    text = printed(DOCUMENT)
    for number in ("30.1", "34.2", "29.7", "4.2", "36.5", "32.2", "36.4", "32.1", "0.3", "38.1", "128", "3,456"):
        assert number in text
    assert "with a probability of 95 %" in text
    assert "the refitted vrm ranks at most 34.2 %" in text
    assert "vrm ranks at most 36.5 % of them wrongly when its decoder A is drawn from Q" in text
    assert "Neither speaks of the model in the run" in text
    assert "The certificate of vrm is the lower one, 36.5 % against 38.1 % of bt." in text
    assert "says nothing" not in text
    assert "Only" not in text


@pytest.mark.parametrize("bound", [0.5, 0.62])
def test_a_bound_that_a_coin_meets_says_nothing(bound):
    text = printed(replace(DOCUMENT, heads=(replace(VRM, bound=bound), BT)))
    assert "The certificate of vrm (mean reward) says nothing" in text
    assert "The certificate of bt is the lower one, 38.1 % against" in text


def test_one_head_is_compared_with_nothing_and_few_prompts_are_named():
    text = printed(replace(DOCUMENT, heads=(BT,), rows=CertifiedRows(20, 0, 19, 20)))
    assert "The head was fitted anew to 20 rows" in text
    assert "lower one" not in text
    assert "Only 19 prompts" in text
