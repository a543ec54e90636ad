from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from vrm.data.recipes import base, flask, get_recipe
from vrm.errors import RowError

SHARED = Path(__file__).parents[5] / "shared" / "data" / "preferences" / "flask_objectives.dev.jsonl.gz"


def test_skills_become_votes_without_completions(run, table):
    rows, skipped = run("flask", table("flask"))
    assert rows == [
        {
            "prompt": [{"role": "user", "content": "Sort three numbers without a loop."}],
            "objective_votes": {"Logical Correctness": 1.0, "Logical Efficiency": 1.0, "Readability": 1.0},
            "source": "flask",
            "category": "Coding,Math",
        },
        {
            "prompt": [{"role": "user", "content": "Cheer me up."}],
            "objective_votes": {"Commonsense Understanding": 1.0},
            "source": "flask",
            "category": "Culture",
        },
    ]
    assert skipped == {flask.NO_SKILL: 1}


def test_other_names_of_the_columns(run):
    rows, _ = run("flask", [{"text": "Q", "skill": ["harmlessness", "logical_robustness"]}])
    assert rows[0]["objective_votes"] == {"Harmlessness": 1.0, "Logical Robustness": 1.0}
    assert "category" not in rows[0]


def test_empty_prompt_is_counted(run):
    assert run("flask", [{"instruction": " ", "metrics": ["Factuality"]}]) == ([], {base.EMPTY_PROMPT: 1})


def test_unknown_skill_is_an_error():
    with pytest.raises(RowError, match="field 'metrics': 'Charm' is not allowed; expected one of: Logical Robustness"):
        get_recipe("flask").convert({"instruction": "Q", "metrics": ["Charm"]})
    with pytest.raises(RowError, match="field 'metrics': missing; found: instruction"):
        get_recipe("flask").convert({"instruction": "Q"})


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data/preferences/flask_objectives.dev.jsonl.gz")
def test_objectives_are_those_of_the_shared_file(run):
    with gzip.open(SHARED, "rt", encoding="utf-8") as file:
        shared = [json.loads(line) for line in file]
    assert {name for row in shared for name in row["objective_votes"]} == set(flask.OBJECTIVES)
    raw = [{"instruction": row["prompt"][0]["content"], "metrics": list(row["objective_votes"])} for row in shared]
    rows, skipped = run("flask", raw)
    assert [row["objective_votes"] for row in rows] == [row["objective_votes"] for row in shared]
    assert skipped == {}
