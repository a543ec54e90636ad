"""Rows tokenized together are the rows tokenized one by one, whatever the template and whatever comes between."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from vrm.data import in_batches
from vrm.data.chat import ENCODER_TEMPLATE, ChatTokenizer, guard_chat_template
from vrm.data.problems import InvalidRowError, one_problem
from vrm.data.schema import Judgment
from vrm.data.tokenized import JudgmentTokenizer
from vrm.errors import OverlongError

OPENS = "{{ '<|im_start|>assistant\n' if add_generation_prompt }}"
CHATML = "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{% endfor %}" + OPENS
WORDPIECE = Path(__file__).parents[3] / "configs" / "wordpiece_chat.jinja"
TEMPLATES = {
    "chatml": CHATML,
    "calls tools": CHATML.replace("m.content ~", "m.content ~ (m.tool_calls | string if m.tool_calls) ~ tools ~"),
    "trims": CHATML.replace("m.content", "m.content | trim"),
    "empty thoughts": CHATML.replace(
        "m.content", "('<think>\n\n</think>\n\n' if loop.last and m.role != 'user') ~ m.content"
    ),
    "a generation prompt not repeated": CHATML.replace("assistant\n'", "assistant\n<think>\n'"),
    "asked not to think": CHATML.replace("assistant\n'", "assistant\n' ~ ('<think></think>' if thinks)"),
    "no generation prompt": (
        "{% for m in messages %}{{ '<|im_start|> ' ~ m.content ~ ' <|im_end|>' if m.role == 'user' else "
        "m.content ~ '<|endoftext|>' }}{% endfor %}"
    ),
    "plain text": CHATML.replace("<|im_start|>", "### ").replace("<|im_end|>", "\n"),
    "as for encoders": ENCODER_TEMPLATE.replace("{{ cls }}", "<|im_start|>").replace("{{ sep }}", "<|im_end|>"),
    "as for word pieces": WORDPIECE.read_text(encoding="utf-8")
    .replace("[CLS]", "<|im_start|>")
    .replace("[SEP]", "<|im_end|>"),
    "same ends": "{% for m in messages %}{{ m.content ~ '<|im_end|>\n' }}{% endfor %}",
    "a lead": (
        "{% for m in messages %}{{ m.role ~ ':' ~ (' said ' if m.role == 'assistant') ~ m.content | trim ~ '\n' }}"
        "{% endfor %}{{ 'assistant:' if add_generation_prompt }}"
    ),
    # What the system says turns thoughts on.
    "thinks when told": (
        "{% set thinks = messages[0].role == 'system' and 'think' in messages[0].content %}"
        "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ ('<|thought|>\n' if thinks and loop.last and "
        "m.role == 'assistant' and '/think' in m.content) ~ m.content ~ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' ~ ('<|thought|>\n' if thinks) }}{% endif %}"
    ),
    # As templates do that read what a policy wrote behind an opened thought.
    "opens a thought": (
        "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' }}{% if '</think>' in m.content %}"
        "{{ '<think>\n' ~ m.content.split('<think>\n')[-1] }}{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
    ),
    "takes turns": (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.role ~ ':' ~ m.content ~ '<|im_end|>' }}"
        "{% endfor %}{{ 'assistant:' if add_generation_prompt }}"
    ),
}


def user(content):
    return {"role": "user", "content": content}


def answer(content, **more):
    return {"role": "assistant", "content": content, **more}


FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

PIECES = ["<|im_start|>", "<|im_end|>", "assistant", "\n", "\n\n", " ", "### ", "user", "<", "|>", "good", "1."]
contents = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    st.sampled_from(["<think>\nno", "no\n</think>\n\nyes", "/think", "<|thought|>\n", "x" * 300]),
)
turns = st.one_of(
    st.builds(user, contents),
    st.builds(answer, contents),
    st.builds(lambda content: {"role": "system", "content": content}, st.sampled_from(["think", "be brief"])),
)
prompts = st.one_of(
    st.builds(lambda turn: [turn], st.builds(user, contents)),
    st.builds(lambda turns, last: [*turns, last], st.lists(turns, max_size=3), st.builds(user, contents)),
)
calls = [{"type": "function", "function": {"name": "look", "arguments": {"q": "<|im_end|>"}}}]
completions = st.one_of(
    st.builds(lambda content: [answer(content)], contents),
    st.builds(lambda content: [answer(content)], contents),
    st.builds(lambda content: [answer(content), user("so"), answer("done")], contents),
    st.builds(lambda content: [answer(content, tool_calls=calls)], contents),
)
rows = st.one_of(
    st.builds(lambda prompt, texts: Judgment(prompt, texts), prompts, st.lists(completions, max_size=3)),
    st.builds(
        lambda prompt, texts, tools, more: Judgment(prompt, texts, tools=tools, chat_template_kwargs=more),
        prompts,
        st.lists(completions, min_size=1, max_size=2),
        st.sampled_from([None, calls]),
        st.sampled_from([None, {"thinks": True}]),
    ),
    st.builds(lambda prompt, texts: Judgment(prompt, texts), contents, st.lists(contents, max_size=3)),
)


@pytest.fixture(scope="module", params=[(name, guard) for name in TEMPLATES for guard in (False, True)], ids=str)
def tokenizer(request, merging_tokenizer_file):
    name, guard = request.param
    tokenizer = AutoTokenizer.from_pretrained(merging_tokenizer_file)
    tokenizer.chat_template = TEMPLATES[name]
    if guard and not guard_chat_template(tokenizer):
        pytest.skip("cannot be guarded")
    return tokenizer


def one_by_one(tokenizer, judgment, wrap_text):
    """A row as a tokenizer that has seen no other row renders and encodes it, text by text."""
    chat = ChatTokenizer(tokenizer, wrap_text)
    try:
        prompt = chat.prompt(judgment)
        return prompt.ids, [chat.completion(prompt, text, judgment) for text in judgment.completions]
    except InvalidRowError as error:
        return str(error)


@FEW
@given(st.lists(rows, max_size=8), st.booleans(), st.sampled_from([1, 2, 256]))
def test_rows_together_are_the_rows_one_by_one(tokenizer, judgments, wrap_text, size):
    tokenize = JudgmentTokenizer(ChatTokenizer(tokenizer, wrap_text), 10**6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_batches, "_ROWS", size)
        found = list(tokenize.each(judgments))
    together = [str(row) if isinstance(row, InvalidRowError) else (row.prompt, row.completions) for row in found]
    expected = [one_by_one(tokenizer, row, wrap_text) for row in judgments]
    # A row that says nothing but what the template leaves out is refused afterwards.
    assert [b if isinstance(a, str) and "nothing else" in a else a for a, b in zip(together, expected)] == expected
    assert tokenize.report.total == sum(not isinstance(row, InvalidRowError) for row in found)


@pytest.fixture
def chat(merging_tokenizer_file):
    def make(template=CHATML):
        tokenizer = AutoTokenizer.from_pretrained(merging_tokenizer_file)
        tokenizer.chat_template = template
        return ChatTokenizer(tokenizer, wrap_text=True)

    return make


def pair(number, **more):
    return Judgment(f"why {number}", ["good", f"very good {number}"], preference=1.0, file="f", line=number, **more)


def test_a_prompt_and_a_completion_are_rendered_once_and_encoded_in_one_call(chat, monkeypatch):
    tokenize = JudgmentTokenizer(chat(), 1000)
    tokenizer = tokenize.chat.tokenizer
    list(tokenize.many([pair(0)]))
    rendered, encoded = [], []
    apply, call = type(tokenizer).apply_chat_template, type(tokenizer).__call__
    monkeypatch.setattr(
        type(tokenizer), "apply_chat_template", lambda self, *a, **k: rendered.append(a) or apply(self, *a, **k)
    )
    monkeypatch.setattr(
        type(tokenizer), "__call__", lambda self, *a, **k: encoded.append((self, *a)) or call(self, *a, **k)
    )
    monkeypatch.setattr(type(tokenizer), "encode", None)
    assert len(list(tokenize.many([pair(number) for number in range(40)]))) == 40
    assert len(rendered) == 40 * 3
    # A few texts, once for those in which special tokens are parsed, and once for the others; the rest in one call.
    assert sum(len(texts) for _, texts in encoded) <= 8


def test_errors_come_in_their_places(chat, monkeypatch):
    monkeypatch.setattr(in_batches, "_ROWS", 2)
    refused = Judgment([answer("no")], [[answer("yes")]], file="f", line=3)
    found = JudgmentTokenizer(chat(TEMPLATES["takes turns"]), 1000).many([pair(1), pair(2), refused, pair(4)])
    assert [next(found).judgment.line, next(found).judgment.line] == [1, 2]
    with pytest.raises(InvalidRowError, match=r"f:3: .*alternate"):
        next(found)
    tokenize = JudgmentTokenizer(chat(TEMPLATES["takes turns"]), 1000, on_bad_rows="skip")
    assert [row and row.judgment.line for row in tokenize.each([pair(1), refused, pair(4)])] == [1, None, 4]
    assert (tokenize.report.total, tokenize.report.refused) == (3, 1)
    long = Judgment("why", ["good " * 50], file="f", line=2)
    found = JudgmentTokenizer(chat(), 25).many([pair(1), long])
    assert next(found).judgment.line == 1
    with pytest.raises(OverlongError, match="f:2:"):
        next(found)


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_an_error_of_the_source_comes_behind_its_rows(chat, policy):
    def source():
        yield pair(1)
        raise one_problem("f", 2, "", "bad", "no row")

    tokenize = JudgmentTokenizer(chat(), 1000, on_bad_rows=policy)
    found = tokenize.many(source())
    assert next(found).judgment.line == 1
    with pytest.raises(InvalidRowError):
        next(found)
    assert tokenize.report.refused == 0


def test_a_text_that_cannot_be_encoded_harms_no_other_row(chat):
    """Half of a surrogate pair: readers refuse it, programs may not."""
    found = JudgmentTokenizer(chat(), 1000).many([pair(1), Judgment("\ud83d", ["a"]), pair(3)])
    assert next(found).judgment.line == 1
    with pytest.raises((TypeError, UnicodeEncodeError)):
        next(found)


def test_a_tokenizer_of_a_class_of_its_own_is_asked_itself(chat):
    chat = chat()
    kind = type(chat.tokenizer)

    class Upper(kind):
        def __call__(self, texts, **options):
            return super().__call__([text.upper() for text in texts], **options)

        def encode(self, text, **options):
            return super().encode(text.upper(), **options)

    chat.tokenizer.__class__ = Upper
    rows = [pair(number) for number in range(9)]
    together = [(row.prompt, row.completions) for row in JudgmentTokenizer(chat, 1000).many(rows)]
    assert together == [one_by_one(chat.tokenizer, row, True) for row in rows]
