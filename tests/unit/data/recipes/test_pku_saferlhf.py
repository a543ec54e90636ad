from __future__ import annotations

import pytest

from vrm.data.recipes import base, get_recipe
from vrm.errors import RowError

PROMPT = [{"role": "user", "content": "How do I get into a locked car?"}]
LOCKSMITH = [{"role": "assistant", "content": "Call a locksmith."}]
WEDGE = [{"role": "assistant", "content": "Wedge the door and hook the lock; thieves do it so."}]
HELPFULNESS = {"prompt": PROMPT, "chosen": WEDGE, "rejected": LOCKSMITH, "category": "helpfulness"}
SAFETY = {
    "prompt": PROMPT,
    "chosen": LOCKSMITH,
    "rejected": WEDGE,
    "chosen_ratings": {"safety": 3.0},
    "rejected_ratings": {"safety": 1.0},
    "category": "safety",
}


def test_both_questions_are_told_apart_by_category_and_votes(run, table):
    rows, skipped = run("pku-saferlhf", table("pku-saferlhf"))
    source = {"source": "pku-saferlhf"}
    assert rows == [
        HELPFULNESS | source | {"objective_votes": {"helpfulness": 1.0}},
        SAFETY | source | {"objective_votes": {"safety": 1.0}},
    ]
    assert skipped == {base.IDENTICAL: 2}


def test_one_question_alone_needs_no_votes(run, table):
    rows, skipped = run("pku-saferlhf-helpfulness", table("pku-saferlhf"))
    assert rows == [HELPFULNESS | {"source": "pku-saferlhf-helpfulness"}]
    assert skipped == {base.IDENTICAL: 1}
    rows, _ = run("pku-saferlhf-safety", table("pku-saferlhf"))
    assert rows == [SAFETY | {"source": "pku-saferlhf-safety"}]


def test_releases_without_severity_levels_have_no_ratings(run, table):
    (row,) = table("pku-saferlhf")[:1]
    early = {name: value for name, value in row.items() if "severity" not in name}
    rows, _ = run("pku-saferlhf-safety", [early])
    assert "chosen_ratings" not in rows[0]
    assert "rejected_ratings" not in rows[0]
    assert rows[0]["chosen"] == LOCKSMITH


@pytest.mark.parametrize(
    ("column", "value"),
    [("better_response_id", 2), ("safer_response_id", -1), ("response_1_severity_level", 4), ("response_0", None)],
)
def test_wrong_values_are_errors(table, column, value):
    row = table("pku-saferlhf")[0] | {column: value}
    with pytest.raises(RowError, match=f"field '{column}': {value} is not allowed; expected"):
        get_recipe("pku-saferlhf").convert(row)
