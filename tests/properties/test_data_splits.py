"""Prompts stay whole and on one side, whatever the rows and their order."""

from __future__ import annotations

from collections import Counter

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vrm.data import Judgment, mix, prompt_key, shared_prompts, split_by_prompt
from vrm.data.texts import split_implicit_prompt
from vrm.errors import DataError

prompts = st.text("ab \n", min_size=1, max_size=3) | st.lists(
    st.fixed_dictionaries({"role": st.just("user"), "content": st.text("aB ", max_size=3)}), min_size=1, max_size=2
)
judgments = st.lists(st.builds(Judgment, prompt=prompts, category=st.sampled_from("wxyz")), max_size=25)


@settings(deadline=None)
@given(judgments, st.floats(0, 0.99), st.integers(0, 5), st.sampled_from(["prompt", "category"]), st.randoms())
def test_splits_are_disjoint_complete_and_independent_of_order(rows, held_out, seed, by, random):
    try:
        kept, out = split_by_prompt(rows, held_out, seed, by)
    except DataError:
        assume(False)
    assert shared_prompts(kept, out) == 0
    assert len(kept) + len(out) == len(rows)
    shuffled = rows[:]
    random.shuffle(shuffled)
    again, _ = split_by_prompt(shuffled, held_out, seed, by)
    assert Counter(map(prompt_key, again)) == Counter(map(prompt_key, kept))


@settings(deadline=None)
@given(judgments, st.floats(0.05, 4), st.integers(0, 5))
def test_a_mixture_sees_each_prompt_floor_or_ceiling_of_the_weight(rows, weight, seed):
    mixed = Counter(map(prompt_key, mix({"a": rows}, {"a": weight}, seed)))
    once = Counter(map(prompt_key, rows))
    whole, share = divmod(weight, 1.0)
    extra = 0
    for key, count in once.items():
        times, rest = divmod(mixed[key], count)
        assert rest == 0
        assert times in (whole, whole + 1)
        extra += times - whole
    assert abs(extra - share * len(once)) <= 0.5


texts = st.text("ab \n.:?", max_size=12)
turns = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.sampled_from("ab")}),
    max_size=4,
)


@settings(deadline=None)
@given(st.tuples(texts, texts, texts) | st.tuples(turns, turns, turns))
def test_an_implicit_prompt_and_its_completions_are_the_sides(parts):
    start, first, second = parts
    try:
        prompt, chosen, rejected = split_implicit_prompt(start + first, start + second)
    except DataError:
        return
    assert (prompt + chosen, prompt + rejected) == (start + first, start + second)
    assert prompt
    assert chosen
    assert rejected
    if isinstance(start, list) and first and second:
        assert len(prompt) >= len(start)
