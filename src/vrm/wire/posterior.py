"""The distributions behind an explanation, for programs that steer on their own side: numbers, no tensors."""

from __future__ import annotations

from dataclasses import dataclass

Matrix = list[list[float]]


@dataclass(frozen=True)
class TiltReport:
    """What a rater adds to the weights, b ~ N(loc, covariance) of (16).

    Attributes:
        loc: one number an objective.
        covariance: one row an objective.
    """

    loc: list[float]
    covariance: Matrix


@dataclass(frozen=True)
class PosteriorReport:
    """Distributions (1) and (2) of a judged row, before emphasis and before objectives are left out.

    Rewards, contributions, variances and probabilities under any steering follow from them without the model, by (9) to
    (13), (15) and (16).

    Attributes:
        objectives: K names, the model's order.
        weights: m, mean weights, K numbers that sum to 1; a rater's tilt is not in them.
        concentration: alpha, K numbers; None where the weights carry no uncertainty.
        decoder: A, one row of d numbers an objective.
        loc: mu, one row of d numbers a completion.
        variance: s2, likewise, >= 0.
        doubt: products of the completions' doubts about parameters, one row a completion: V_e of two is the squared
            distance that these products give. None for models that do not doubt their parameters.
        tilt: of the rater whose judgments are asked for; None for the population's.
        voter_tilt: of the raters who are drawn anew for ties and disagreement: the same of a known rater, else the
            spread of all that the model knows; None without any.
        tie_threshold: c >= 0 of those raters; None where the model has seen no ties, for 0.
        knows_ties: whether training tells how probable a tie is.
        knows_disagreement: whether it tells how often two raters differ.
    """

    objectives: tuple[str, ...]
    weights: list[float]
    concentration: list[float] | None
    decoder: Matrix
    loc: Matrix
    variance: Matrix
    doubt: Matrix | None
    tilt: TiltReport | None
    voter_tilt: TiltReport | None
    tie_threshold: float | None
    knows_ties: bool
    knows_disagreement: bool
