"""Rows that a chat template refuses are rows with a fault: named, and left out where bad rows are skipped."""

from __future__ import annotations

import pytest

from vrm.data.chat import ChatTokenizer, describe_prompts
from vrm.data.problems import InvalidRowError
from vrm.data.schema import Judgment
from vrm.data.tokenized import JudgmentTokenizer
from vrm.errors import ConfigError
from vrm.testing import CHATML, byte_level_tokenizer

NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
ALTERNATE = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% endfor %}"
)
NEEDS_SYSTEM = "{% if messages[0]['role'] != 'system' %}{{ raise_exception('Begin with the system') }}{% endif %}"

USER = {"role": "user", "content": "Name a bird."}
SYSTEM = {"role": "system", "content": "Be brief."}
ANSWER = {"role": "assistant", "content": "Wren"}


def chat_of(template: str) -> ChatTokenizer:
    return ChatTokenizer(byte_level_tokenizer(["name a bird wren"], 300, chat_template=template))


def row(*prompt, completion=ANSWER):
    return Judgment(list(prompt), [[completion]], file="birds.jsonl", line=4)


@pytest.mark.parametrize(
    ("template", "judgment", "words"),
    [
        (NO_SYSTEM + CHATML, row(SYSTEM, USER), "System role not supported"),
        (ALTERNATE + CHATML, row(USER, USER), "Conversation roles must alternate"),
        (ALTERNATE + CHATML, row(USER, completion={**ANSWER, "role": "user"}), "Conversation roles must alternate"),
        ("{{ messages[0].content + 1 }}" + CHATML, row(USER), 'TypeError: can only concatenate str (not "int") to str'),
        ("{{ messages[9].content.x }}" + CHATML, row(USER), "list object has no element 9"),
    ],
)
def test_the_error_names_the_row_and_the_words_of_the_template(template, judgment, words):
    with pytest.raises(InvalidRowError) as caught:
        JudgmentTokenizer(chat_of(template), 64).whole(judgment)
    assert str(caught.value) == f"birds.jsonl:4: the model's chat template refuses these messages: {words}"


def test_refused_rows_are_skipped_and_counted_or_stop_the_command():
    rows = [row(USER), row(SYSTEM, USER), row(USER)]
    chat = chat_of(NO_SYSTEM + CHATML)
    skipping = JudgmentTokenizer(chat, 64, on_bad_rows="skip")
    assert [item.judgment for item in skipping.many(rows)] == [rows[0], rows[2]]
    assert skipping(rows[1]) is None
    assert (skipping.report.refused, skipping.report.total) == (2, 4)
    assert "2 left out because of the chat template" in skipping.report.render()
    assert "birds.jsonl:4: the model's chat template refuses" in skipping.report.warnings()[0]
    stopping = JudgmentTokenizer(chat, 64)
    with pytest.raises(InvalidRowError):
        list(stopping.many(rows))
    assert len(list(stopping.many(rows, on_bad_rows="skip"))) == 2


def test_an_answer_that_cannot_stand_alone_behind_the_prompt_refuses_nothing():
    """Behind a call of a tool the next message is the tool's, so that the answer that is tried on is refused."""
    template = (
        "{% for message in messages %}{% if message['role'] == 'assistant' and loop.previtem is defined"
        " and loop.previtem['role'] == 'assistant' %}{{ raise_exception('two answers') }}{% endif %}{% endfor %}"
    )
    completion = [{"role": "tool", "content": "7"}, {"role": "assistant", "content": "Seven"}]
    judgment = Judgment([USER, {"role": "assistant", "content": "calling"}], [completion])
    chat = chat_of(template + CHATML)
    prompt = chat.prompt(judgment)
    text = chat.tokenizer.decode(prompt.ids + chat.completion(prompt, completion, judgment))
    assert text.endswith("tool\n7<|im_end|>\n<|im_start|>assistant\nSeven<|im_end|>\n")


def test_a_template_that_is_no_template():
    with pytest.raises(ConfigError, match="the chat template is no valid Jinja, line 2: "):
        chat_of("\n{% if messages %}{{ oops }").prompt(row(USER))


def test_a_template_that_refuses_a_lone_question_has_no_boundary_and_reads_what_it_takes():
    chat = chat_of(NEEDS_SYSTEM + CHATML)
    described = describe_prompts(chat.tokenizer)
    assert described == {"prompt_boundary_ids": None, "guarded_template": False, "prompt_opening_id": None}
    assert chat.prompt(row(SYSTEM, USER)).ids
