from __future__ import annotations

import json
import re

import pytest

from vrm.data import Source, load_judgments, parse_row, parse_scoring_row
from vrm.data.problems import InvalidRowError
from vrm.data.recipes import base, get_recipe, sharegpt, turns
from vrm.data.validation import InvalidDataError
from vrm.errors import RowError


def turn(speaker, value):
    return {"from": speaker, "value": value}


def message(role, content):
    return {"role": role, "content": content}


def test_the_forms_of_sharegpt(run, table):
    rows, skipped = run("sharegpt", table("sharegpt"))
    plain, long, called, whole = rows
    assert plain["prompt"] == [message("user", "Name a tree.")]
    assert (plain["chosen"], plain["rejected"]) == (
        [message("assistant", "An oak.")],
        [message("assistant", "A stone.")],
    )
    assert [entry["role"] for entry in long["prompt"]] == ["system", "user", "assistant", "user"]
    assert long["category"] == "animals"
    assert called["prompt"][0] == message("system", "You know the weather.")
    (call,) = called["prompt"][2]["tool_calls"]
    assert call == {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    assert called["prompt"][3] == message("tool", '{"celsius": 4}')
    assert called["preference"] == 0.9
    assert parse_row(called).tools == [{"name": "weather", "parameters": {}}]
    assert whole["prompt"] == [message("user", "What is 2 + 2?")]
    assert skipped == {sharegpt.ONE_SIDE: 1, base.IDENTICAL: 1, turns.NOT_ALTERNATING: 1}


@pytest.mark.parametrize(
    "row",
    [
        {
            "conversations": [message("user", "Q")],
            "chosen": message("assistant", "a"),
            "rejected": message("assistant", "b"),
        },
        {"messages": [turn("user", "Q")], "chosen": "a", "rejected": "b"},
        {"prompt": "Q", "chosen": turn("gpt", "a"), "rejected": turn("Assistant", "b")},
        {
            "conversation": [turn("human", "Q")],
            "chosen": [turn("gpt", "a")],
            "rejected": [turn("gpt", "b")],
            "tools": "",
        },
    ],
)
def test_other_names_of_the_same(row):
    (made,) = get_recipe("sharegpt").convert(row).rows
    assert made == {
        "prompt": [message("user", "Q")],
        "chosen": [message("assistant", "a")],
        "rejected": [message("assistant", "b")],
    }


def test_a_chosen_tool_call_is_a_completion():
    call = turn("function_call", '[{"name": "f", "arguments": {}}, {"name": "g"}]')
    row = {"conversations": [turn("human", "Q")], "chosen": call, "rejected": turn("gpt", "I cannot.")}
    (made,) = get_recipe("sharegpt").convert(row).rows
    assert [entry["function"]["name"] for entry in made["chosen"][0]["tool_calls"]] == ["f", "g"]
    assert parse_row(made).is_comparison


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"conversations": [turn("nobody", "Q")], "chosen": "a", "rejected": "b"}, "conversations[0].from': 'nobody'"),
        ({"conversations": [{"from": "human"}], "chosen": "a", "rejected": "b"}, "conversations[0].value': missing"),
        ({"conversations": [turn("human", "Q"), turn("function_call", "f()")], "chosen": "a", "rejected": "b"}, "f()"),
        ({"question": "Q"}, "'conversations'"),
    ],
)
def test_what_cannot_be_read_is_named(row, named):
    with pytest.raises(RowError, match=re.escape(named)):
        get_recipe("sharegpt").convert(row)


def test_rows_without_the_recipe_name_it(tmp_path):
    row = {"conversations": [turn("human", "Q")], "chosen": turn("gpt", "a"), "rejected": turn("gpt", "b")}
    rows = [row, {"conversations": [turn("human", "Q"), turn("gpt", "A")]}, {"prompt": [turn("human", "Q")], **row}]
    path = tmp_path / "rows.jsonl"
    for given in rows:
        path.write_text(json.dumps(given))
        with pytest.raises(InvalidDataError, match=r"recipe:? sharegpt"):
            load_judgments(path)
        with pytest.raises(InvalidRowError, match="sharegpt"):
            parse_scoring_row(given)
    path.write_text(json.dumps(row))
    assert load_judgments(Source(path, recipe="sharegpt")).judgments[0].is_comparison
