"""Explanations as printed: what is said, and that it fits."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from vrm.cli.explanation_view import _UNICODE, _weight_bar, print_explanation
from vrm.wire.explanation import (
    CompletionReport,
    CredibleInterval,
    Explanation,
    Identifiability,
    PairReport,
    UncertaintyReport,
    WeightReport,
    reasons_in_words,
)


def completion(label: str, text: str, reward: float) -> CompletionReport:
    interval = CredibleInterval(reward, reward - 1.0, reward + 1.0)
    scores = {"safety": 2.0 * reward, "style": 0.0, **{f"free_{k}": 0.001 for k in range(1, 7)}}
    contributions = {name: 0.5 * value for name, value in scores.items()}
    return CompletionReport(
        label, text, interval, interval, 0.6, scores, contributions, UncertaintyReport.of(0.18, 0.09, 0.09, 0.36)
    )


def explanation(count: int = 2) -> Explanation:
    weights = [WeightReport("safety", True, CredibleInterval(0.6, 0.3, 0.9), 6.0)]
    weights.append(WeightReport("style", True, CredibleInterval(0.1, 0.0, 0.3), 1.0))
    weights += [WeightReport(f"free_{k}", False, CredibleInterval(0.05, 0.0, 0.2), 0.5) for k in range(1, 7)]
    completions = [completion("ABCDEFGHIJ"[k], f"text {k} [/red] " * 30, 1.0 - 0.25 * k) for k in range(count)]
    reasons = {"safety": 1.2, "style": -0.3}
    uncertainty = UncertaintyReport.of(0.62, 0.3, 0.08, 1.0)
    pairs = [
        PairReport(
            "A", other.label, 0.83, CredibleInterval(1.1, -0.3, 2.6), reasons, uncertainty, reasons_in_words(reasons)
        )
        for other in completions[1:]
    ]
    return Explanation(
        prompt="How? " * 60,
        head="vrm",
        level=0.9,
        weights=tuple(weights),
        total_concentration=10.0,
        emphasis={"safety": 4.0},
        without=(),
        counts_meaning="Counts are votes.",
        completions=tuple(completions),
        pairs=tuple(pairs),
        identifiability=Identifiability("identified", 8, 8, 8, ("Weights are identified.",)),
        notes=("A note.",),
    )


def printed(found: Explanation, width: int = 100, encoding: str = "utf-8") -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    print_explanation(Console(file=stream, width=width, highlight=False), found)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def test_everything_that_is_asked_is_there():
    text = printed(explanation())
    for words in (
        "safety       0.60",
        "[0.30, 0.90]",
        "with 90 % intervals",
        "Total concentration 10.0 = 6.0 of the model + 4 of emphasis (safety +4). Counts are votes.",
        "A beats B with probability 0.83   (margin +1.10 log-odds, [-0.30, +2.60])",
        "because of safety +1.20, in spite of style -0.30",
        "how good is it?",
        "what matters here?",
        "62 %",
        "Weights are identified.",
        "A note.",
        "text 0 [/red]",
    ):
        assert words in text


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("count", [1, 2, 4, 10])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_lines_fit_into_the_terminal(width, count, encoding):
    text = printed(explanation(count), width, encoding)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text
    assert "?????" not in text


def test_intervals_that_training_does_not_show_are_not_printed():
    found = explanation()
    unknown = replace(found.identifiability, statements=("Intervals are not known.",), intervals=False)
    text = printed(replace(found, identifiability=unknown))
    for words in ("90 % intervals", "[0.30, 0.90]", "[-0.30, +2.60]", "how good is it?", "┝"):
        assert words in printed(found)
        assert words not in text
    for words in (
        "safety       0.60",
        "A beats B with probability 0.83   (margin +1.10 log-odds)",
        "because of safety +1.20",
        "Total concentration 10.0 = 6.0 of the model",
        "Intervals are not known.",
    ):
        assert words in text


def test_a_narrow_terminal_cuts_no_name():
    text = printed(explanation(), 40)
    assert "[0.30, 0.90]" in text
    assert "…" not in text


def test_many_free_objectives_are_summed_up():
    text = printed(explanation())
    assert "free_3" in text
    assert "free_4" not in text
    assert "3 more free" in text
    assert "0.15" in text


def test_free_objectives_that_a_reason_names_are_in_the_tables():
    found = explanation()
    contributions = {"free_5": 1.2, "safety": 0.3, "free_6": 0.001}
    words = reasons_in_words(contributions)
    text = printed(replace(found, pairs=(replace(found.pairs[0], contributions=contributions, reasons=words),)))
    assert text.count("free_5") == 3
    assert "2 more free" in text
    assert "free_6" not in text


def test_completions_and_pairs_that_do_not_fit_are_counted():
    text = printed(explanation(10), 80)
    assert "8 more did not fit" in text
    assert "3 more comparisons" in text


def test_zero_has_no_sign():
    assert "-0.00" not in printed(explanation())
    assert "+0.00" not in printed(explanation())


def test_a_single_completion_has_the_parts_of_its_own_uncertainty():
    text = printed(explanation(1))
    assert "beats" not in text
    assert "Where the reward's uncertainty comes from" in text
    assert "50 %" in text


def test_without_uncertainty_nothing_is_said_of_it():
    found = explanation()
    certain = replace(
        found,
        total_concentration=None,
        weights=tuple(replace(weight, concentration=None) for weight in found.weights),
        completions=tuple(replace(report, uncertainty=None) for report in found.completions),
        pairs=tuple(replace(pair, uncertainty=None) for pair in found.pairs),
        emphasis={},
    )
    text = printed(certain)
    for words in ("interval", "uncertainty", "concentration", " – "):
        assert words not in text


@pytest.mark.parametrize(
    ("probability", "words"), [(0.83, "0.83"), (0.9961, "0.996"), (0.99999, "> 0.999"), (0.5, "0.50")]
)
def test_probabilities_are_never_rounded_to_one(probability, words):
    found = explanation()
    text = printed(replace(found, pairs=(replace(found.pairs[0], probability=probability),)))
    assert f"with probability {words} " in text


def test_bars():
    assert _weight_bar(CredibleInterval(0.5, 0.2, 0.8), 10, _UNICODE) == "━━┝━━●──┤ "
    assert _weight_bar(CredibleInterval(1.0, 1.0, 1.0), 10, _UNICODE) == "━━━━━━━━━●"
    assert _weight_bar(CredibleInterval(0.01, 0.0, 0.02), 10, _UNICODE) == "●         "
