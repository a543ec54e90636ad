from __future__ import annotations

import re

import pytest

from vrm.data.recipes import base, get_recipe, ultrafeedback
from vrm.errors import RowError


def texts(row):
    return [completion[0]["content"] for completion in row["completions"]]


def test_ranked_lists_with_overall_scores_and_ratings(run, table):
    rows, skipped = run("ultrafeedback", table("ultrafeedback"))
    assert rows == [
        {
            "prompt": [{"role": "user", "content": "Name a fruit that floats."}],
            "completions": [
                [{"role": "assistant", "content": "Apples float, since a quarter of them is air."}],
                [{"role": "assistant", "content": "Pears, mostly."}],
            ],
            "scores": [8.5, 6.0],
            "ratings": [
                {"helpfulness": 5.0, "honesty": 4.0, "instruction_following": 5.0, "truthfulness": 5.0},
                {"helpfulness": 3.0, "instruction_following": 4.0, "truthfulness": 3.0},
            ],
            "source": "ultrafeedback",
            "category": "evol_instruct",
        },
        {
            "prompt": [{"role": "user", "content": "Add 2 and 3."}],
            "completions": [
                [{"role": "assistant", "content": "5"}],
                [{"role": "assistant", "content": "Five, I think."}],
            ],
            "scores": [9.0, 9.0],
            "ratings": [
                {"helpfulness": 5.0, "honesty": 5.0, "instruction_following": 5.0, "truthfulness": 5.0},
                {"helpfulness": 4.0, "honesty": 4.0, "instruction_following": 4.0, "truthfulness": 5.0},
            ],
            "source": "ultrafeedback",
            "category": "flan_v2_cot",
        },
    ]
    assert skipped == {
        base.EMPTY_COMPLETION: 1,
        ultrafeedback.WRONG_TEN: 1,
        base.REPEATED_COMPLETION: 1,
        base.FEWER_THAN_TWO: 1,
        ultrafeedback.NOT_SCORED: 1,
    }


def test_finegrained_scores_are_the_means_and_keep_the_completion_with_the_wrong_ten(run, table):
    rows, skipped = run("ultrafeedback-finegrained", table("ultrafeedback"))
    assert [row["scores"] for row in rows] == [[4.75, 1.33, 3.33], [5.0, 4.25]]
    assert texts(rows[0])[1] == "A stone."
    assert ultrafeedback.WRONG_TEN not in skipped
    assert rows[0]["source"] == "ultrafeedback-finegrained"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["annotations"]["honesty"].update(Rating="6"),
            "field 'completions[0].annotations.honesty.Rating': '6' is not allowed; expected a number from 1 to 5",
        ),
        (lambda c: c.update(overall_score=11), "field 'completions[0].overall_score': 11 is not allowed"),
        (lambda c: c.pop("overall_score"), "field 'completions[0].overall_score': missing; found: annotations"),
        (lambda c: c.update(response=None), "field 'completions[0].response': None is not allowed; expected a string"),
        (lambda c: c.pop("annotations"), "field 'completions[0].annotations': missing"),
    ],
)
def test_wrong_values_are_errors(table, change, message):
    row = table("ultrafeedback")[0]
    change(row["completions"][0])
    with pytest.raises(RowError, match=re.escape(message)):
        get_recipe("ultrafeedback").convert(row)


def test_another_data_set_is_an_error(table):
    with pytest.raises(RowError, match="field 'completions': missing; found: source, prompt"):
        get_recipe("ultrafeedback").convert(table("ultrafeedback-preferences-cleaned")[0])


def test_binarized_cleaned_pairs_with_ties(run, table):
    name = "ultrafeedback-binarized-cleaned"
    rows, skipped = run(name, table(name))
    assert rows == [
        {
            "prompt": [{"role": "user", "content": "Why is the sky blue?"}],
            "chosen": [{"role": "assistant", "content": "Air scatters blue light the most."}],
            "rejected": [{"role": "assistant", "content": "It mirrors the sea."}],
            "preference": 1.0,
            "source": name,
            "category": "evol_instruct",
        },
        {
            "prompt": [{"role": "user", "content": "Why do cats purr?"}],
            "chosen": [{"role": "assistant", "content": "Often out of comfort."}],
            "rejected": [{"role": "assistant", "content": "To soothe themselves, too."}],
            "preference": 0.5,
            "source": name,
            "category": "ultrachat",
        },
    ]
    assert skipped == {ultrafeedback.CONTRADICTION: 1, base.IDENTICAL: 1}


def test_preferences_cleaned_pairs(run, table):
    name = "ultrafeedback-preferences-cleaned"
    rows, skipped = run(name, table(name))
    assert rows == [
        {
            "prompt": [{"role": "user", "content": "Suggest a name for a boat."}],
            "chosen": [{"role": "assistant", "content": "Second Wind."}],
            "rejected": [{"role": "assistant", "content": "Boat."}],
            "preference": 1.0,
            "source": name,
            "category": "evol_instruct",
        }
    ]
    assert skipped == {base.EMPTY_SIDE: 1}


def test_the_two_binarized_forms_are_not_mistaken_for_each_other(table):
    with pytest.raises(RowError, match="field 'score_chosen': missing"):
        get_recipe("ultrafeedback-binarized-cleaned").convert(table("ultrafeedback-preferences-cleaned")[0])
    with pytest.raises(RowError, match="field 'chosen-rating': missing"):
        get_recipe("ultrafeedback-preferences-cleaned").convert(table("ultrafeedback-binarized-cleaned")[0])


def test_binarized_rating_out_of_range_is_an_error(table):
    row = table("ultrafeedback-preferences-cleaned")[0] | {"chosen-rating": 7.0}
    with pytest.raises(RowError, match=r"'chosen-rating': 7.0 is not allowed; expected a number from 0 to 5"):
        get_recipe("ultrafeedback-preferences-cleaned").convert(row)
