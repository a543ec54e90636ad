from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from vrm.data.chat import ChatTokenizer, ensure_chat_template
from vrm.data.schema import Judgment
from vrm.data.tokenized import JudgmentTokenizer, OverlongReport
from vrm.errors import ConfigError, OverlongError

LIMIT = 20


@pytest.fixture(scope="session")
def encoder_tokenizer(tiny_encoder_backbone):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder_backbone)
    ensure_chat_template(tokenizer, "encoder")
    return tokenizer


@pytest.fixture
def tokenizer_with(encoder_tokenizer):
    def make(policy, limit=LIMIT):
        return JudgmentTokenizer(ChatTokenizer(encoder_tokenizer, wrap_text=True), limit, policy)

    return make


def words(count, first="good"):
    """Text of so many tokens: every word is one of the vocabulary."""
    return " ".join([first, *["the"] * (count - 1)])


def pair(prompt, chosen, rejected, **more):
    """A comparison of so many tokens each; the row adds [CLS], and a [SEP] after prompt and completion."""
    return Judgment(
        words(prompt, "how"), [words(chosen), words(rejected, "bad")], preference=1.0, file="f", line=7, **more
    )


FITS = pair(8, 9, 5)
OVER = pair(8, 10, 5)
LONG_PROMPT = pair(30, 5, 5)
LONG_COMPLETION = pair(4, 40, 5)
SAME_AFTER_CUT = Judgment(words(4), [words(40), f"{words(40)} bad"], preference=1.0, file="f", line=8)


def counts(report):
    return (
        report.total,
        report.prompt_truncated,
        report.completion_truncated,
        report.dropped,
        report.dropped_identical,
    )


@pytest.mark.parametrize("policy", ["error", "drop", "truncate_prompt", "truncate"])
def test_rows_within_the_limit_are_left_alone(tokenizer_with, policy):
    tokenize = tokenizer_with(policy)
    item = tokenize(FITS)
    assert len(item.prompt) + len(item.completions[0]) == LIMIT
    assert counts(tokenize.report) == (1, 0, 0, 0, 0)
    assert tokenize.report.render() == "1 row, all within 20 tokens"


def test_error_names_the_row_the_length_and_the_ways_out(tokenizer_with):
    with pytest.raises(OverlongError, match=r"f:7: 21 tokens, limit 20.*drop, truncate_prompt or truncate"):
        tokenizer_with("error")(OVER)


def test_drop_leaves_out_and_counts(tokenizer_with):
    tokenize = tokenizer_with("drop")
    kept = list(tokenize.many([FITS, OVER, LONG_PROMPT, FITS]))
    assert [item.judgment for item in kept] == [FITS, FITS]
    assert counts(tokenize.report) == (4, 0, 0, 2, 0)
    assert tokenize.report.examples == ["f:7: 21 tokens, limit 20", "f:7: 38 tokens, limit 20"]
    assert "2 dropped" in tokenize.report.render()


def test_truncate_prompt_cuts_the_start_of_the_prompt_and_keeps_the_first_special_token(
    tokenizer_with, encoder_tokenizer
):
    tokenize = tokenizer_with("truncate_prompt")
    whole = tokenizer_with("error", 100)(LONG_PROMPT)
    item = tokenize(LONG_PROMPT)
    assert item.completions == whole.completions
    assert len(item.prompt) == LIMIT - 6
    assert item.prompt[0] == encoder_tokenizer.cls_token_id
    assert item.prompt[1:] == whole.prompt[-(LIMIT - 7) :]
    assert counts(tokenize.report) == (1, 1, 0, 0, 0)


def test_truncate_prompt_drops_what_does_not_fit_even_so(tokenizer_with):
    tokenize = tokenizer_with("truncate_prompt")
    assert tokenize(LONG_COMPLETION) is None
    assert counts(tokenize.report) == (1, 0, 0, 1, 0)


def test_truncate_cuts_completions_at_their_end_and_keeps_the_closing_token(tokenizer_with, encoder_tokenizer):
    tokenize = tokenizer_with("truncate")
    whole = tokenizer_with("error", 100)(LONG_COMPLETION)
    item = tokenize(LONG_COMPLETION)
    assert max(len(ids) for ids in item.completions) + len(item.prompt) == LIMIT
    cut = item.completions[0]
    assert cut[:-1] == whole.completions[0][: len(cut) - 1]
    assert cut[-1] == encoder_tokenizer.sep_token_id
    assert item.completions[1] == whole.completions[1]
    assert len(item.prompt) >= LIMIT // 4
    assert counts(tokenize.report) == (1, 1, 1, 0, 0)


def test_truncate_leaves_prompts_that_are_short_whole(tokenizer_with):
    tokenize = tokenizer_with("truncate")
    item = tokenize(pair(2, 40, 5))
    assert item.prompt == tokenizer_with("error", 100)(pair(2, 40, 5)).prompt
    assert counts(tokenize.report) == (1, 0, 1, 0, 0)


def test_truncate_cuts_the_prompt_alone_where_that_is_enough(tokenizer_with):
    tokenize = tokenizer_with("truncate")
    assert tokenize(LONG_PROMPT) == tokenizer_with("truncate_prompt")(LONG_PROMPT)
    assert counts(tokenize.report) == (1, 1, 0, 0, 0)


def test_sides_that_became_identical_are_dropped_and_counted(tokenizer_with):
    tokenize = tokenizer_with("truncate")
    assert tokenize(SAME_AFTER_CUT) is None
    assert counts(tokenize.report) == (1, 0, 0, 0, 1)
    assert "1 dropped because the sides became identical" in tokenize.report.render()


def test_identical_sides_without_a_label_are_judged_all_the_same(tokenizer_with):
    tokenize = tokenizer_with("truncate")
    unlabelled = Judgment(SAME_AFTER_CUT.prompt, SAME_AFTER_CUT.completions)
    assert tokenize(unlabelled).completions[0] == tokenize(unlabelled).completions[1]


@pytest.mark.parametrize("policy", ["truncate_prompt", "truncate"])
def test_a_prompt_alone_is_cut_to_the_limit(tokenizer_with, policy):
    tokenize = tokenizer_with(policy)
    item = tokenize(Judgment(words(50), objective_votes={"a": 1.0}))
    assert len(item.prompt) == LIMIT
    assert item.completions == []
    assert counts(tokenize.report) == (1, 1, 0, 0, 0)


@pytest.mark.parametrize("policy", ["drop", "truncate_prompt", "truncate"])
def test_nothing_over_the_limit_comes_out(tokenizer_with, policy):
    tokenize = tokenizer_with(policy)
    rows = [pair(a, b, c) for a in (1, 9, 30) for b in (1, 14, 15, 40) for c in (1, 16)]
    out = list(tokenize.many(rows))
    assert out
    assert all(len(item.prompt) + len(ids) <= LIMIT for item in out for ids in item.completions)
    assert all(ids for item in out for ids in item.completions)
    report = tokenize.report
    assert report.total == len(rows) == len(out) + report.dropped + report.dropped_identical


def test_an_unknown_policy(tokenizer_with):
    with pytest.raises(
        ConfigError, match="on_overlong must be one of error, drop, truncate_prompt, truncate; got 'cut'"
    ):
        tokenizer_with("cut")


def test_a_report_can_be_shared():
    assert OverlongReport(5, total=3, prompt_truncated=1, dropped=2).render() == (
        "3 rows, limit 5 tokens: 1 prompt cut, 2 dropped"
    )
