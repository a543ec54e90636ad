from __future__ import annotations

import pytest

from vrm.data.recipes import base
from vrm.data.recipes.base import Candidate, Converted, merge, pair, ranked, skip, user


def test_pair_has_messages_and_only_columns_with_values():
    converted = pair(user("Q"), "good", "bad", preference=0.0, category=None, source="s")
    assert converted.rows == [
        {
            "prompt": [{"role": "user", "content": "Q"}],
            "chosen": [{"role": "assistant", "content": "good"}],
            "rejected": [{"role": "assistant", "content": "bad"}],
            "preference": 0.0,
            "source": "s",
        }
    ]
    assert converted.skipped == {}


@pytest.mark.parametrize(
    ("prompt", "first", "second", "reason"),
    [
        (user(" \n"), "a", "b", base.EMPTY_PROMPT),
        ([], "a", "b", base.EMPTY_PROMPT),
        ([*user(""), {"role": "assistant", "content": "x"}, *user("y")], "a", "b", base.EMPTY_PROMPT),
        (user("Q"), " ", "b", base.EMPTY_SIDE),
        (user("Q"), "a", "", base.EMPTY_SIDE),
        (user("Q"), "a", "a", base.IDENTICAL),
    ],
)
def test_pair_counts_what_it_leaves_out(prompt, first, second, reason):
    assert pair(prompt, first, second) == Converted([], {reason: 1})


def test_an_empty_system_message_is_no_reason_to_skip():
    assert pair([{"role": "system", "content": ""}, *user("Q")], "a", "b").rows


def test_ranked_leaves_out_empty_and_repeated_completions_and_keeps_scores_aligned():
    found = [Candidate("a", 1.0), Candidate(" ", 9.0), Candidate("b", 2.0), Candidate("a", 8.0), Candidate("c", 2.0)]
    converted = ranked(user("Q"), found, source=None)
    (row,) = converted.rows
    assert [completion[0]["content"] for completion in row["completions"]] == ["a", "b", "c"]
    assert row["scores"] == [1.0, 2.0, 2.0]
    assert set(row) == {"prompt", "completions", "scores"}
    assert converted.skipped == {base.EMPTY_COMPLETION: 1, base.REPEATED_COMPLETION: 1}


def test_ranked_needs_two_completions_and_says_why_there_are_fewer():
    converted = ranked(user("Q"), [Candidate("a", 1.0), Candidate("a", 2.0)])
    assert converted == Converted([], {base.REPEATED_COMPLETION: 1, base.FEWER_THAN_TWO: 1})
    assert ranked(user(""), [Candidate("a", 1.0), Candidate("b", 2.0)]) == skip(base.EMPTY_PROMPT)


def test_merge_adds_counts_and_keeps_order():
    merged = merge([Converted([{"a": 1}], {"x": 1}), skip("x"), Converted([{"b": 2}], {"y": 3})])
    assert merged == Converted([{"a": 1}, {"b": 2}], {"x": 2, "y": 3})
    assert list(merged) == [{"a": 1}, {"b": 2}]
