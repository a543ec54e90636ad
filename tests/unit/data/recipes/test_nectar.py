from __future__ import annotations

import pytest

from vrm.data.recipes import base, get_recipe
from vrm.data.recipes.turns import NOT_ALTERNATING
from vrm.errors import RowError


def test_ranks_become_scores_where_higher_is_better(run, table):
    rows, skipped = run("nectar", table("nectar"))
    assert rows == [
        {
            "prompt": [
                {"role": "user", "content": "What keeps bees busy?"},
                {"role": "assistant", "content": "Flowers."},
                {"role": "user", "content": "And in winter?"},
            ],
            "completions": [
                [{"role": "assistant", "content": "They sleep."}],
                [{"role": "assistant", "content": "They cluster and shiver to keep warm."}],
                [{"role": "assistant", "content": "They cluster."}],
            ],
            "scores": [-3.0, -1.0, -2.0],
            "source": "nectar",
            "category": "ultrachat",
        }
    ]
    assert skipped == {base.EMPTY_COMPLETION: 2, base.REPEATED_COMPLETION: 1, base.FEWER_THAN_TWO: 1}


def test_several_sources_are_joined(run, table):
    row = table("nectar")[0] | {"source": ["lmsys-chat-1m", "sharegpt"]}
    assert run("nectar", [row])[0][0]["category"] == "lmsys-chat-1m,sharegpt"


def test_prompt_that_ends_with_words_of_the_assistant_is_counted(run, table):
    row = table("nectar")[0] | {"prompt": "\n\nHuman: a\n\nAssistant: b"}
    assert run("nectar", [row]) == ([], {NOT_ALTERNATING: 1})


def test_wrong_values_are_errors(table):
    row = table("nectar")[0]
    answers = [row["answers"][0] | {"rank": 0.0}]
    with pytest.raises(RowError, match=r"field 'answers\[0\].rank': 0.0 is not allowed; expected a number from 1"):
        get_recipe("nectar").convert(row | {"answers": answers})
    with pytest.raises(RowError, match="field 'prompt': 'plain' is not allowed; expected turns"):
        get_recipe("nectar").convert(row | {"prompt": "plain"})
