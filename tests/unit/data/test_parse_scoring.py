from __future__ import annotations

import pytest

from vrm.data import InvalidRowError, parse_scoring_row
from vrm.data.problems import MISSING_FIELD, Problem, other_names

USER = {"role": "user", "content": "Name a tree."}
OAK = {"role": "assistant", "content": "Oak."}


@pytest.mark.parametrize(
    ("row", "prompt", "completions"),
    [
        ({"prompt": "p", "completion": "a"}, "p", ["a"]),
        ({"prompt": "p", "completions": ["a"]}, "p", ["a"]),
        ({"prompt": "p", "completions": ["a", "a", "b"]}, "p", ["a", "a", "b"]),
        ({"prompt": "p", "chosen": "a", "rejected": "a"}, "p", ["a", "a"]),
        ({"chosen": "Q?\na", "rejected": "Q?\nb"}, "Q?\n", ["a", "b"]),
        ({"prompt": [USER], "completion": [OAK]}, [USER], [[OAK]]),
        ({"prompt": [USER], "completion": "Oak."}, [USER], [[OAK]]),
        ({"prompt": [USER], "completions": ["Oak.", [OAK]]}, [USER], [[OAK], [OAK]]),
        ({"chosen": [USER, OAK], "rejected": [USER, OAK, USER, OAK]}, [USER], [[OAK], [OAK, USER, OAK]]),
    ],
)
def test_layouts(row, prompt, completions):
    judgment = parse_scoring_row(row, file="f", line=2)
    assert (judgment.prompt, judgment.completions) == (prompt, completions)
    assert (judgment.preference, judgment.scores, judgment.ratings) == (None, None, None)
    assert (judgment.file, judgment.line) == ("f", 2)


def test_labels_are_not_read_but_shared_columns_are():
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "preference": 7, "source": "s", "category": "c", "tools": []}
    judgment = parse_scoring_row(row)
    assert (judgment.preference, judgment.source, judgment.category, judgment.tools) == (None, "s", "c", [])


def test_mapping():
    mapping = {"prompt": "question", "completion": "answer"}
    judgment = parse_scoring_row({"question": "q", "answer": "a"}, mapping=mapping)
    assert (judgment.prompt, judgment.completions) == ("q", ["a"])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "p"}, [("completion", "missing field")]),
        ({"completion": "a"}, [("prompt", "missing field")]),
        ({"prompt": "p", "completion": " "}, [("completion", "empty completion")]),
        ({"prompt": "p", "completion": "\u200f"}, [("completion", "empty completion")]),
        ({"prompt": "", "completion": "a"}, [("prompt", "empty prompt")]),
        ({"prompt": "p", "completions": []}, [("completions", "too few completions")]),
        ({"prompt": "p", "completions": "a"}, [("completions", "wrong type")]),
        ({"prompt": "p", "completions": ["a", 1]}, [("completions[1]", "wrong type")]),
        ({"prompt": "p", "completion": "a", "completions": ["a"]}, [("completion", "mixed layouts")]),
        ({"prompt": "p", "completion": "a", "chosen": "a"}, [("completion", "mixed layouts")]),
        ({"prompt": "p", "chosen": "a"}, [("rejected", "missing field")]),
        ({"prompt": "p", "completion": [OAK]}, [("completion", "mixed formats")]),
        ({"prompt": [USER], "completion": ""}, [("completion", "empty completion")]),
    ],
)
def test_what_is_wrong_is_named_with_its_place(row, expected):
    with pytest.raises(InvalidRowError) as caught:
        parse_scoring_row(row)
    assert [(problem.field, problem.kind) for problem in caught.value.problems] == expected


def test_a_list_of_answers_is_told_its_own_name():
    problems = [Problem("rows.jsonl", 1, "completion", MISSING_FIELD, "there is none")]
    assert "say --column completions=answers" in other_names(problems, ["answers"])
    assert "completion=" not in other_names(problems, ["answers"])
