"""The second stage of a run (19): what the model says of held-out pairs, the fit, and the head that keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vrm.choices import LossName, StagePart
from vrm.config import RunConfig
from vrm.core.quadrature import offset_margin
from vrm.core.second_stage import (
    OF_SEVERAL,
    HeldOutPairs,
    StageFit,
    StageMeans,
    StageNumbers,
    fit_second_stage,
)
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key
from vrm.errors import ConfigError
from vrm.labels import labelled_pairs
from vrm.labels.judgments import vote_counts
from vrm.model.heads.registry import head_class
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.results.formats import kept_words
from vrm.results.run import SecondStage, StagePartTrial
from vrm.train.nuisance import prompt_folds
from vrm.train.reading import HeadPass, Reader
from vrm.train.setup import RunData

FOLDS = 5
MAX_ROWS = 2_000
"""Held-out rows that are read at most: some twenty numbers need no more."""

MAX_PAIRS = 3_000

MIN_SEVERAL = 20
"""Held-out pairs with two judgments or more, from which variances are tried."""

NOT_SEVERAL = "{several} of the held-out pairs have two judgments, and variances are tried from {least} on"


def check_stages(config: RunConfig) -> None:
    """Refuse two stages before anything is read, where the second could add nothing or has nothing to read.

    Raises:
        ConfigError: naming the key.
    """
    if config.loss.name != LossName.STAGED:
        return
    head = head_class(config.model.head)
    if not (head.has_weight_uncertainty or head.has_feature_uncertainty):
        raise ConfigError(
            f"loss.name: staged adds a spread to the means of a head that has one, but head '{config.model.head}' has "
            "none; set model.head to vrm or bottleneck, or loss.name to variational"
        )
    if not config.data.eval and not config.data.held_out:
        raise ConfigError(
            "loss.name: staged fits its second stage on held-out rows, but data.held_out is 0 and data.eval is empty"
        )


def check_held_out(config: RunConfig, data: RunData) -> None:
    """Raise ConfigError where two stages are asked for and no held-out rows compare completions."""
    if config.loss.name != LossName.STAGED:
        return
    if len({prompt_key(row) for row in data.eval if labelled_pairs(row)}) < 2:
        raise ConfigError(
            "loss.name: staged fits its second stage on held-out rows that compare completions, of two prompts at "
            f"least; {len(data.eval)} rows are held out (data.held_out, data.eval)"
        )


def add_second_stage(reader: Reader, seed: int) -> SecondStage:
    """Fit the second stage on held-out rows, and leave in the model what is kept.

    Args:
        reader: of the model, which has means alone, and of the rows of the run.
        seed: of the choice of rows, and of the folds.

    Returns:
        What was tried and what was kept.
    """
    outputs, model = _Outputs.of(reader, seed), reader.model
    head, config = model.score, model.config
    head.spread.prompt_axes.fit(outputs.prompts)
    head.spread.completion_axes.fit(torch.cat([outputs.first, outputs.second]))
    locs = torch.cat([outputs.first_loc, outputs.second_loc]).double()
    scale = locs.var(0).clamp_min(1e-12)
    means = StageMeans(
        head.decoder.detach().double(),
        scale,
        None if head.tie_threshold() is None else head.tie_threshold().detach().double(),
    )
    pairs = outputs.pairs(head.spread).map(lambda values: values.double() if values.is_floating_point() else values)
    pairs, means = pairs.on_cpu(), means.on_cpu()
    folds = prompt_folds(outputs.keys, FOLDS, seed)
    several = int((pairs.counts.sum(-1) > 1).sum())
    fit = fit_second_stage(pairs, means, folds, _possible(config, several))
    _adopt(model, fit, means)
    return _document(fit, means, pairs, several)


def _possible(config: Any, several: int) -> list[StagePart]:
    """Parts that the head has, and that the held-out pairs can show."""
    head = head_class(config.head)
    left_out = set(OF_SEVERAL) if several < MIN_SEVERAL else set()
    if not head.has_weight_uncertainty:
        left_out |= {StagePart.CONCENTRATION, StagePart.CONCENTRATION_BY_PROMPT}
    if not head.has_feature_uncertainty:
        left_out |= {StagePart.VARIANCE, StagePart.VARIANCE_BY_TEXT}
    return [part for part in StagePart if part not in left_out]


@torch.no_grad()
def _adopt(model: VRMForSequenceClassification, fit: StageFit, means: StageMeans) -> None:
    head, numbers = model.score, fit.numbers
    if not fit.parts:
        return
    head.scale_rewards(float(numbers.log_scale.exp()))
    if numbers.tie_threshold is not None:
        head.start_votes(float(numbers.tie_threshold), None)
    head.spread.adopt(fit.parts, means.feature_scale, numbers)
    model.config.stage_parts = [str(part) for part in fit.parts]


def _document(fit: StageFit, means: StageMeans, pairs: HeldOutPairs, several: int) -> SecondStage:
    trials = tuple(
        StagePartTrial(str(trial.part), trial.kept, trial.gain, trial.standard_error) for trial in fit.trials
    )
    reason = "" if several >= MIN_SEVERAL else NOT_SEVERAL.format(several=several, least=MIN_SEVERAL)
    return SecondStage(
        pairs=len(pairs.preference),
        judgments=int(pairs.judgments.sum()),
        prompts=len(pairs.prompts.unique()),
        kept=tuple(map(str, fit.parts)),
        values=_values(fit.numbers, fit.parts),
        trials=trials,
        not_tried=reason,
    )


def _values(numbers: StageNumbers, parts: Sequence[StagePart]) -> dict[str, float]:
    """The constants of the kept parts in units for people: T, c, the variance as a share of the means', alpha_+."""
    values = {StagePart.TEMPERATURE: (-numbers.log_scale).exp(), StagePart.TIES: numbers.tie_threshold}
    if numbers.variance is not None:
        values[StagePart.VARIANCE] = numbers.variance[0].exp()
    if numbers.log_total is not None:
        values[StagePart.CONCENTRATION] = numbers.log_total[0].exp()
    return {str(part): float(value) for part, value in values.items() if part in parts and value is not None}


