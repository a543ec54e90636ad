from __future__ import annotations

import pytest

from vrm.data.texts import split_implicit_prompt
from vrm.errors import DataError


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


U1, A1, U2 = turn("user", "hello"), turn("assistant", "hi"), turn("user", "why?")


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        (
            "\n\nHuman: Hi\n\nAssistant: I am fine",
            "\n\nHuman: Hi\n\nAssistant: I am busy",
            "\n\nHuman: Hi\n\nAssistant:",
        ),
        ("Human: a\n\nAssistant: b\n\nHuman: c", "Human: a\n\nAssistant: x", "Human: a\n\nAssistant:"),
        ("### Response: The cat", "### Response: The dog", "### Response:"),
        ("<|im_start|>assistant\nYes A", "<|im_start|>assistant\nYes B", "<|im_start|>assistant\n"),
        ("What is it?\nIt is a cat", "What is it?\nIt is a dog", "What is it?\n"),
        ("What is it? It is a cat", "What is it? It is a dog", "What is it?"),
        ("Complete this: the sky is blue", "Complete this: the sky is grey", "Complete this:"),
        ("the sky is blue", "the sky is black", "the sky is"),
        ("What is it? A cat", "What is it? A catfish", "What is it?"),
        ("The sky is blue.", "The sky is blue. And red.", "The sky is"),
        ("你好吗？我很好", "你好吗？我不好", "你好吗？"),
    ],
)
def test_texts_are_cut_at_a_sensible_place(chosen, rejected, prompt):
    found, first, second = split_implicit_prompt(chosen, rejected)
    assert found == prompt
    assert (found + first, found + second) == (chosen, rejected)


@pytest.mark.parametrize(
    ("chosen", "rejected"), [("cat", "dog"), ("category", "catalog"), (" a", " b"), ("word", "word more"), ("", "x")]
)
def test_texts_that_share_no_words(chosen, rejected):
    with pytest.raises(DataError, match="do not begin with the same words"):
        split_implicit_prompt(chosen, rejected)


def test_an_empty_last_turn_is_a_fault_and_not_a_reason_to_cut_earlier():
    start = "Human: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    with pytest.raises(DataError, match="the completion is empty"):
        split_implicit_prompt(start, start + " yes")


@pytest.mark.parametrize(
    ("chosen", "rejected", "length"),
    [
        ([U1, A1], [U1, turn("assistant", "no")], 1),
        ([U1, A1, U2, A1], [U1, A1, U2, turn("assistant", "x")], 3),
        ([U1, A1], [U1, A1, U2, A1], 1),
        ([U1, A1, U2, A1], [U1, A1], 1),
    ],
)
def test_conversations_are_cut_after_the_common_messages(chosen, rejected, length):
    prompt, first, second = split_implicit_prompt(chosen, rejected)
    assert prompt == chosen[:length]
    assert (prompt + first, prompt + second) == (chosen, rejected)


@pytest.mark.parametrize(("chosen", "rejected"), [([A1], [turn("assistant", "no")]), ([A1], [A1, U1]), ([], [U1])])
def test_conversations_that_share_no_message(chosen, rejected):
    with pytest.raises(DataError, match="do not begin with the same message"):
        split_implicit_prompt(chosen, rejected)
