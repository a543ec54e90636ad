from __future__ import annotations

import pytest

from vrm.data import Judgment, prompt_key, shared_prompts, split_by_prompt
from vrm.data.splits import halves_by_prompt
from vrm.errors import ConfigError, DataError

ROWS = [Judgment(f"Prompt {n % 400}?", category=f"c{n % 8}", line=n) for n in range(1000)]


def lines(rows):
    return {row.line for row in rows}


@pytest.mark.parametrize("by", ["prompt", "category"])
def test_no_prompt_stands_on_both_sides_whatever_the_order(by):
    kept, held_out = split_by_prompt(ROWS, 0.2, seed=3, by=by)
    assert shared_prompts(kept, held_out) == 0
    assert lines(kept) | lines(held_out) == lines(ROWS)
    assert [row.line for row in kept] == sorted(lines(kept))
    again_kept, again = split_by_prompt(ROWS[::-1], 0.2, seed=3, by=by)
    assert (lines(again_kept), lines(again)) == (lines(kept), lines(held_out))


def test_the_share_is_met_on_average_and_the_seed_matters():
    shares = [len(split_by_prompt(ROWS, 0.1, seed=seed)[1]) / len(ROWS) for seed in range(20)]
    assert abs(sum(shares) / len(shares) - 0.1) < 0.01
    assert len(set(shares)) > 1


def test_a_prompt_stays_on_its_side_when_rows_are_added():
    _, few = split_by_prompt(ROWS[:200])
    _, all_of_them = split_by_prompt(ROWS)
    assert lines(few) == {line for line in lines(all_of_them) if line < 200}


def test_by_category_holds_whole_categories_out():
    kept, held_out = split_by_prompt(ROWS, 0.2, by="category")
    assert {row.category for row in kept}.isdisjoint(row.category for row in held_out)
    assert 0.2 <= len(held_out) / len(ROWS) <= 0.2 + 1 / 8


def test_categories_that_share_a_prompt_stay_together():
    rows = [Judgment("p1", category="a"), Judgment("p1", category="b"), Judgment("p2", category="b")]
    rows += [Judgment("p3", category="c"), Judgment("p4", category="d")]
    for seed in range(10):
        kept, held_out = split_by_prompt(rows, 0.3, seed, by="category")
        assert shared_prompts(kept, held_out) == 0
        assert {"a", "b"} <= {row.category for row in kept} or {"a", "b"} <= {row.category for row in held_out}


@pytest.mark.parametrize("held_out", [0.001, 0.999])
def test_neither_side_is_empty(held_out):
    kept, out = split_by_prompt([Judgment("a"), Judgment("b"), Judgment("b")], held_out)
    assert kept
    assert out


def test_nothing_held_out():
    assert split_by_prompt(ROWS, 0.0) == (ROWS, [])
    assert split_by_prompt([], 0.5) == ([], [])


@pytest.mark.parametrize("held_out", [-0.1, 1.0, float("nan"), True])
def test_wrong_shares(held_out):
    with pytest.raises(ConfigError, match="must be in"):
        split_by_prompt(ROWS, held_out)


def test_what_cannot_be_split():
    with pytest.raises(ConfigError, match="'prompt' or 'category'"):
        split_by_prompt(ROWS, by="source")
    with pytest.raises(DataError, match="the same prompt, so no part of them can be held out"):
        split_by_prompt([Judgment("a"), Judgment("A ")], 0.5)
    with pytest.raises(DataError, match=r"f\.jsonl:4: the row has no 'category'"):
        split_by_prompt([Judgment("a", category="x"), Judgment("b", file="f.jsonl", line=4)], 0.5, by="category")


def messages(*contents: str):
    return [{"role": "user", "content": content} for content in contents]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Why  is\nit?", " why is it? "),
        ("Why is it?", messages("Why is it?")),
        (messages("Why", "is it?"), "why is it?"),
        ("cafe\u0301", "CAF\u00c9"),
    ],
)
def test_equal_keys(first, second):
    assert prompt_key(Judgment(first)) == prompt_key(Judgment(second))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Why is it?", "Why is it"),
        (messages("a"), messages("a", "b")),
        (
            [{"role": "assistant", "content": "", "tool_calls": [{"name": "a"}]}],
            [{"role": "assistant", "content": "", "tool_calls": [{"name": "b"}]}],
        ),
    ],
)
def test_different_keys(first, second):
    assert prompt_key(Judgment(first)) != prompt_key(Judgment(second))


def test_keys_do_not_change_between_versions():
    assert prompt_key(Judgment("Why is it?")) == "8784d6504fdc50f50a6fe17b75d65e65"


def test_shared_prompts_counts_prompts_and_not_rows():
    first = [Judgment("a"), Judgment("A"), Judgment("b")]
    assert shared_prompts(first, [Judgment("a "), Judgment("a"), Judgment("c")]) == 1


def test_halves_share_no_prompt_and_have_equally_many():
    first, second = halves_by_prompt(ROWS, seed=3)
    assert shared_prompts(first, second) == 0
    assert lines(first) | lines(second) == lines(ROWS)
    assert len({prompt_key(row) for row in first}) == 200
    again = halves_by_prompt(ROWS[::-1], seed=3)
    assert (lines(again[0]), lines(again[1])) == (lines(first), lines(second))
    assert lines(halves_by_prompt(ROWS, seed=4)[0]) != lines(first)


def test_halves_are_independent_of_what_was_held_out_before():
    """With equal seeds one rank of the prompts would give the second half all of the held-out rows' neighbours."""
    kept, _ = split_by_prompt(ROWS, 0.5, seed=3)
    first, second = (lines(half) & lines(kept) for half in halves_by_prompt(ROWS, seed=3))
    assert 0.35 < len(first) / (len(first) + len(second)) < 0.65


def test_one_prompt_has_no_halves():
    with pytest.raises(DataError, match="same prompt"):
        halves_by_prompt(ROWS[:1])
