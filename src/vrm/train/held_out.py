"""What a trainer measures of judgments: margins and probabilities of a batch, and metrics of held-out rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from transformers import EvalPrediction

from vrm.core.disagreement import pair_votes, preference_of
from vrm.core.distributions import gaussian_kl_per_feature, kl_objective_weights
from vrm.core.predictive import log_probabilities
from vrm.core.quadrature import offset_margin
from vrm.metrics.accuracy import pairwise_accuracy
from vrm.metrics.calibration import cross_entropy_rows, expected_calibration_error
from vrm.model.modeling_vrm import VRMOutput

ROUNDING = 1e-6
"""Relative difference of rewards that float32 cannot tell from none."""

ACTIVE_UNIT_KL = 0.01
"""A semantic feature is active if its mean KL to the prior exceeds this many nats."""


def label_of(batch: Mapping[str, Tensor]) -> Tensor:
    """(batch,) labels of comparisons and, of pairs with several judgments, the raters' share; else NaN."""
    counts = batch["vote_counts"]
    return torch.where(counts.sum(-1) > 0, preference_of(counts), batch["preference"])


def margin_of(output: VRMOutput) -> Tensor:
    """Reward of the first completion minus that of the second, (batch,); 0 where they are equal but for rounding."""
    assert output.logits is not None
    assert output.objective_scores is not None
    margin = output.logits[:, 0] - output.logits[:, 1]
    scale = output.objective_scores.abs().flatten(1).amax(1)
    return torch.where(margin.abs() <= ROUNDING * scale, torch.zeros_like(margin), margin)


@torch.no_grad()
def predictions_of(
    output: VRMOutput, batch: dict[str, Tensor], prior: Tensor, rater: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Columns of each judgment, (batch, 4), the KL of z, (batch, num_features), and columns of several judgments.

    The columns are the mean margin, log P(a > b), log P(b > a), and the KL of the weights to `prior`. Those of several
    judgments, (batch, 2), are their number, 0 where there are none, and their log-likelihood (15). With `rater` margin,
    probabilities and log-likelihood include the nuisance offset, and further columns are those without it.
    """
    posteriors = output.posteriors
    first, second = posteriors.features.completion(0), posteriors.features.completion(1)
    pair = posteriors.weights, first, second, posteriors.decoder
    margin = margin_of(output)
    counts = batch["vote_counts"]

    def judged(target: Tensor) -> tuple[list[Tensor], Tensor]:
        logs = log_probabilities(*pair, target_margin=target)
        votes = pair_votes(*pair, posteriors.tie_threshold, target)
        return [margin - target, *logs], votes.log_likelihood(counts)

    quality, together = judged(torch.zeros_like(margin))
    kl_to_prior = kl_objective_weights(posteriors.weights, prior)
    columns, several = [*quality, kl_to_prior], [together]
    if rater:
        offsets = batch["offsets"]
        target = offset_margin(torch.zeros_like(margin), offsets[:, 0], offsets[:, 1])
        of_raters, together = judged(target)
        columns, several = [*of_raters, kl_to_prior, *quality], [together, *several]
    per_feature = (gaussian_kl_per_feature(posteriors.features) * batch["mask"].unsqueeze(-1)).sum(1)
    count = batch["mask"].sum(1, keepdim=True).clamp_min(1)
    return torch.stack(columns, -1), per_feature / count, torch.stack([counts.sum(-1), *several], -1)


def compute_preference_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Accuracy, NLL (8), calibration error, mean margin, KL of the weights to their prior, active units.

    The NLL is that of a judgment, and of a pair with several their joint one (15). Where the predictions have columns
    with and without a nuisance offset, those without give `quality_...` metrics.
    """
    (values, per_feature, *several), preference = prediction.predictions, np.asarray(prediction.label_ids)
    active = per_feature.mean(0) > ACTIVE_UNIT_KL
    metrics = {"kl_to_prior": float(values[:, 3].mean()), "active_units": float(active.sum())}
    together = several[0] if several else np.zeros((len(values), 3))
    metrics |= _pair_metrics(values[:, :3], preference, together[:, :2])
    if values.shape[1] > 4:
        quality = _pair_metrics(values[:, 4:7], preference, together[:, ::2])
        metrics |= {f"quality_{name}": value for name, value in quality.items()}
    return metrics


def _pair_metrics(columns: np.ndarray, preference: np.ndarray, several: np.ndarray) -> dict[str, float]:
    """Metrics of the comparisons among rows of margin, log P(a > b) and log P(b > a).

    `several`, (rows, 2), is the number of judgments and their log-likelihood for pairs with several.
    """
    pairs = ~np.isnan(preference)
    if not pairs.any():
        return {}
    margin, log_first, log_second = columns[pairs].astype(np.float64).T
    label = preference[pairs].astype(np.float64)
    judgments, together = several[pairs].astype(np.float64).T
    losses = np.where(judgments > 0, -together, cross_entropy_rows(log_first, label, log_second))
    metrics = {
        "nll": float(losses.sum() / np.maximum(judgments, 1).sum()),
        "margin": float(np.where(label >= 0.5, margin, -margin).mean()),
    }
    if (label != 0.5).any():
        accuracy = pairwise_accuracy(margin, label)
        metrics |= {"accuracy": float(accuracy.value), "pairs": float(accuracy.count)}
        metrics["calibration_error"] = float(expected_calibration_error(np.exp(log_first), label).value)
    return metrics
