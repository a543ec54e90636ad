"""Fitting a plain student to a teacher's rewards: the score layer in closed form, or everything by gradient steps."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, get_linear_schedule_with_warmup

from vrm.errors import ConfigError, NumericsError
from vrm.train.student import StudentExample, padded, score_layer, student_outputs

Progress = Callable[[int, int], None]
"""Called with steps done and steps in all."""


@dataclass(frozen=True)
class RidgeFit:
    """A linear map by ridge regression.

    Attributes:
        weight: (features,).
        bias: 0 where none was asked for.
        penalty: chosen by generalized cross-validation.
    """

    weight: Tensor
    bias: float
    penalty: float


def ridge(inputs: Tensor, targets: Tensor, *, intercept: bool) -> RidgeFit:
    """Ridge regression in closed form, the penalty chosen by generalized cross-validation.

    Args:
        inputs: (rows, features).
        targets: (rows,).
        intercept: whether there is a bias, which is not penalized.
    """
    x, y = inputs.double(), targets.double()
    x_mean = x.mean(0) if intercept else torch.zeros(x.shape[1], dtype=x.dtype)
    y_mean = y.mean() if intercept else y.new_zeros(())
    x, y = x - x_mean, y - y_mean
    values, vectors = torch.linalg.eigh(x.T @ x)
    values = values.clamp_min(0.0)
    projected = vectors.T @ (x.T @ y)
    penalties = values[-1] * torch.logspace(-10, 0, 61, dtype=x.dtype)

    def cross_validation_error(penalty: Tensor) -> float:
        shrunk = values / (values + penalty)
        weights = projected / (values + penalty)
        # |y - Xw|^2 from quantities of the size of the features alone.
        residual = y.square().sum() - 2 * weights @ projected + (values * weights.square()).sum()
        left = len(y) - shrunk.sum() - int(intercept)
        return float(len(y) * residual / left.square()) if left > 0 else float("inf")

    best = min(penalties, key=cross_validation_error)
    weight = vectors @ (projected / (values + best))
    return RidgeFit(weight, float(y_mean - x_mean @ weight), float(best))


@torch.no_grad()
def fit_score_layer(
    student: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[StudentExample]
) -> RidgeFit:
    """Set the score layer by ridge regression on what it reads; nothing else of the student changes.

    Every form of an example is a row of the regression.
    """
    layer = score_layer(student)
    path = next(path for path, module in student.named_modules() if module is layer)
    parent, _, name = path.rpartition(".")
    place = student.get_submodule(parent)
    rows = [form for example in examples for form in example.forms]
    targets = torch.tensor([example.reward for example in examples for _ in example.forms])
    setattr(place, name, nn.Identity())
    try:
        features = student_outputs(student, tokenizer, rows)
    finally:
        setattr(place, name, layer)
    fit = ridge(features, targets, intercept=layer.bias is not None)
    layer.weight.copy_(fit.weight.unsqueeze(0))
    if layer.bias is not None:
        layer.bias.fill_(fit.bias)
    return fit


@dataclass(frozen=True)
class FineTuning:
    """Settings of gradient steps on the whole student.

    Attributes:
        epochs: passes over the examples.
        batch_size: completions a step.
        learning_rate: peak of a schedule that rises over a tenth of the steps and falls to zero.
        weight_decay: of AdamW, on matrices.
        seed: of the order, of the forms and of dropout.

    Raises:
        ConfigError: for values out of their range.
    """

    epochs: int = 3
    batch_size: int = 16
    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be > 0, got {getattr(self, name)}")


def fine_tune(
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[StudentExample],
    settings: FineTuning,
    progress: Progress | None = None,
) -> None:
    """Fit all weights to the teacher's rewards by squared error, from wherever the score layer is.

    The error is in units of the rewards' variance. Each step reads one form of an example, drawn at random.

    Raises:
        NumericsError: if the loss is not finite.
    """
    draw = random.Random(settings.seed)
    torch.manual_seed(settings.seed)
    variance = float(torch.tensor([example.reward for example in examples]).var(correction=0).clamp_min(1e-12))
    per_epoch = -(-len(examples) // settings.batch_size)
    steps = settings.epochs * per_epoch
    groups = [
        {"params": [values for values in student.parameters() if (values.ndim > 1) == decays], "weight_decay": decay}
        for decays, decay in ((True, settings.weight_decay), (False, 0.0))
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    student.train()
    for step in range(steps):
        position = step % per_epoch
        if position == 0:
            order = draw.sample(list(examples), len(examples))
        batch = order[position * settings.batch_size : (position + 1) * settings.batch_size]
        inputs = padded(tokenizer, [draw.choice(example.forms) for example in batch], student.device)
        targets = torch.tensor([example.reward for example in batch], device=student.device)
        loss = (student(**inputs).logits[:, 0].float() - targets).square().mean() / variance
        if not bool(torch.isfinite(loss)):
            raise NumericsError(f"the loss is {loss.item()} at step {step} of {steps}; lower the learning rate")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, steps)
    student.eval()
