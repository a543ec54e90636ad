"""Labels: contradictions, noise against simulation, ratings, ties."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vrm.doctor.labels import MIN_REPEATS, disagreement_rate, noise_from_disagreement

from .conftest import pair


@pytest.mark.parametrize("name", ["nothing_to_learn", "reversed_labels", "contradictory_pairs"])
def test_clean_labels(find, clean, name):
    found = find(name, clean)
    assert (found.severity, found.count, found.advice) == ("ok", 0, "")


def test_contradictions_in_either_order(find, clean):
    first, second = clean[0], clean[1]
    swapped = pair(first["prompt"], first["rejected"], first["chosen"])
    reversed_label = {**second, "preference": 0.2}
    found = find("contradictory_pairs", [*clean, swapped, reversed_label], examples=9)
    assert (found.severity, found.count, found.total) == ("error", 4, 14)
    assert found.details == {"pairs": 2, "same_order": 1, "tie_and_preference": 0}
    assert [int(place.rpartition(":")[2]) for place in found.places] == [1, 13, 2, 14]


def test_what_is_no_contradiction(find, clean):
    first = clean[0]
    rows = [
        *clean,
        dict(first),
        pair(first["prompt"], first["rejected"], first["chosen"], preference=0.1),
        pair("Quite another prompt?", first["rejected"], first["chosen"]),
        {**first, "preference": 0.5},
    ]
    found = find("contradictory_pairs", rows)
    assert (found.severity, found.count) == ("ok", 0)
    assert found.details["tie_and_preference"] == 1


def test_few_contradictions_are_a_warning(find):
    rows = [pair(f"Question {n}?", f"yes {n}", f"no {n}") for n in range(30)]
    found = find("contradictory_pairs", [*rows, pair("Question 3?", "no 3", "yes 3")])
    assert (found.severity, found.count, found.total) == ("warning", 2, 31)


def test_lists_contradict_comparisons(find):
    ranked = {"prompt": "Name a tree.", "completions": ["Oak.", "Elm.", "Cork."], "scores": [2, 1, 0]}
    found = find("contradictory_pairs", [ranked, pair("Name a tree.", "Cork.", "Oak.")])
    assert (found.count, found.total) == (2, 4)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2, 0.35, 0.5])
def test_noise_formula_inverts_the_rate_of_disagreement(noise):
    assert noise_from_disagreement(2 * noise * (1 - noise)) == pytest.approx(noise, abs=1e-7)


def test_noise_of_impossible_rates_is_one_half():
    assert noise_from_disagreement(0.5) == noise_from_disagreement(0.9) == 0.5


def test_disagreement_rate_counts_pairs_of_judgments():
    for first, second in [(2, 0), (1, 1), (3, 2), (4, 1)]:
        labels = [1] * first + [0] * second
        pairs = [(a, b) for i, a in enumerate(labels) for b in labels[i + 1 :]]
        assert disagreement_rate(first, second) == pytest.approx(np.mean([a != b for a, b in pairs]))


@pytest.mark.parametrize("noise", [0.08, 0.25])
def test_noise_of_simulated_judges_is_found(find, noise):
    generator = np.random.default_rng(3)
    rows = []
    for prompt in range(400):
        for wrong in generator.random(generator.integers(2, 5)) < noise:
            sides = (f"good {prompt}", f"bad {prompt}")
            rows.append(pair(f"Prompt {prompt}?", *(sides[::-1] if wrong else sides)))
    found = find("label_noise", rows)
    estimate = found.details["noise"]
    assert estimate.low < noise < estimate.high
    assert estimate.high - estimate.low < 0.1
    assert estimate.low <= estimate.estimate <= estimate.high
    assert found.severity == ("warning" if noise > 0.15 else "info")
    assert found.details["repeated_pairs"] == found.total == 400


def test_noise_is_not_guessed_without_repeats(find, clean):
    found = find("label_noise", clean)
    assert found.severity == "not run"
    assert "cannot be estimated from this file" in found.message
    few = [pair(f"Q{n}?", "yes", "no") for n in range(MIN_REPEATS - 1)] * 2
    assert find("label_noise", few).severity == "not run"
    enough = [pair(f"Q{n}?", "yes", "no") for n in range(MIN_REPEATS)] * 2
    found = find("label_noise", enough)
    assert (found.severity, found.details["noise"].estimate) == ("info", 0.0)


def test_ties_are_no_judgments_of_noise(find):
    rows = [pair(f"Q{n}?", "yes", "no", preference=p) for n in range(40) for p in (0.5, 1.0)]
    assert find("label_noise", rows).severity == "not run"


def test_nothing_but_ties_is_an_error(find, clean):
    tied = [{**row, "preference": 0.5} for row in clean]
    found = find("nothing_to_learn", tied)
    assert (found.severity, found.count, found.total) == ("error", 12, 12)
    assert find("nothing_to_learn", [*tied, pair("And this?", "yes", "no")]).severity == "ok"
    equal = {"prompt": "Name a tree.", "completions": ["Oak.", "Elm."], "scores": [1, 1]}
    assert find("nothing_to_learn", [equal]).severity == "error"


def test_votes_alone_are_something_to_learn(look):
    report = look([{"prompt": "Is it safe?", "objective_votes": {"safety": 1}}])
    assert not report.invalid
    assert report.files["file0"]["voted_objectives"] == {"safety": 1}


def test_labels_for_the_rejected_side(find, clean):
    half = [{**row, "preference": 0.1 if index < 6 else 0.9} for index, row in enumerate(clean)]
    assert find("reversed_labels", half).severity == "info"
    most = [{**row, "preference": 0.1 if index < 7 else 0.9} for index, row in enumerate(clean)]
    found = find("reversed_labels", most)
    assert (found.severity, found.count, found.total) == ("warning", 7, 12)


def rated(index: int, chosen: dict[str, float], rejected: dict[str, float], **columns: float):
    return pair(f"Q{index}?", "yes", "no", chosen_ratings=chosen, rejected_ratings=rejected, **columns)


def test_ratings_against_the_label(find):
    rows = [
        rated(0, {"a": 5, "b": 1}, {"a": 1, "b": 2}),  # b goes against the label, the mean does not
        rated(1, {"a": 1, "b": 1}, {"a": 3, "b": 1}),  # both do
        rated(2, {"a": 1}, {"a": 3}, preference=0.0),  # the label prefers the second side: they agree
        rated(3, {"a": 1}, {"b": 3}),  # nothing in common
        rated(4, {"a": 1}, {"a": 3}, preference=0.5),  # a tie
        rated(5, {"a": 2, "c": 9}, {"a": 1}),
    ]
    found = find("ratings_contradict", rows)
    assert (found.severity, found.count, found.total) == ("warning", 1, 4)
    assert found.places[0].endswith(":2")
    assert found.details["by_objective"] == {"a": {"against": 1, "different": 4}, "b": {"against": 1, "different": 1}}
    assert "b goes against the label most often" in found.message


def test_ratings_that_agree_and_none(find, clean):
    found = find("ratings_contradict", [rated(0, {"a": 2}, {"a": 1})])
    assert (found.severity, found.count) == ("ok", 0)
    assert find("ratings_contradict", clean).severity == "not run"


def test_ratings_of_lists(find):
    row = {
        "prompt": "Name a tree.",
        "completions": ["Oak.", "Elm.", "Cork."],
        "scores": [2, 1, 0],
        "ratings": [{"a": 1}, {"a": 5}, None],
    }
    found = find("ratings_contradict", [row])
    assert (found.count, found.total) == (1, 1)


def test_the_interval_of_noise_is_known(find):
    rows = [pair(f"Q{n}?", "yes", "no") for n in range(30)] * 2
    noise = find("label_noise", rows).details["noise"]
    assert not math.isnan(noise.low)
    assert noise.confidence == 0.95


SAID = {"rater 1": (1, 1, 0), "rater 2": (1, 0, 0), "rater 3": (1, 1, 0)}


def in_both_forms(prompts: int) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Three raters, of whom the second differs on every third pair: a row a rater, and a row a pair."""
    long, wide = [], []
    for n in range(prompts):
        said = {rater: votes[n % 3] for rater, votes in SAID.items()}
        long += [pair(f"Q{n}?", "yes", "no", annotator=rater, preference=vote) for rater, vote in said.items()]
        wide.append(pair(f"Q{n}?", "yes", "no", judgments=[{"annotator": a, "preference": v} for a, v in said.items()]))
    return long, wide


