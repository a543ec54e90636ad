"""Plain students: the texts that loaders make, the classifier around the backbone, and both ways of fitting it."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import Ridge

from vrm.data.schema import Judgment
from vrm.errors import ConfigError
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.model import load_model
from vrm.train.distill import FineTuning, fine_tune, fit_score_layer, ridge
from vrm.train.student import (
    StudentExample,
    build_student,
    choose_pad_token,
    fresh_parameters,
    loader_ids,
    loader_texts,
    padded,
    score_layer,
    student_outputs,
)

WORDS = ["the", "good", "bad", "safe", "unsafe", "plan", "water", "city", "story", "number", "help", "long", "short"]
ROWS = [
    Judgment(f"how {WORDS[n % 13]}", [" ".join(WORDS[n % 7 : n % 7 + 1 + n % 5]), WORDS[n % 11]]) for n in range(40)
]


@pytest.fixture(params=["encoder", "decoder"])
def teacher(request, make_tiny_model):
    return load_model(make_tiny_model(kind=request.param))


def examples_of(model, tokenizer) -> list[StudentExample]:
    rewards = RewardEngine(model, tokenizer, ExtractionOptions("float32")).judge(ROWS).moments.mean
    return [
        StudentExample(loader_ids(tokenizer, text, True), reward, index)
        for index, row in enumerate(ROWS)
        for text, reward in zip(loader_texts(tokenizer, row, True), rewards[index].tolist(), strict=True)
    ]


# Texts


def test_texts_are_the_templates(make_tiny_model):
    _, tokenizer = load_model(make_tiny_model(kind="decoder"))
    system = [{"role": "system", "content": "be safe"}, {"role": "user", "content": "how"}]
    row = Judgment(system, [[{"role": "assistant", "content": "so"}], [{"role": "assistant", "content": ""}]])
    start = "<|im_start|>system\nbe safe<|im_end|>\n<|im_start|>user\nhow<|im_end|>\n<|im_start|>assistant\n"
    assert loader_texts(tokenizer, row, True) == [f"{start}so<|im_end|>\n", f"{start}<|im_end|>\n"]
    plain = Judgment("how", ["so"])
    assert loader_texts(tokenizer, plain, True) == [
        "<|im_start|>user\nhow<|im_end|>\n<|im_start|>assistant\nso<|im_end|>\n"
    ]
    assert loader_texts(tokenizer, plain, False) == ["howso<|im_end|>"]


def test_both_ends_of_a_text_are_forms(make_tiny_model):
    _, tokenizer = load_model(make_tiny_model(kind="decoder"))
    whole, without = loader_ids(tokenizer, "so<|im_end|>\n", True)
    assert tokenizer.decode(whole) == "so<|im_end|>\n"
    assert tokenizer.decode(without) == "so<|im_end|>"
    assert len(loader_ids(tokenizer, "so<|im_end|>", True)) == 1


def test_the_teacher_reads_the_same_tokens(teacher):
    model, tokenizer = teacher
    tokenize = RewardEngine(model, tokenizer).tokenize
    for row in ROWS[:5]:
        tokenized = tokenize(row)
        for text, completion in zip(loader_texts(tokenizer, row, True), tokenized.completions, strict=True):
            assert loader_ids(tokenizer, text, True)[0] == tokenized.prompt + completion


# The classifier


def test_a_student_is_the_backbones_own_classifier(teacher):
    model, tokenizer = teacher
    student = build_student(model, tokenizer, seed=0)
    decoder = model.config.backbone_kind == "decoder"
    assert type(student).__name__ == ("Qwen3" if decoder else "Bert") + "ForSequenceClassification"
    assert student.config.num_labels == 1
    assert student.config.problem_type == "regression"
    assert student.config.pad_token_id == tokenizer.pad_token_id
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(student.base_model.state_dict()[name], value)
    fresh = [] if decoder else ["bert.pooler.dense.weight", "bert.pooler.dense.bias"]
    assert fresh_parameters(student) == fresh
    again = build_student(model, tokenizer, seed=0)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in student.state_dict().items())


def test_an_architecture_without_a_classifier_is_refused(make_tiny_model):
    model, tokenizer = load_model(make_tiny_model(kind="decoder"))

    class Unknown(type(model.config.backbone_config)):
        model_type = "unheard-of"

    model.config.backbone_config.__class__ = Unknown
    with pytest.raises(ConfigError, match="no sequence classifier for the architecture 'unheard-of'"):
        build_student(model, tokenizer, seed=0)


def test_outputs_do_not_depend_on_who_shares_the_batch(teacher):
    model, tokenizer = teacher
    student = build_student(model, tokenizer, seed=0)
    rows = [example.forms[0] for example in examples_of(model, tokenizer)[:9]]
    together = student_outputs(student, tokenizer, rows)
    with torch.no_grad():
        alone = torch.cat([student(**padded(tokenizer, [row], student.device)).logits for row in rows])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_the_pad_token_is_one_that_no_text_ends_with(make_tiny_model):
    _, tokenizer = load_model(make_tiny_model(kind="decoder"))
    special = sorted(number for number, token in tokenizer.added_tokens_decoder.items() if token.special)
    pad, others = tokenizer.pad_token_id, [number for number in special if number != tokenizer.pad_token_id]
    assert len(others) > 1
    assert not choose_pad_token(tokenizer, [StudentExample(([5, pad, 6],), 0.0, 0)])
    assert tokenizer.pad_token_id == pad
    # As in the chat models that pad with the end of a turn; the first of the other special tokens is in a text.
    examples = [StudentExample(([5, 6], [5, pad]), 0.0, 0), StudentExample(([others[0], 6],), 0.0, 0)]
    assert choose_pad_token(tokenizer, examples)
    assert tokenizer.pad_token_id == others[1]
    everywhere = StudentExample(([*special, special[-1]],), 0.0, 0)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(special[-1])
    with pytest.raises(ConfigError, match="is absent or what texts end with"):
        choose_pad_token(tokenizer, [everywhere])


# Fitting


@pytest.mark.parametrize("intercept", [True, False])
def test_ridge_is_ridge(intercept):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 8, generator=generator) + 1.0
    targets = inputs @ torch.arange(8.0) + 3.0 + 0.5 * torch.randn(50, generator=generator)
    found = ridge(inputs, targets, intercept=intercept)
    reference = Ridge(alpha=found.penalty, fit_intercept=intercept).fit(inputs.double(), targets.double())
    torch.testing.assert_close(found.weight, torch.from_numpy(reference.coef_), rtol=1e-6, atol=1e-8)
    assert found.bias == pytest.approx(float(reference.intercept_), abs=1e-8)


def test_the_penalty_grows_with_the_noise():
    generator = torch.Generator().manual_seed(0)
    inputs, noise = torch.randn(60, 20, generator=generator), torch.randn(60, generator=generator)
    signal = inputs[:, 0]
    clean, noisy = (ridge(inputs, signal + scale * noise, intercept=True).penalty for scale in (1e-3, 3.0))
    assert noisy > 100 * clean


def test_more_features_than_rows_are_no_trouble():
    generator = torch.Generator().manual_seed(0)
    found = ridge(torch.randn(10, 40, generator=generator), torch.randn(10, generator=generator), intercept=True)
    assert bool(torch.isfinite(found.weight).all())


def test_the_head_is_fitted_and_the_backbone_stays(teacher):
    model, tokenizer = teacher
    examples = examples_of(model, tokenizer)
    student = build_student(model, tokenizer, seed=0)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    fit_score_layer(student, tokenizer, examples)
    changed = {name for name, value in student.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == {name for name in before if name.startswith(("score.", "classifier."))}
    rewards = torch.tensor([example.reward for example in examples])
    predicted = student_outputs(student, tokenizer, [example.forms[0] for example in examples])[:, 0]
    # A random teacher's reward is not linear in what the student pools; without the fit there is no correlation.
    assert torch.corrcoef(torch.stack([rewards, predicted]))[0, 1] > 0.6
    assert isinstance(score_layer(student), torch.nn.Linear)


def test_fine_tuning_comes_closer_and_is_reproducible(teacher):
    model, tokenizer = teacher
    examples = examples_of(model, tokenizer)
    rewards = torch.tensor([example.reward for example in examples])
    steps: list[tuple[int, int]] = []

    def errors() -> tuple[float, float, dict[str, torch.Tensor]]:
        student = build_student(model, tokenizer, seed=0)
        rows = [example.forms[0] for example in examples]
        before = (student_outputs(student, tokenizer, rows)[:, 0] - rewards).square().mean()
        settings = FineTuning(epochs=30, batch_size=16, learning_rate=1e-3)
        fine_tune(student, tokenizer, examples, settings, lambda done, total: steps.append((done, total)))
        after = (student_outputs(student, tokenizer, rows)[:, 0] - rewards).square().mean()
        return float(before), float(after), student.state_dict()

    before, after, weights = errors()
    assert after < 0.5 * before
    assert steps[-1] == (150, 150)
    assert all(torch.equal(weights[name], value) for name, value in errors()[2].items())


@pytest.mark.parametrize("name", ["epochs", "batch_size", "learning_rate"])
def test_settings_out_of_range_are_refused(name):
    with pytest.raises(ConfigError, match=f"{name} must be > 0, got 0"):
        FineTuning(**{name: 0})
