"""What a chat template leaves out of rows is named, and completions that become the same in tokens are counted."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from vrm.data.chat import ChatTokenizer, ensure_chat_template
from vrm.data.problems import InvalidRowError
from vrm.data.schema import Judgment
from vrm.data.tokenized import JudgmentTokenizer
from vrm.testing import CHATML, byte_level_tokenizer

CONTENT = CHATML.replace("{{ message['content'] }}", "{{ message['content'] or '' }}")
WITHOUT_THOUGHTS = CONTENT.replace("message['content'] or ''", "message['content'].split('</think>')[-1]")
TRIMS = CONTENT.replace("message['content'] or ''", "message['content'] | trim")
PRINTS_ALL = "{% if tools %}tools: {{ tools | tojson }}{% endif %}" + CONTENT.replace(
    "<|im_end|>", "{{ message.reasoning_content }}{{ message.tool_calls | string }}<|im_end|>"
)
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
USER = {"role": "user", "content": "How warm is it?"}


def answer(content, **further):
    return [{"role": "assistant", "content": content, **further}]


def calls(city):
    return [{"type": "function", "function": {"name": "weather", "arguments": {"city": city}}}]


def tokenizer_of(template, policy="error", limit=512):
    chat = ChatTokenizer(byte_level_tokenizer(["how warm is it weather city"], 300, chat_template=template))
    return JudgmentTokenizer(chat, limit, "truncate", on_bad_rows=policy)


def row(*completions, tools=None):
    return Judgment([USER], list(completions), 1.0 if len(completions) == 2 else None, tools=tools, file="f", line=7)


def read(template, *rows):
    tokenize = tokenizer_of(template)
    assert len(list(tokenize.many(rows))) == len(rows)
    return tokenize.report


def test_thoughts_that_the_template_removes():
    pairs = [row(answer(f"<think>{n}</think>\n\nMild"), answer(f"<think>{n}{n}</think>\n\nMild")) for n in range(3)]
    report = read(WITHOUT_THOUGHTS, *pairs, row(answer("Mild"), answer("Cold")))
    cause = "the chat template removes what stands before </think>"
    assert (report.identical, report.losses) == (3, {cause: 3})
    assert report.warnings() == [
        f"3 of 4 pairs become identical in tokens: {cause} (3)",
        f"{cause}: 3 rows lose them",
    ]
    assert "3 with completions that are identical in tokens" in report.render()
    assert read(CONTENT, *pairs).warnings() == []


def test_calls_and_tools_that_the_template_does_not_print():
    pair = row(answer("I ask.", tool_calls=calls("Oslo")), answer("I ask.", tool_calls=calls("Rome")), tools=TOOLS)
    report = read(CONTENT, pair)
    assert report.losses == {
        "the chat template prints no tool calls": 1,
        "the chat template prints no tools": 1,
    }
    assert report.warnings()[0] == "1 of 1 pairs become identical in tokens: the chat template prints no tool calls (1)"
    assert "the chat template prints no tool calls: 1 row loses them" in report.warnings()
    assert read(PRINTS_ALL, pair).warnings() == []


def test_reasoning_beside_the_content():
    pair = row(answer("Mild", reasoning_content="It is May."), answer("Mild", reasoning_content="A guess."))
    report = read(CONTENT, pair)
    assert (report.identical, report.losses) == (1, {"the chat template prints no reasoning_content": 1})
    assert read(PRINTS_ALL, pair).warnings() == []


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_completion_that_says_nothing_else_is_an_error_of_the_row(content):
    pair = row(answer(content, tool_calls=calls("Oslo")), answer("No."))
    with pytest.raises(InvalidRowError, match=r"^f:7: the chat template prints no tool calls, and a completion says"):
        tokenizer_of(CONTENT)(pair)
    skipping = tokenizer_of(CONTENT, "skip")
    assert skipping(pair) is None
    assert skipping.report.refused == 1
    assert tokenizer_of(PRINTS_ALL)(pair) is not None


def test_text_that_the_template_trims():
    report = read(TRIMS, row(answer("Mild"), answer("Mild\n")), row(answer("Mild"), answer("Cold")))
    assert report.warnings() == [
        "1 of 2 pairs become identical in tokens: blank space at the ends of messages is trimmed (1)"
    ]
    assert read(CONTENT, row(answer("Mild"), answer("Mild\n"))).identical == 0


def test_other_causes_and_other_rows(tiny_encoder_backbone):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder_backbone)
    ensure_chat_template(tokenizer, "encoder")
    chat = ChatTokenizer(tokenizer, wrap_text=True)
    tokenize = JudgmentTokenizer(chat, 64, "truncate")
    rows = [
        Judgment("why", ["yes", "YES", "no"]),  # an uncased tokenizer
        Judgment("why", ["yes", "yes"]),  # the same text is no news
        Judgment("why", ["yes " * 80 + "no", "yes " * 80 + "so"]),  # no comparison: it is kept
        Judgment("why", ["yes"]),
    ]
    list(tokenize.many(rows))
    report = tokenize.report
    assert (report.identical, report.sizes.total()) == (2, 3)
    assert report.causes == {
        "the tokenizer does not tell case or white space apart": 1,
        "what sets them apart is cut off": 1,
    }
    assert report.warnings()[0].startswith("2 of 3 rows become identical in tokens: ")


def test_plain_text_has_no_template_to_lose_anything_in():
    tokenize = tokenizer_of(None)
    assert tokenize.whole(Judgment("a", ["<think>b</think>c"])).lost == ()