def test_raters_who_differ_are_disagreement_in_both_forms(look):
    found = [look(form) for form in in_both_forms(30)]
    for report in found:
        by_name = {finding.name: finding for finding in report.findings}
        assert not report.invalid
        assert by_name["contradictory_pairs"].count == by_name["duplicate_rows"].count == 0
        noise = by_name["label_noise"]
        assert noise.total == 30
        assert noise.details["disagreement"].estimate == pytest.approx(2 / 9)
        assert "two raters of one disagree in 22.2 %" in noise.message
        assert report.files["file0"]["annotators"] == 3
    long, wide = ([(f.name, f.severity, f.count, f.message) for f in report.findings] for report in found)
    assert [entry for entry in long if entry[0] != "bad_rows"] == [entry for entry in wide if entry[0] != "bad_rows"]
    assert [report.files["file0"]["usable"] for report in found] == [90, 30]


def test_one_annotator_who_says_both_is_a_contradiction(find):
    for others in ([], [pair("Q?", "yes", "no", annotator="b")]):
        both = [pair("Q?", "yes", "no", annotator="a"), pair("Q?", "yes", "no", annotator="a", preference=0.0)]
        assert find("contradictory_pairs", [*both, *others]).details["pairs"] == 1
    soft = [pair("Q?", "yes", "no", annotator=name, preference=p) for name, p in (("a", 0.8), ("b", 0.2))]
    assert find("contradictory_pairs", soft).count == 0
    assert find("contradictory_pairs", [soft[0], pair("Q?", "no", "yes")]).details["pairs"] == 1


def test_raters_who_prefer_different_sides_are_no_tie(find):
    split = [{"annotator": "a", "preference": 1}, {"annotator": "b", "preference": 0}]
    assert find("nothing_to_learn", [pair("Q?", "yes", "no", judgments=split)]).severity == "ok"
