from __future__ import annotations

import re

import pytest

from vrm.data.recipes import base, get_recipe, helpsteer
from vrm.data.recipes.turns import NOT_ALTERNATING
from vrm.errors import RowError

PICNIC = [
    {"role": "user", "content": "Plan a picnic."},
    {"role": "assistant", "content": "For how many people?"},
    {"role": "user", "content": "Four."},
]


def ratings(*values: float):
    return dict(zip(helpsteer.OBJECTIVES, values, strict=True))


def test_helpsteer2_joins_the_responses_of_a_prompt_and_makes_up_no_label(run, table):
    rows, skipped = run("helpsteer2", table("helpsteer2"))
    assert rows == [
        {
            "prompt": [{"role": "user", "content": "How do I boil an egg?"}],
            "completions": [
                [{"role": "assistant", "content": "Eight minutes in boiling water."}],
                [{"role": "assistant", "content": "Put it into water and wait."}],
            ],
            "ratings": [ratings(4, 4, 4, 1, 0), ratings(2, 3, 4, 0, 1)],
            "source": "helpsteer2",
        },
        {
            "prompt": PICNIC,
            "completions": [
                [{"role": "assistant", "content": "Bread, cheese, grapes and lemonade for four."}],
                [{"role": "assistant", "content": "A picnic is outdoors."}],
            ],
            "ratings": [ratings(3, 4, 4, 1, 1), ratings(0, 2, 3, 0, 0)],
            "source": "helpsteer2",
        },
    ]
    assert skipped == {base.FEWER_THAN_TWO: 1}


def test_helpsteer2_join_is_lazy_and_takes_neighbours_only(table):
    first, second, *_ = table("helpsteer2")
    other = first | {"prompt": "Another"}
    joined = list(get_recipe("helpsteer2").join(iter([first, other, second])))
    assert [len(row["responses"]) for row in joined] == [1, 1, 1]

    def endless():
        yield from (first, second, other)
        raise AssertionError("read further than needed")

    assert next(get_recipe("helpsteer2").join(endless()))["responses"] == [first, second]


def test_helpsteer2_row_that_was_not_joined_is_an_error_that_says_what_to_do(table):
    with pytest.raises(RowError, match=r"field 'responses': .*get_recipe\('helpsteer2'\)\.join\(rows\)"):
        get_recipe("helpsteer2").convert(table("helpsteer2")[0])


def test_helpsteer2_rating_out_of_range_is_an_error(table):
    rows = table("helpsteer2")[:2]
    rows[1]["coherence"] = 5
    message = "field 'responses[1].coherence': 5 is not allowed; expected a number from 0 to 4"
    with pytest.raises(RowError, match=re.escape(message)):
        list(get_recipe("helpsteer2").convert_all(rows))


def test_helpsteer2_prompt_that_ends_with_the_assistant_is_counted(run, table):
    rows = [row | {"prompt": "One\n<extra_id_1>Assistant\nTwo"} for row in table("helpsteer2")[:2]]
    assert run("helpsteer2", rows) == ([], {NOT_ALTERNATING: 1})


def test_helpsteer2_preference_orients_pairs_by_the_sign_of_the_strength(run, table):
    rows, skipped = run("helpsteer2-preference", table("helpsteer2-preference"))
    assert rows == [
        {
            "prompt": [{"role": "user", "content": "How do I boil an egg?"}],
            "chosen": [{"role": "assistant", "content": "Eight minutes in boiling water."}],
            "rejected": [{"role": "assistant", "content": "Put it into water and wait."}],
            "preference": 1.0,
            "source": "helpsteer2-preference",
        },
        {
            "prompt": PICNIC,
            "chosen": [{"role": "assistant", "content": "Bread, cheese, grapes and lemonade for four."}],
            "rejected": [{"role": "assistant", "content": "A picnic is outdoors."}],
            "preference": 1.0,
            "source": "helpsteer2-preference",
        },
        {
            "prompt": [{"role": "user", "content": "Write a haiku on rust."}],
            "chosen": [{"role": "assistant", "content": "Iron, rain, then years."}],
            "rejected": [{"role": "assistant", "content": "Orange flakes in spring."}],
            "preference": 0.5,
            "source": "helpsteer2-preference",
        },
    ]
    assert skipped == {helpsteer.OTHER_SPLIT: 1}


def test_helpsteer2_validation_rows_are_apart_from_the_training_rows(run, table):
    rows, skipped = run("helpsteer2-preference-validation", table("helpsteer2-preference"))
    assert [row["prompt"][0]["content"] for row in rows] == ["What is a fjord?"]
    assert skipped == {helpsteer.OTHER_SPLIT: 3}


@pytest.mark.parametrize(
    ("column", "value", "allowed"),
    [
        ("preference_strength", 4, "from -3 to 3"),
        ("split", "dev", "train, val or validation"),
        ("prompt", 1, "a string"),
    ],
)
def test_helpsteer2_preference_wrong_values_are_errors(table, column, value, allowed):
    row = table("helpsteer2-preference")[0] | {column: value}
    with pytest.raises(RowError, match=f"field '{column}': {value!r} is not allowed; expected .*{allowed}"):
        get_recipe("helpsteer2-preference").convert(row)


def test_helpsteer3_pairs_carry_the_share_of_judges(run, table):
    rows, skipped = run("helpsteer3", table("helpsteer3"))
    assert rows == [
        {
            "prompt": [{"role": "user", "content": "Reverse a list in place."}],
            "chosen": [{"role": "assistant", "content": "Use items.reverse()."}],
            "rejected": [{"role": "assistant", "content": "Use items[::-1]."}],
            "preference": pytest.approx(2 / 3),
            "source": "helpsteer3",
            "category": "code/python",
        },
        {
            "prompt": [
                {"role": "user", "content": "Hi."},
                {"role": "assistant", "content": "Hello!"},
                {"role": "user", "content": "Tell me a fact."},
            ],
            "chosen": [{"role": "assistant", "content": "Octopuses have three hearts."}],
            "rejected": [{"role": "assistant", "content": "Facts are facts."}],
            "preference": 1.0,
            "source": "helpsteer3",
            "category": "general/english",
        },
        {
            "prompt": [{"role": "user", "content": "Is light a wave?"}],
            "chosen": [{"role": "assistant", "content": "Both wave and particle."}],
            "rejected": [{"role": "assistant", "content": "It behaves as either."}],
            "preference": 0.5,
            "source": "helpsteer3",
            "category": "stem/english",
        },
        {
            "prompt": [{"role": "user", "content": "Un mot gentil ?"}],
            "chosen": [{"role": "assistant", "content": "Bravo !"}],
            "rejected": [{"role": "assistant", "content": "Non."}],
            "preference": 1.0,
            "source": "helpsteer3",
            "category": "multilingual/french",
        },
    ]
    assert skipped == {NOT_ALTERNATING: 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(overall_preference=-4), "field 'overall_preference': -4 is not allowed"),
        (lambda r: r["individual_preference"][1].update(score=9), "field 'individual_preference[1].score': 9 is not"),
        (lambda r: r["context"][0].update(role="human"), "field 'context[0].role': 'human' is not allowed"),
        (lambda r: r.pop("response2"), "field 'response2': missing; found: domain"),
    ],
)
def test_helpsteer3_wrong_values_are_errors(table, change, message):
    row = table("helpsteer3")[0]
    change(row)
    with pytest.raises(RowError, match=re.escape(message)):
        get_recipe("helpsteer3").convert(row)
