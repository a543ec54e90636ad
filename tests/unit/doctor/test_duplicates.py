"""Repeats in one file: when each check fires, and when not."""

from __future__ import annotations

import pytest

from .conftest import pair

LONG = "the quick brown fox jumps over the lazy dog while seventeen geese watch from a hill near the old mill"


@pytest.mark.parametrize(
    "name", ["repeated_prompts", "near_duplicate_prompts", "duplicate_rows", "near_duplicate_rows"]
)
def test_clean_rows_have_no_repeats(find, clean, name):
    found = find(name, clean)
    assert (found.severity, found.count, found.places, found.advice) == ("ok", 0, (), "")


def test_repeated_prompts_are_counted_by_row(find, clean):
    found = find("repeated_prompts", [*clean, pair(clean[0]["prompt"].upper(), "other", "things")])
    assert (found.severity, found.count, found.total) == ("info", 2, 13)
    assert found.details == {"prompts": 12, "largest": 2}
    assert [place.rpartition(":")[2] for place in found.places] == ["1", "13"]


def test_near_copies_of_prompts(find, clean):
    rows = [pair(f"{LONG} indeed", "a", "b"), *clean, pair(f"Well: {LONG} indeed!", "c", "d")]
    found = find("near_duplicate_prompts", rows)
    assert (found.severity, found.count, found.total) == ("warning", 1, 14)
    assert found.places[0].endswith(":14")
    stricter = find("near_duplicate_prompts", rows[1:])
    assert stricter.count == 0


def test_an_exactly_repeated_prompt_is_no_near_copy(find, clean):
    assert find("near_duplicate_prompts", [*clean, pair(clean[0]["prompt"], "x", "y")]).count == 0


def test_duplicate_rows_have_the_same_label(find, clean):
    first = clean[0]
    same = [
        dict(first),
        pair(first["prompt"], first["rejected"], first["chosen"], preference=0.0),
        pair(first["prompt"], f" {first['chosen'].upper()}", first["rejected"]),
    ]
    other = [
        pair(first["prompt"], first["rejected"], first["chosen"]),
        {**first, "preference": 0.75},
        pair("Another question entirely?", first["chosen"], first["rejected"]),
    ]
    found = find("duplicate_rows", [*clean, *same, *other], examples=9)
    assert (found.severity, found.count, found.total) == ("warning", 3, 18)
    assert [int(place.rpartition(":")[2]) for place in found.places] == [13, 14, 15]


def test_duplicate_rows_under_the_limit_are_information(find, clean):
    rows = [pair(f"Question {n}?", f"yes {n}", f"no {n}") for n in range(100)]
    assert find("duplicate_rows", [*rows, rows[0]]).severity == "info"


def test_duplicate_ranked_lists(find):
    row = {"prompt": "Name a tree.", "completions": ["Oak.", "Elm.", "Cork."], "scores": [2, 1, 0]}
    turned = {"prompt": "Name a tree.", "completions": ["Cork.", "Oak.", "Elm."], "scores": [0, 2, 1]}
    other = {**row, "scores": [2, 0, 1]}
    assert find("duplicate_rows", [row, turned, other]).count == 1


def test_near_rows_need_the_prompt_and_every_completion(find, clean):
    base = pair(f"Why is it that {LONG}?", f"Because {LONG} again", f"Unlike cats, {LONG} often")
    straight = pair(base["prompt"] + " hm", base["chosen"] + " hm", base["rejected"] + " hm")
    turned = pair(base["prompt"], base["rejected"] + " so", base["chosen"] + " so")
    other_side = pair(base["prompt"], base["chosen"], "Nobody knows.")
    other_prompt = pair("Tell me a story!", base["chosen"], base["rejected"])
    found = find("near_duplicate_rows", [base, *clean, straight, turned, other_side, other_prompt])
    assert (found.severity, found.count, found.total) == ("warning", 2, 17)
    assert [int(place.rpartition(":")[2]) for place in found.places] == [14, 15]


def test_exact_repeats_and_contradictions_are_no_near_rows(find, clean):
    first = clean[0]
    rows = [*clean, dict(first), pair(first["prompt"], first["rejected"], first["chosen"])]
    assert find("near_duplicate_rows", rows).count == 0


def test_rows_without_completions_are_no_duplicates(find):
    votes = {"prompt": "Why?", "objective_votes": {"safety": 1}}
    found = find("duplicate_rows", [votes, votes])
    assert (found.count, found.total) == (0, 0)
    assert find("repeated_prompts", [votes, votes]).count == 2


def test_lists_are_near_copies_in_any_of_two_orders(find):
    tails = (f"first {LONG}", f"second {LONG} {LONG[::-1]}", "nothing like it at all")
    row = {"prompt": f"So {LONG}?", "completions": list(tails), "scores": [2, 1, 0]}
    near = {**row, "completions": [f"{tail} hm" for tail in tails[:2]] + [tails[2]], "scores": [1, 2, 0]}
    assert find("near_duplicate_rows", [row, near]).count == 1


STOCK = ["I am sorry, I cannot help with that.", "As a language model I do not know.", "Please ask somebody else."]


def stocked(count, times=20):
    """Rows of different prompts, of which the first three times `times` are answered with one of three texts."""
    return [
        pair(
            f"What is to be said about the number {n}?",
            f"The number {n} follows {n - 1} and is followed by {n + 1}.",
            STOCK[n % 3] if n < 3 * times else f"Nobody knows the number {n} well.",
        )
        for n in range(count)
    ]


def test_completions_that_stand_under_many_prompts_are_found(find):
    found = find("repeated_completions", stocked(100))
    assert (found.count, found.total, found.severity) == (60, 200, "warning")
    assert found.details == {"texts": 3, "largest": 20, "won": 0, "lost": 60}
    assert "3 completions stand under several prompts (30.0 %" in found.message
    assert "the most frequent under 20; they win 0 and lose 60 pairs with others" in found.message
    assert found.places


def test_few_such_completions_are_a_remark_and_none_is_none(find):
    assert find("repeated_completions", stocked(200, times=1)).severity == "ok"
    rows = stocked(200, times=1)
    rows[0]["rejected"] = rows[1]["rejected"] = "no"
    found = find("repeated_completions", rows)
    assert (found.count, found.severity, found.details["largest"]) == (2, "info", 2)


def test_the_same_completion_under_one_prompt_is_the_other_checks(find):
    rows = [pair("Why?", f"Because of {n}.", "No.") for n in range(5)]
    assert find("repeated_completions", rows).severity == "ok"


@pytest.mark.parametrize(("names", "count"), [("ab", 0), ("aa", 1), ("aab", 1), (["a", None], 1), (["", ""], 1)])
@pytest.mark.parametrize("preference", [1.0, 0.75])
def test_equal_rows_of_different_annotators_are_no_repeats(find, names, count, preference):
    rows = [pair("Q?", "yes", "no", preference=preference, annotator=name or None) for name in names]
    assert find("duplicate_rows", rows).count == count
