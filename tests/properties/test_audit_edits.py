"""Edits on any text: deterministic, never empty, code between fences left as it is."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vrm.audit.edits import EDITS, EditContext
from vrm.data.units import join_units, split_units

SENTENCES = st.sampled_from(
    [
        "Take the first road.",
        "Is it far?",
        "No!",
        "Ask Dr. Who, e.g. today.",
        "It costs 3.5.",
        "これは一つ。",
        "so it goes",
        "A\nb.",
    ]
)
PARAGRAPHS = st.lists(SENTENCES, min_size=1, max_size=6).map(" ".join)
LISTS = st.lists(SENTENCES, min_size=1, max_size=4).map(lambda items: "\n".join(f"- {item}" for item in items))
CODES = st.lists(
    st.sampled_from(["x = 1", "# Not. A heading", "", "- y", "  print('Hi. There')", "| a |"]), max_size=5
).map(lambda lines: "\n".join(["```python", *lines, "```"]))
BLOCKS = st.lists(
    st.one_of(st.tuples(st.just("text"), st.one_of(PARAGRAPHS, LISTS)), st.tuples(st.just("code"), CODES)),
    min_size=1,
    max_size=5,
)
GAPS = st.sampled_from(["\n", "\n\n", "\n\n\n", "\n  \n"])
ANY = st.text(st.sampled_from("aB .!?\n\t`~-*1.)#|>🙂。é\r\x0b\u2028"), max_size=60)


@given(ANY)
def test_units_make_up_the_text(text):
    units = split_units(text)
    assert join_units(units) == (text if text.strip() else "")
    assert all(unit.body == unit.body.strip() and unit.body for unit in units)


@pytest.mark.parametrize("name", EDITS)
@settings(deadline=None, max_examples=25)
@given(text=ANY, seed=st.integers(0, 5))
def test_any_text_is_changed_the_same_way_twice_or_not_at_all(name, text, seed):
    first, second = (EDITS[name].apply(text, EditContext(Random(seed), "Something else.")) for _ in range(2))
    assert first == second
    if first is None:
        return
    assert first != text
    assert first.strip()


@pytest.mark.parametrize("name", [name for name in EDITS if name not in ("other prompt", "middle cut", "repetition")])
@settings(deadline=None, max_examples=25)
@given(blocks=BLOCKS, gap=GAPS, seed=st.integers(0, 5))
def test_code_stays_as_it_is_and_where_it_is(name, blocks, gap, seed):
    codes = [block for kind, block in blocks if kind == "code"]
    edited = EDITS[name].apply(gap.join(block for _, block in blocks), EditContext(Random(seed)))
    if edited is None:
        return
    assert [unit.body for unit in split_units(edited) if unit.kind == "code"] == codes
    rest = edited
    for code in codes:
        before, found, rest = rest.partition(code)
        assert found
        assert not before.strip(" ") or before.endswith("\n")


@settings(deadline=None, max_examples=40)
@given(blocks=BLOCKS, gap=GAPS)
def test_a_cut_takes_blocks_of_code_whole(blocks, gap):
    codes = [block for kind, block in blocks if kind == "code"]
    text = gap.join(block for _, block in blocks)
    edited = EDITS["middle cut"].apply(text, EditContext(Random(0)))
    if edited is None:
        return
    assert len(edited) < len(text)
    remaining = iter(codes)
    assert all(unit.body in remaining for unit in split_units(edited) if unit.kind == "code")
    assert edited.count("```") % 2 == 0
