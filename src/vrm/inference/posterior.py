"""From a judged row to a `PosteriorReport`: what a program needs to steer without asking again."""

from __future__ import annotations

from torch import Tensor

from vrm.core.distributions import Tilt
from vrm.inference.judged import JudgedBatch
from vrm.model.configuration_vrm import VRMConfig
from vrm.wire.posterior import Matrix, PosteriorReport, TiltReport


def posterior_of(row: JudgedBatch, config: VRMConfig) -> PosteriorReport:
    """The distributions of a batch of one, in float64.

    Args:
        row: judged without emphasis and without leaving objectives out; a rater's tilt may be applied.
        config: of the model that judged it.
    """
    posteriors, voted = row.posteriors.double(), row.as_voted.posteriors.double()
    weights, features = posteriors.weights, posteriors.features.map(lambda values: values[0])
    doubt = features.doubt
    return PosteriorReport(
        objectives=row.objectives,
        weights=weights.mean[0].tolist(),
        concentration=None if weights.concentration is None else weights.concentration[0].tolist(),
        decoder=posteriors.decoder.tolist(),
        loc=features.loc.tolist(),
        variance=features.variance.tolist(),
        doubt=None if doubt is None else _products(doubt),
        tilt=_tilt(weights.tilt),
        voter_tilt=_tilt(voted.weights.tilt),
        tie_threshold=None if voted.tie_threshold is None else float(voted.tie_threshold),
        knows_ties=config.knows_ties,
        knows_disagreement=config.learned_disagreement,
    )


def _products(doubt: Tensor) -> Matrix:
    return (doubt @ doubt.T).tolist()


def _tilt(tilt: Tilt | None) -> TiltReport | None:
    if tilt is None:
        return None
    return TiltReport(tilt.loc.double().tolist(), tilt.covariance.double().tolist())
