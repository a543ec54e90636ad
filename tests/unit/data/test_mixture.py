from __future__ import annotations

from collections import Counter

import pytest

from vrm.data import Judgment, mix, prompt_key, split_by_prompt
from vrm.errors import ConfigError

ROWS = {
    "a": [Judgment(f"a{n // 2}", line=n) for n in range(40)],
    "b": [Judgment(f"b{n}", line=n) for n in range(10)],
}


def counts(rows, source):
    return Counter(Counter(row.line for row in rows if str(row.prompt).startswith(source)).values())


def test_without_weights_every_row_is_seen_once_in_order():
    assert mix(ROWS) == ROWS["a"] + ROWS["b"]


def test_weights_repeat_and_thin_whole_prompts():
    mixed = mix(ROWS, {"a": 0.5, "b": 2.5})
    assert counts(mixed, "a") == {1: 20}
    assert counts(mixed, "b") == {2: 5, 3: 5}
    assert set(Counter(row.prompt for row in mixed if str(row.prompt).startswith("a")).values()) == {2}


def test_the_fraction_depends_on_seed_and_prompts_but_not_on_the_order():
    first = {row.line for row in mix(ROWS, {"a": 0.5}, seed=1) if str(row.prompt).startswith("a")}
    reverse = {name: rows[::-1] for name, rows in ROWS.items()}
    assert {row.line for row in mix(reverse, {"a": 0.5}, seed=1) if str(row.prompt).startswith("a")} == first
    others = [frozenset(row.line for row in mix({"a": ROWS["a"]}, {"a": 0.5}, seed=seed)) for seed in range(5)]
    assert len(set(others)) == 5


@pytest.mark.parametrize("weight", [0, -1, float("inf"), float("nan"), True, "2"])
def test_wrong_weights(weight):
    with pytest.raises(ConfigError, match="weight of 'a'"):
        mix(ROWS, {"a": weight})


def test_weights_for_no_source():
    with pytest.raises(ConfigError, match=r"no source is named 'rmbb'. Did you mean 'rmb'\?"):
        mix({"rmb": []}, {"rmbb": 1.0})


def test_thinning_and_holding_out_with_one_seed_do_not_choose_the_same_prompts():
    rows = [Judgment(f"p{n}") for n in range(2000)]
    kept, held_out = split_by_prompt(rows, 0.5, seed=0)
    half = {prompt_key(row) for row in mix({"all": rows}, {"all": 0.5}, seed=0)}
    share = sum(prompt_key(row) in half for row in held_out) / len(held_out)
    assert 0.4 < share < 0.6
    assert kept
