from __future__ import annotations

import pytest

from vrm.data.recipes import base, get_recipe
from vrm.errors import RowError

NAME = "skywork-reward-preference"


def test_conversations_become_prompt_and_last_turns(run, table):
    rows, skipped = run(NAME, table(NAME))
    assert rows == [
        {
            "prompt": [{"role": "user", "content": "Define entropy."}],
            "chosen": [{"role": "assistant", "content": "A measure of disorder."}],
            "rejected": [{"role": "assistant", "content": "A kind of energy."}],
            "source": NAME,
            "category": "magpie_pro",
        },
        {
            "prompt": [
                {"role": "user", "content": "Hi."},
                {"role": "assistant", "content": "Hello."},
                {"role": "user", "content": "Rhyme with sun."},
            ],
            "chosen": [{"role": "assistant", "content": "Fun."}],
            "rejected": [{"role": "assistant", "content": "Sea."}],
            "source": NAME,
            "category": "wildguard",
        },
    ]
    assert skipped == {base.HISTORIES_DIFFER: 1}


def test_wrong_values_are_errors(table):
    row = table(NAME)[0]
    with pytest.raises(RowError, match="field 'rejected': 'text' is not allowed; expected a list"):
        get_recipe(NAME).convert(row | {"rejected": "text"})
    with pytest.raises(RowError, match=r"field 'chosen\[0\].content': None is not allowed; expected a string"):
        get_recipe(NAME).convert(row | {"chosen": [{"role": "user", "content": None}]})
