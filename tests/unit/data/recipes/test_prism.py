from __future__ import annotations

import pytest

from vrm.data.recipes import get_recipe, prism
from vrm.errors import RowError

STATED = {
    "values": 30.0,
    "fluency": 70.0,
    "factuality": 95.0,
    "safety": 60.0,
    "diversity": 20.0,
    "creativity": 10.0,
    "helpfulness": 100.0,
}
OPENING = {
    "prompt": [{"role": "user", "content": "Should I forgive a liar?"}],
    "completions": [
        [{"role": "assistant", "content": "It depends on the lie."}],
        [{"role": "assistant", "content": "Never."}],
        [{"role": "assistant", "content": "Always."}],
    ],
    "scores": [90.0, 15.0, 40.0],
    "annotator": "user1",
    "category": "values guided",
}


def test_turns_with_history_scores_and_the_importance_from_the_survey(run, table):
    rows, skipped = run("prism", table("prism-survey"), table("prism-utterances"))
    assert rows == [
        OPENING | {"source": "prism", "objective_votes": STATED},
        {
            "prompt": [
                {"role": "user", "content": "Should I forgive a liar?"},
                {"role": "assistant", "content": "It depends on the lie."},
                {"role": "user", "content": "And at work?"},
            ],
            "completions": [
                [{"role": "assistant", "content": "Talk to them first."}],
                [{"role": "assistant", "content": "Resign."}],
            ],
            "scores": [80.0, 80.0],
            "annotator": "user1",
            "category": "values guided",
            "source": "prism",
            "objective_votes": STATED,
        },
        {
            "prompt": [{"role": "user", "content": "Is tea better than coffee?"}],
            "completions": [
                [{"role": "assistant", "content": "A matter of taste."}],
                [{"role": "assistant", "content": "Yes."}],
            ],
            "scores": [70.0, 60.0],
            "annotator": "user2",
            "category": "values guided",
            "source": "prism",
        },
    ]
    assert skipped == {
        prism.NO_IMPORTANCE: 1,
        prism.NO_HISTORY: 1,
        prism.NOT_SCORED: 1,
        "row: fewer than two usable completions": 1,
    }


def test_choice_attributes_are_votes_on_the_opening_turn_alone(run, table):
    rows, skipped = run("prism-choice", table("prism-conversations"), table("prism-utterances"))
    votes = {
        "values": 88.0,
        "fluency": 20.0,
        "factuality": 45.0,
        "diversity": 5.0,
        "creativity": 0.0,
        "helpfulness": 61.0,
    }
    assert rows[0] == OPENING | {"source": "prism-choice", "objective_votes": votes}
    assert [row["prompt"][-1]["content"] for row in rows[1:]] == ["Is tea better than coffee?"]
    assert "objective_votes" not in rows[1]
    assert skipped == {
        prism.LATER_TURN: 2,
        prism.NO_IMPORTANCE: 1,
        prism.NOT_SCORED: 1,
        "row: fewer than two usable completions": 1,
    }


def test_join_yields_one_row_a_turn_in_order(table):
    joined = list(get_recipe("prism").join(table("prism-survey"), table("prism-utterances")))
    assert [(row["conversation_id"], row["position"], len(row["responses"])) for row in joined] == [
        ("c1", 0, 3),
        ("c1", 1, 2),
        ("c2", 0, 2),
        ("c2", 1, 2),
        ("c3", 0, 2),
    ]
    assert joined[0]["person"]["user_id"] == "user1"
    assert joined[3]["history"] is None
    assert joined[4]["person"] is None


def test_a_row_that_was_not_joined_is_an_error_that_says_what_to_do(table):
    with pytest.raises(RowError, match=r"'responses': .*get_recipe\('prism'\)\.join\(\*tables\)"):
        get_recipe("prism").convert(table("prism-utterances")[0])


@pytest.mark.parametrize(
    ("column", "value"), [("score", 101), ("if_chosen", "no"), ("turn", -1), ("user_prompt", None), ("user_id", 7)]
)
def test_wrong_values_in_utterances_are_errors(table, column, value):
    utterances = table("prism-utterances")
    utterances[1][column] = value
    with pytest.raises(RowError, match=f"{column}': {value!r} is not allowed; expected"):
        list(get_recipe("prism").convert_all(table("prism-survey"), utterances))


def test_importance_out_of_range_is_an_error(table):
    survey = table("prism-survey")
    survey[0]["stated_prefs"]["safety"] = 130
    with pytest.raises(
        RowError, match=r"person.stated_prefs.safety': 130 is not allowed; expected a number from 0 to 100"
    ):
        list(get_recipe("prism").convert_all(survey, table("prism-utterances")))
