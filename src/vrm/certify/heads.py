"""One head against the bound: its pairs on prompts that it was not fitted to, and what (18) says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from vrm.core.certificate import Certificate, RankedPairs, certify, drawn_pairs, mean_pairs
from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key
from vrm.data.tokenized import TokenizedJudgment
from vrm.errors import DataError
from vrm.inference.engine import WINDOW, RewardEngine
from vrm.inference.extraction import FeatureExtractor
from vrm.labels import decided_pairs
from vrm.results.certificate import HeadCertificate, Latents

Progress = Callable[[str], object]
"""Told what is being done."""


@dataclass(frozen=True)
class HeadPairs:
    """The decided pairs of some prompts, as a head that is linear in A reads them.

    Attributes:
        weights: (pairs, num_objectives).
        difference: features of the chosen completion minus those of the rejected, (pairs, num_features).
        prompts: (pairs,) a number for each prompt.
        decoder: A, (num_objectives, num_features).
    """

    weights: ObjectiveWeights
    difference: SemanticFeatures
    prompts: Tensor
    decoder: Tensor

    def of(self, latents: Latents) -> RankedPairs:
        """The pairs with the latents at their means, or drawn."""
        make = mean_pairs if latents == Latents.MEAN else drawn_pairs
        return make(self.weights, self.difference, self.prompts)


def certify_head(
    engine: RewardEngine, rows: Sequence[Judgment], delta: float, progress: Progress
) -> tuple[list[HeadCertificate], HeadPairs]:
    """Both bounds of a head, once with the latents at their means and, where it has any, once with them drawn.

    Args:
        engine: a model that was fitted to other prompts.
        rows: the prompts of the bound; rows without a decided pair are passed over.
        delta: probability that a bound fails.
        progress: told what is being done.

    Raises:
        DataError: no row has a pair that its labels decide.
    """
    pairs = head_pairs(engine, rows, progress)
    config = engine.model.config
    uncertain = config.has_weight_uncertainty or config.has_feature_uncertainty
    certificates = [
        HeadCertificate(config.head, latents, pairs.decoder.numel(), **asdict(_bounds(pairs, latents, delta, progress)))
        for latents in (Latents.MEAN, *([Latents.DRAWN] if uncertain else []))
    ]
    return certificates, pairs


def _bounds(pairs: HeadPairs, latents: Latents, delta: float, progress: Progress) -> Certificate:
    def show(done: int, total: int) -> None:
        progress(f"bound of its {latents} latents, prior {done} of {total}")

    return certify(pairs.of(latents), pairs.decoder, delta, show)


@torch.no_grad()
def head_pairs(engine: RewardEngine, rows: Iterable[Judgment], progress: Progress) -> HeadPairs:
    """The decided pairs of some rows; raises DataError if there are none."""
    items = list(engine.tokenize.many(row for row in rows if decided_pairs(row)))
    if not items:
        raise DataError(f"no pair is left to bound the error on: {engine.report.render()}")
    extractor = FeatureExtractor(engine.model, options=engine.options)
    table = extractor.table(items, lambda done, total: progress(f"features, {done} of {total} texts"))
    head, device = engine.model.score, next(engine.model.score.parameters()).device
    weights, differences = [], []
    decoder = torch.empty(0)
    for first in range(0, len(items), WINDOW):
        prompts, completions = table.batch(slice(first, first + WINDOW))
        posteriors = head.with_linear_end(prompts.to(device), completions.to(device)).on_cpu()
        row, chosen, rejected = _places(items[first : first + WINDOW])
        better, worse = posteriors.features[row, chosen], posteriors.features[row, rejected]
        weights.append(posteriors.weights[row])
        differences.append(SemanticFeatures(better.loc - worse.loc, better.variance + worse.variance))
        decoder = posteriors.decoder
    return HeadPairs(
        ObjectiveWeights.concatenate(weights), SemanticFeatures.concatenate(differences), _prompts(items), decoder
    )


def _places(items: Sequence[TokenizedJudgment]) -> tuple[Tensor, Tensor, Tensor]:
    """Row, position of the chosen and of the rejected completion of every decided pair."""
    places = [(row, *pair) for row, item in enumerate(items) for pair in decided_pairs(item.judgment)]
    row, chosen, rejected = torch.tensor(places).T
    return row, chosen, rejected


def _prompts(items: Sequence[TokenizedJudgment]) -> Tensor:
    """The number of each pair's prompt."""
    numbers: dict[str, int] = {}
    places = []
    for judgment in (item.judgment for item in items):
        number = numbers.setdefault(prompt_key(judgment), len(numbers))
        places += [number] * len(decided_pairs(judgment))
    return torch.tensor(places)
