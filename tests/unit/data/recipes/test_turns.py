from __future__ import annotations

from vrm.data.recipes.base import HISTORIES_DIFFER, NO_FINAL_ASSISTANT, skip
from vrm.data.recipes.turns import (
    NOT_ALTERNATING,
    alternates,
    extra_id_turns,
    human_assistant_turns,
    pair_of_conversations,
)


def turns(*texts: str):
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def test_human_assistant_turns():
    text = "\n\nHuman: One?\n\nStill one.\n\nAssistant: Two\n\nHuman: Three \n\nAssistant:"
    assert human_assistant_turns(text) == turns("One?\n\nStill one.", "Two", "Three", "")
    assert human_assistant_turns("Human: One\n\nAssistant: Two") == turns("One", "Two")
    assert human_assistant_turns("A preface\n\nHuman: One") is None
    assert human_assistant_turns("no turns") is None


def test_a_marker_inside_a_line_starts_no_turn():
    assert human_assistant_turns("\n\nHuman: Say Human: or\nAssistant: aloud") == turns(
        "Say Human: or\nAssistant: aloud"
    )


def test_extra_id_turns():
    assert extra_id_turns("Only one.") == turns("Only one.")
    assert extra_id_turns("One\n<extra_id_1>Assistant\nTwo\n<extra_id_1>User\nThree") == turns("One", "Two", "Three")
    assert extra_id_turns("") == turns("")


def test_alternates():
    assert alternates(turns("a", "b", "c"))
    assert alternates([{"role": "system", "content": "s"}, *turns("a", "b")])
    assert not alternates(turns("a", "b")[::-1])
    assert not alternates(turns("a") + turns("b"))


def test_pairs_of_conversations_share_all_but_the_last_turn():
    (row,) = pair_of_conversations(turns("a", "b", "c", "d"), turns("a", "b", "c", "e"), source="s").rows
    assert row["prompt"] == turns("a", "b", "c")
    assert row["chosen"] == [{"role": "assistant", "content": "d"}]
    assert row["rejected"] == [{"role": "assistant", "content": "e"}]
    assert row["source"] == "s"


def test_pairs_of_conversations_that_cannot_be_compared_are_counted():
    assert pair_of_conversations(turns("a", "b"), turns("x", "b")) == skip(HISTORIES_DIFFER)
    assert pair_of_conversations(turns("a", "b"), turns("a", "b", "c", "d")) == skip(HISTORIES_DIFFER)
    assert pair_of_conversations(turns("a"), turns("a", "b")) == skip(NO_FINAL_ASSISTANT)
    assert pair_of_conversations([], turns("a", "b")) == skip(NO_FINAL_ASSISTANT)
    double = turns("a") + turns("b", "c")
    assert pair_of_conversations(double, [*double[:-1], {"role": "assistant", "content": "d"}]) == skip(NOT_ALTERNATING)
