from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from vrm.data.schema import Judgment
from vrm.evaluate.preferences import evaluate_judgments
from vrm.evaluate.tables import details_table, print_evaluation
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.metrics import ResampleOptions
from vrm.model import load_model

WORDS = ["the", "good", "bad", "safe", "unsafe", "plan", "water", "city", "story", "help"]


def text(seed, length):
    return " ".join(np.random.default_rng(seed).choice(WORDS, length))


ROWS = [
    Judgment(f"how {n}", [text(n, 2 + n % 9), text(99 + n, 2 + n % 7)], preference=(1.0, 0.0, 0.5, 0.8)[n % 4])
    for n in range(60)
]


@pytest.fixture(scope="module")
def evaluation(tiny_model_dir):
    engine = RewardEngine(*load_model(tiny_model_dir), ExtractionOptions(precision="float32"))
    return evaluate_judgments(engine, ROWS, ResampleOptions(resamples=50))


def printed(what, width):
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False)
    print_evaluation(console, what, "title") if hasattr(what, "pairs") else console.print(what)
    return stream.getvalue()


def cells(out, start):
    (line,) = (line for line in out.splitlines() if line.startswith(f"│ {start}"))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_rows_hold_the_numbers_of_the_evaluation(evaluation):
    out = printed(details_table(evaluation), 140)
    style = evaluation.style_controlled.accuracy
    _, value, span, beside = cells(out, "style-controlled accuracy")
    assert value == f"{100 * style.accuracy.estimate:.1f}"
    assert span == f"[{100 * style.accuracy.low:.1f}, {100 * style.accuracy.high:.1f}]"
    assert beside.startswith(f"'style wins': {100 * style.style_wins.value:.1f};")
    area = evaluation.selective["margin_over_sd"].area.estimate
    assert cells(out, "area by |margin| / sd")[1] == f"{100 * area:.1f}"
    assert (
        cells(out, "area by probability")[3] == f"at random: {100 * evaluation.pairs.accuracy.estimate:.1f} of 45 pairs"
    )
    assert cells(out, "AUROC: 15 ties")[0] == "AUROC: 15 ties, against 45 others"
    assert cells(out, "AUROC: 30 pairs in dispute")[0] == "AUROC: 30 pairs in dispute, against 30 others"
    signal = evaluation.disagreement.ties.signals["total_sd"]
    (first, second) = (line for line in out.splitlines() if line.startswith("│   total sd"))
    assert first != second
    assert f"{signal.auroc.estimate:.2f} │" in first
    assert f"over closeness {signal.over_closeness.estimate:+.2f} [{signal.over_closeness.low:+.2f}" in first


@pytest.mark.parametrize("width", [80, 100])
def test_tables_keep_within_the_terminal(evaluation, width):
    lines = printed(evaluation, width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)


def test_why_a_figure_is_not_there_is_said(evaluation):
    style = evaluation.style_controlled
    accuracy = replace(style.accuracy.accuracy, estimate=float("nan"), low=float("nan"), high=float("nan"))
    unknown = replace(style, accuracy=replace(style.accuracy, accuracy=accuracy, reason="no pair where style is"))
    out = printed(details_table(replace(evaluation, style_controlled=unknown, disagreement=None)), 140)
    assert cells(out, "style-controlled accuracy")[1:] == ["-", "[-, -]", "no pair where style is"]
    assert "AUROC" not in out