def describe_second_stage(found: SecondStage) -> str:
    """Lines for people: what was tried, by how much it helped, and what is kept."""
    lines = [
        f"second stage, on {found.judgments} judgments of {found.pairs} held-out pairs, cross-validated by prompt:"
    ]
    for trial in found.trials:
        verdict = "kept" if trial.kept else "left out"
        name = trial.part.replace("_", " ")
        lines.append(
            f"  {name}: {trial.gain:+.4f} nats a judgment, standard error {trial.standard_error:.4f}, {verdict}"
        )
    if found.not_tried:
        lines.append(f"  {found.not_tried}")
    lines.append(f"  the model has: {kept_words(found)}")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Outputs:
    """Inputs of the head and its means for pairs of held-out rows; tensors are (pairs, ...)."""

    prompts: Tensor
    first: Tensor
    second: Tensor
    weights: Tensor
    first_loc: Tensor
    second_loc: Tensor
    counts: Tensor
    preference: Tensor
    target_margin: Tensor
    keys: list[str]

    @classmethod
    def of(cls, reader: Reader, seed: int) -> _Outputs:
        parts, keys = [], []
        for judged in _judged(reader, seed):
            entries = [
                (place, row, *pair) for place, row in enumerate(judged.judgments) for pair in labelled_pairs(row)
            ]
            parts.append(_columns(judged, entries))
            keys += [prompt_key(row) for _, row, *_ in entries]
        columns = [torch.cat(column)[:MAX_PAIRS] for column in zip(*parts, strict=True)]
        return cls(*columns, keys=keys[:MAX_PAIRS])

    def pairs(self, spread: Any) -> HeldOutPairs:
        numbers = {key: number for number, key in enumerate(dict.fromkeys(self.keys))}
        return HeldOutPairs(
            self.weights,
            self.first_loc,
            self.second_loc,
            spread.prompt_axes(self.prompts),
            spread.completion_axes(self.first),
            spread.completion_axes(self.second),
            self.counts,
            self.preference,
            self.target_margin,
            torch.tensor([numbers[key] for key in self.keys], device=self.counts.device),
        )


def _columns(judged: HeadPass, entries: Sequence[tuple[int, Judgment, int, int, float]]) -> tuple[Tensor, ...]:
    """Fields of `_Outputs` for pairs of one pass: (place of the row, row, positions of both sides, preference)."""
    offsets, loc = judged.inputs["offsets"], judged.posteriors.features.loc
    place, first, second = (
        torch.tensor([entry[column] for entry in entries], dtype=torch.long, device=offsets.device)
        for column in (0, 2, 3)
    )
    counts = [vote_counts(row.judgments or []) for _, row, *_ in entries]
    # As in every probability that is reported, no target margin: fitted with one, T would make rewards as large as it.
    no_margin = torch.zeros(len(entries), device=offsets.device)
    return (
        judged.prompts[place],
        judged.completions[place, first],
        judged.completions[place, second],
        judged.posteriors.weights.mean[place],
        loc[place, first],
        loc[place, second],
        torch.tensor(counts, device=offsets.device).reshape(-1, 3),
        torch.tensor([entry[4] for entry in entries], device=offsets.device),
        offset_margin(no_margin, offsets[place, first], offsets[place, second]),
    )


def _judged(reader: Reader, seed: int) -> Iterator[HeadPass]:
    """Every pass over a seeded choice of the held-out rows that compare completions."""
    rows = reader.data.eval
    assert rows is not None
    able = [number for number, item in enumerate(rows.items) if labelled_pairs(item.judgment)]
    chosen = np.random.default_rng(seed).permutation(len(able))[:MAX_ROWS]
    return reader.passes(rows, [able[place] for place in sorted(chosen)])
