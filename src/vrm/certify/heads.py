"""One head against the bound: its pairs on prompts that it was not fitted to, and what (18) says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from vrm.core.certificate import Certificate, RankedPairs, certify, drawn_pairs, mean_pairs
from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.posteriors import Posteriors
from vrm.core.predictive import PredictiveMoments, margin_moments, objective_scores, reward
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key
from vrm.data.tokenized import TokenizedJudgment
from vrm.errors import DataError, ModelError
from vrm.inference.engine import WINDOW, RewardEngine
from vrm.inference.extraction import FeatureExtractor
from vrm.labels import decided_pairs
from vrm.results.certificate import HeadCertificate, Latents

Progress = Callable[[str], object]
"""Told what is being done."""

Places = tuple[Tensor, Tensor, Tensor]
"""Row, position of the chosen and of the rejected completion of every decided pair of a batch, each (pairs,)."""

SAME_MARGINS, ROUNDING = 1e-2, 1e-5
"""How far margins may differ that ought to be equal: in their root mean square, and in the sums they are made of."""


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
        ModelError: the head's `with_linear_end` gives other margins than the model.
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
    """The decided pairs of some rows; DataError if there are none, ModelError if the model has other margins."""
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
        prompts, completions = prompts.to(device), completions.to(device)
        posteriors = head.with_linear_end(prompts, completions).on_cpu()
        batch = items[first : first + WINDOW]
        row, chosen, rejected = places = _places(batch)
        _check_margins(engine, head(prompts, completions).on_cpu(), posteriors, places, batch)
        better, worse = posteriors.features[row, chosen], posteriors.features[row, rejected]
        weights.append(posteriors.weights[row])
        differences.append(SemanticFeatures(better.loc - worse.loc, better.variance + worse.variance))
        decoder = posteriors.decoder
    return HeadPairs(
        ObjectiveWeights.concatenate(weights), SemanticFeatures.concatenate(differences), _prompts(items), decoder
    )


def _check_margins(
    engine: RewardEngine, usual: Posteriors, linear: Posteriors, places: Places, items: Sequence[TokenizedJudgment]
) -> None:
    """Raise ModelError where `with_linear_end` has other margins (11) than `forward`, by which everything else ranks.

    A bound on them would be one on another function. Where the latents are drawn, their variance has to agree too.
    """
    config = engine.model.config
    expected, bounded = _margins(usual, places), _margins(linear, places)
    quantities = {"margin": (expected.mean, bounded.mean)}
    if config.has_weight_uncertainty or config.has_feature_uncertainty:
        quantities["margin's standard deviation"] = (expected.std, bounded.std)
    for name, (model, head) in quantities.items():
        allowed = SAME_MARGINS * model.square().mean().sqrt() + ROUNDING * _size(linear)
        differs = ~((head - model).abs() <= allowed)
        if differs.any():
            worst = int((head - model).abs().nan_to_num(torch.inf).argmax())
            row = items[int(places[0][worst])].judgment
            raise ModelError(
                f"{config.head_in_words} cannot be certified: its `with_linear_end` is another function than the "
                f"model. On {int(differs.sum())} of {len(differs)} pairs the {name} differs, at {row.file}:{row.line}: "
                f"{float(head[worst]):.4g} against the model's {float(model[worst]):.4g}. A head whose reward bends "
                "after its last linear layer has to override `with_linear_end`: see vrm.model.heads"
            )


def _margins(posteriors: Posteriors, places: Places) -> PredictiveMoments:
    row, chosen, rejected = places
    features = posteriors.features
    return margin_moments(posteriors.weights[row], features[row, chosen], features[row, rejected], posteriors.decoder)


def _size(posteriors: Posteriors) -> Tensor:
    """The largest sum of absolute terms that makes a reward, a scalar: what float32 rounds by."""
    scores = objective_scores(posteriors.features.loc.abs(), posteriors.decoder.abs())
    return reward(posteriors.weights.mean[:, None], scores).max()


def _places(items: Sequence[TokenizedJudgment]) -> Places:
    """The decided pairs of a batch."""
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
