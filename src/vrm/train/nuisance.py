"""The nuisance offset (14) of a run: measured on the texts, fitted beside an out-of-fold reward, kept for resume."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vrm.config import NuisanceConfig, RunConfig
from vrm.core.likelihoods.comparison import comparison_log_likelihood
from vrm.core.nuisance import NuisanceOffset, fit_linear_reward, fit_nuisance_offset, out_of_fold_reward
from vrm.core.quadrature import offset_margin
from vrm.data.schema import Text
from vrm.data.splits import prompt_key, uniform_hash
from vrm.data.tokenized import TokenizedJudgment
from vrm.errors import CheckpointError, ConfigError, DataError
from vrm.files import write_text
from vrm.inference.extraction import FeatureExtractor
from vrm.inference.rater import RaterOffset, nuisance_table
from vrm.labels import labelled_pairs
from vrm.metrics.intervals import bootstrap_mean
from vrm.model.heads.base import InputNorm
from vrm.train.output import NUISANCE
from vrm.train.passes import finite_features
from vrm.train.processes import is_main_process

FIT_PAIRS = 10_000
"""Training pairs that the offset is fitted on at most: h is a smooth curve or two, and needs no more."""

FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Factors tried where none is given."""

_TAILS = (0.05, 0.95)


@dataclass(frozen=True)
class OffsetSettings:
    """How an offset is fitted: folds of the reward, spline knots, ridge of h, and the seed that deals the folds."""

    folds: int = 5
    num_knots: int = 5
    ridge: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class OffsetFit:
    """h and the reward it was fitted beside.

    Attributes:
        offset: h, factor not applied.
        out_of_fold_margin: (pairs,) of that reward.
        reward_spread: prior standard deviation of its margins, in logits; None for margins given from outside.
    """

    offset: NuisanceOffset
    out_of_fold_margin: Tensor
    reward_spread: float | None = None


RewardFit = Callable[[Tensor, Tensor], Tensor]
"""From row indices to learn from and row indices to judge to the margins of the latter."""


def prompt_folds(groups: Sequence[Hashable], folds: int, seed: int = 0) -> Tensor:
    """Fold of each row, (rows,), in 0 ... folds - 1: a group is in one fold, and folds have equally many groups."""
    names = [str(group) for group in groups]
    ranked = sorted(set(names), key=lambda name: (uniform_hash(name, seed, "nuisance"), name))
    place = {name: position % folds for position, name in enumerate(ranked)}
    return torch.tensor([place[name] for name in names])


def fit_offset(
    first: Tensor,
    second: Tensor,
    preference: Tensor,
    groups: Sequence[Hashable],
    features: Tensor | None = None,
    out_of_fold_margin: Tensor | RewardFit | None = None,
    settings: OffsetSettings | None = None,
    target_margin: Tensor | None = None,
) -> OffsetFit:
    """Fit h of (14) on arrays, jointly with an out-of-fold reward: a linear one of `features`, or one of your own.

    A reward of your own should not see the nuisance, or should be fitted beside an offset that its margins leave out
    (as the linear one is): a reward that has learned the nuisance hides it.

    Args:
        first: nuisances of the first completions, (pairs, num_nuisances).
        second: nuisances of the second.
        preference: (pairs,) p that the first is preferred.
        groups: prompt of each pair; no prompt is on both sides of a fold.
        features: (pairs, width) standardized features of the first completion minus those of the second.
        out_of_fold_margin: in place of `features`: (pairs,) r_a - r_b, or a function that fits and judges.
        settings: folds, knots, ridge and seed.
        target_margin: (pairs,) t of (4); None for 0.

    Raises:
        ConfigError: if not exactly one of `features` and `out_of_fold_margin` is given.
        DataError: for values that are not finite, or fewer than two prompts.
    """
    chosen = settings or OffsetSettings()
    if (features is None) == (out_of_fold_margin is None):
        raise ConfigError("give either features or out_of_fold_margin, and not both")
    spread = None
    if features is not None:
        folds = prompt_folds(groups, chosen.folds, chosen.seed)
        reward = out_of_fold_reward(
            features, first, second, preference, folds, chosen.num_knots, chosen.ridge, target_margin
        )
        margins, spread = reward.margin, reward.spread
    elif callable(out_of_fold_margin):
        margins = _cross_fitted(out_of_fold_margin, prompt_folds(groups, chosen.folds, chosen.seed))
    else:
        margins = torch.as_tensor(out_of_fold_margin)
    offset = fit_nuisance_offset(first, second, preference, margins, chosen.num_knots, chosen.ridge, target_margin)
    return OffsetFit(offset, margins, spread)


