from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from vrm.data.schema import Judgment
from vrm.data.tokenized import JudgmentTokenizer, TokenizedJudgment
from vrm.errors import BoundaryError
from vrm.model import load_model
from vrm.model.backbones import masked_pool
from vrm.model.padding import align_left, find_completion_start, shorten_rows

PATTERN = [7, 8]


def start(*rows, pattern=PATTERN, **options):
    length = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])
    return find_completion_start(ids, torch.tensor([len(row) for row in rows]), pattern, **options).tolist()


def test_the_completion_starts_after_the_pattern():
    assert start([1, 7, 8, 3, 4], [7, 8, 5], [1, 7, 1, 7, 8, 9, 9]) == [3, 2, 5]


def test_a_pattern_at_the_end_of_a_row_is_no_boundary():
    assert start([1, 3, 5, 3], pattern=[3]) == [2]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (([1, 7, 8, 3], [1, 2, 3, 4]), "row 1: the pattern that ends a prompt was found 0 times"),
        (([1, 7, 8, 3, 7, 8, 4],), "row 0: the pattern that ends a prompt was found 2 times"),
        (([1, 2, 7, 8],), "found 0 times"),
        (([7],), "found 0 times"),
    ],
)
def test_absent_and_ambiguous_boundaries_are_errors(rows, found):
    with pytest.raises(BoundaryError, match=found) as error:
        start(*rows)
    assert "completion_start" in str(error.value)


def test_the_last_match_is_the_boundary_where_no_text_can_spell_the_pattern():
    assert start([1, 7, 8, 3, 7, 8, 4], [7, 8, 5], [7, 8, 7, 8, 7, 8], last=True) == [6, 2, 4]
    with pytest.raises(BoundaryError, match="row 1: the pattern that ends a prompt was found 0 times"):
        start([1, 7, 8, 3], [1, 2, 3, 4], last=True)


def test_no_pattern_at_all():
    with pytest.raises(BoundaryError, match="no prompt boundary pattern"):
        start([1, 2], pattern=None)


def test_an_explicit_start_wins_over_the_pattern(make_tiny_model):
    model, tokenizer = load_model(make_tiny_model(kind="decoder", guarded_template=False))
    turn = "<|im_start|>assistant\nvery good<|im_end|>\n"
    ids = tokenizer(f"how{turn}why{turn}", return_tensors="pt")["input_ids"]
    with pytest.raises(BoundaryError, match="found 2 times"):
        model(input_ids=ids)
    with torch.no_grad():
        late = model(input_ids=ids, completion_start=torch.tensor([ids.shape[1] - 3]))
        early = model(input_ids=ids, completion_start=torch.tensor([3]))
    # One causal pass: the completion's features are those of the last token, the weights those of the prompt's end.
    assert torch.allclose(late.posteriors.features.loc, early.posteriors.features.loc, atol=1e-6)
    assert not torch.allclose(late.weights, early.weights, atol=1e-3)


@pytest.mark.parametrize("opening", [None, 100])
@pytest.mark.parametrize("limit", [9, 16, 40])
def test_long_rows_are_cut_as_judgments_are(limit, opening):
    """The reference is `vrm.data.tokenized`, on ids: rows of every mixture of short and long."""
    lengths = [(p, c) for p in (1, 3, 8, 30) for c in (1, 5, 30) if p + c > 1]
    rows = [([100 + i for i in range(p)], [500 + i for i in range(c)]) for p, c in lengths]
    width = max(p + c for p, c in lengths)
    ids = torch.tensor([[*p, *c, *[0] * (width - len(p) - len(c))] for p, c in rows])
    total, starts = torch.tensor([p + c for p, c in lengths]), torch.tensor([p for p, _ in lengths])
    cut, mask, cut_start = shorten_rows(ids, total, starts, limit, opening)

    chat = SimpleNamespace(tokenizer=SimpleNamespace(all_special_ids=[opening]))
    reference = JudgmentTokenizer(chat, limit, "truncate")
    for index, (prompt, completion) in enumerate(rows):
        expected = reference.fit(TokenizedJudgment(prompt, [completion], Judgment("", ["."])))
        assert cut[index][mask[index]].tolist() == expected.prompt + expected.completions[0]
        assert cut_start[index] == len(expected.prompt)
    assert reference.report.prompt_truncated > 0
    assert mask.shape[1] <= limit


@pytest.mark.parametrize("wrong", [0, -1, 6])
def test_a_start_outside_the_row_is_an_error(encoder, wrong):
    with pytest.raises(BoundaryError, match="completion_start"):
        encoder(input_ids=torch.tensor([[2, 9, 3, 9, 3]]), completion_start=torch.tensor([wrong]))


@pytest.fixture(scope="module")
def encoder(tiny_model_dir):
    return load_model(tiny_model_dir)[0]


def test_rows_must_be_given(encoder):
    with pytest.raises(ValueError, match="input_ids"):
        encoder(prompt_features=torch.zeros(1, 32))


def test_align_left_moves_padding_and_says_by_how_much():
    ids = torch.tensor([[0, 0, 5, 6], [7, 8, 9, 0]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])
    packed, real, offsets = align_left(ids, mask)
    assert packed[0, :2].tolist() == [5, 6]
    assert packed[1].tolist() == [7, 8, 9]
    assert real.tolist() == [[True, True, False], [True, True, True]]
    assert offsets.tolist() == [2, 0]


def test_a_row_without_tokens_is_an_error(encoder):
    with pytest.raises(BoundaryError, match="row 1"):
        encoder(
            input_ids=torch.tensor([[2, 9, 3, 9], [0, 0, 0, 0]]),
            attention_mask=torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]]),
            completion_start=torch.tensor([3, 1]),
        )


def test_pooling_reads_masked_tokens_alone():
    hidden = torch.tensor([[[1.0, -1.0], [3.0, -3.0], [100.0, 100.0]]])
    mask = torch.tensor([[True, True, False]])
    assert masked_pool(hidden, mask, "mean").tolist() == [[2.0, -2.0]]
    assert masked_pool(hidden, mask, "max").tolist() == [[3.0, -1.0]]
    assert masked_pool(hidden, torch.tensor([[False, True, False]]), "cls").tolist() == [[1.0, -1.0]]
    assert masked_pool(hidden.bfloat16(), mask, "last").tolist() == [[3.0, -3.0]]