def _cross_fitted(fit: RewardFit, folds: Tensor) -> Tensor:
    numbers = folds.unique()
    if len(numbers) < 2:
        raise DataError(f"cross-fitting needs prompts in at least two folds, got {len(numbers)}")
    margins = torch.zeros(len(folds), dtype=torch.float64)
    for number in numbers:
        seen, held = (folds != number).nonzero()[:, 0], (folds == number).nonzero()[:, 0]
        margins[held] = fit(seen, held).to(margins)
    return margins


@dataclass(frozen=True)
class FactorTrial:
    """One factor on the evaluation rows: raters' NLL in nats, and the 95 % interval of its excess over the best's.

    The interval is by bootstrap over prompts; its ends are None where a single prompt leaves it unknown.
    """

    factor: float
    negative_log_likelihood: float
    excess_low: float | None
    excess_high: float | None


@dataclass(frozen=True)
class NuisanceFit:
    """The offset of a run and where it came from.

    Attributes:
        rater: h with its factor.
        pairs: training pairs it was fitted on.
        reward_spread: prior standard deviation of the out-of-fold reward's margins, in logits.
        span: h at the 95th minus at the 5th percentile of each measure, in logits, factor not applied.
        trials: factors tried; empty where the factor was given.
    """

    rater: RaterOffset
    pairs: int
    reward_spread: float
    span: dict[str, float]
    trials: list[FactorTrial]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        fit = {"pairs": self.pairs, "reward_spread": self.reward_spread, "span": self.span}
        return {**self.rater.to_dict(), **fit, "trials": [asdict(trial) for trial in self.trials]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NuisanceFit:
        """The fit of such a dictionary."""
        trials = [FactorTrial(**trial) for trial in values["trials"]]
        fit = values["pairs"], values["reward_spread"], values["span"]
        return cls(RaterOffset.from_dict(values), *fit, trials)

    def render(self) -> str:
        """Two lines for people."""
        spans = ", ".join(f"{name} {value:+.2f}" for name, value in self.span.items())
        how = "chosen on the evaluation rows" if self.trials else "as configured"
        return (
            f"nuisance offset in logits, 5th to 95th percentile: {spans} ({self.pairs} pairs), times factor "
            f"{self.rater.factor:g}, {how}\n"
            "metrics on evaluation rows are those of the raters, offset included; quality_... are without it"
        )


@dataclass(frozen=True)
class _Pairs:
    """Compared completions as arrays; features of the first minus those of the second."""

    features: Tensor
    first: Tensor
    second: Tensor
    preference: Tensor
    target_margin: Tensor
    groups: list[str]


def offset_of_run(
    config: RunConfig,
    train: Sequence[TokenizedJudgment],
    evaluation: Sequence[TokenizedJudgment],
    extractor: Callable[[], FeatureExtractor],
    resume: bool = False,
) -> NuisanceFit | None:
    """The offset of a run: fitted and written to `output_dir`, or read from there on resume; None without measures.

    Args:
        config: the run.
        train: training rows.
        evaluation: rows that a factor is chosen on.
        extractor: gives features of the backbone as it is before training; called only if something is fitted.
        resume: read what the interrupted run has fitted.

    Raises:
        ConfigError: no training row compares completions, or a factor is to be chosen and no evaluation row does.
        CheckpointError: on resume, if the file is not there.
    """
    path = Path(config.output_dir) / NUISANCE
    if not config.nuisance.measures:
        return None
    if resume:
        if not path.exists():
            raise CheckpointError(f"--resume: {path} is missing, and a new fit might differ; start the run anew")
        return NuisanceFit.from_dict(json.loads(path.read_text(encoding="utf-8")))
    for key, rows in (("measures", train), *([("factor", evaluation)] if config.nuisance.factor is None else [])):
        if not any(labelled_pairs(row.judgment) for row in rows):
            raise ConfigError(_NO_PAIRS[key])
    fit = _fit(config.nuisance, config.seed, train, evaluation, extractor())
    if is_main_process():
        write_text(path, json.dumps(fit.to_dict(), indent=2) + "\n")
    return fit


_NO_PAIRS = {
    "measures": "nuisance.measures is set, but no training row compares completions: nothing shows what sways raters",
    "factor": "nuisance.factor is null, so that it is chosen on evaluation rows, but none compares completions: "
    "set nuisance.factor to a number in [0, 1], or hold rows out (data.held_out, data.eval)",
}


def _fit(
    config: NuisanceConfig,
    seed: int,
    train: Sequence[TokenizedJudgment],
    evaluation: Sequence[TokenizedJudgment],
    extractor: FeatureExtractor,
) -> NuisanceFit:
    norm = InputNorm(extractor.model.config.num_blocks, extractor.model.config.backbone_hidden_size)
    sample = _sample(train, seed)
    rows = _pairs(sample, config.measures, extractor, norm, fit_norm=True)
    settings = OffsetSettings(config.folds, config.num_knots, config.ridge, seed)
    fit = fit_offset(
        rows.first,
        rows.second,
        rows.preference,
        rows.groups,
        rows.features,
        settings=settings,
        target_margin=rows.target_margin,
    )
    assert fit.reward_spread is not None
    factor, trials = config.factor, []
    if factor is None:
        held = _pairs(_sample(evaluation, seed), config.measures, extractor, norm)
        factor, trials = _choose_factor(rows, held, fit.offset, fit.reward_spread)
    rater = RaterOffset(tuple(config.measures), fit.offset, factor)
    span = _span(fit.offset, torch.cat([rows.first, rows.second]), config.measures)
    return NuisanceFit(rater, len(rows.groups), fit.reward_spread, span, trials)


def _sample(items: Sequence[TokenizedJudgment], seed: int) -> list[TokenizedJudgment]:
    """Rows that compare completions, in a seeded order, until they have `FIT_PAIRS` pairs."""
    taken, count = [], 0
    for index in np.random.default_rng(seed).permutation(len(items)):
        pairs = len(labelled_pairs(items[index].judgment))
        if pairs:
            taken.append(items[index])
            count += pairs
        if count >= FIT_PAIRS:
            break
    return taken


def _pairs(
    items: list[TokenizedJudgment],
    measures: Sequence[str],
    extractor: FeatureExtractor,
    norm: InputNorm,
    fit_norm: bool = False,
) -> _Pairs:
    table = extractor.table(items)
    _, completions = finite_features(table, items, np.arange(len(table)))
    if fit_norm:
        norm.fit(completions[torch.from_numpy(table.completions >= 0)])
    index = [(row, *pair) for row, item in enumerate(items) for pair in labelled_pairs(item.judgment)]
    rows, a, b = (torch.tensor([entry[part] for entry in index]) for part in range(3))
    judged = [items[entry[0]].judgment for entry in index]

    def side(part: int) -> Tensor:
        texts: list[Text] = [row.completions[entry[part]] for row, entry in zip(judged, index, strict=True)]
        return nuisance_table(texts, measures)

    return _Pairs(
        norm(completions[rows, a]) - norm(completions[rows, b]),
        side(1),
        side(2),
        torch.tensor([entry[3] for entry in index], dtype=torch.float64),
        torch.tensor([row.margin for row in judged], dtype=torch.float64),
        [prompt_key(row) for row in judged],
    )


def _choose_factor(
    train: _Pairs, held: _Pairs, offset: NuisanceOffset, spread: float
) -> tuple[float, list[FactorTrial]]:
    """The largest factor that held-out raters do not speak against; docs/nuisance.md says why not the likeliest.

    For each factor a linear reward is fitted beside that share of the offset, and reward and share together are
    compared with what the raters of the held-out pairs chose.
    """
    losses = {}
    for factor in FACTORS:
        targets = [
            offset_margin(part.target_margin, offset(part.first), offset(part.second), factor) for part in (train, held)
        ]
        reward = fit_linear_reward(train.features, train.preference, spread, targets[0])
        utility = (held.features @ reward).double() - targets[1]
        losses[factor] = -comparison_log_likelihood(utility, held.preference).numpy()
    best = min(losses, key=lambda factor: float(losses[factor].mean()))
    trials = []
    for factor, loss in losses.items():
        excess = bootstrap_mean(loss - losses[best], held.groups)
        low, high = (None if math.isnan(end) else end for end in (excess.low, excess.high))
        trials.append(FactorTrial(factor, float(loss.mean()), low, high))
    return max(trial.factor for trial in trials if trial.excess_low is None or trial.excess_low <= 0), trials


def _span(offset: NuisanceOffset, nuisances: Tensor, measures: Sequence[str]) -> dict[str, float]:
    middle = nuisances.median(0).values
    spans = {}
    for column, name in enumerate(measures):
        ends = middle.repeat(2, 1)
        ends[:, column] = torch.quantile(nuisances[:, column], torch.tensor(_TAILS, dtype=nuisances.dtype))
        low, high = offset(ends).tolist()
        spans[name] = high - low
    return spans
