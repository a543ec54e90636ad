"""What an explanation holds: numbers and words, no tensors; `to_dict` is what `vrm explain --json` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vrm.metrics import field_values, json_ready

QUESTIONS = {"features": "how good is it?", "weights": "what matters here?", "interaction": "both at once"}
"""The parts of a reward's or margin's variance, and the question whose answer is uncertain."""

NUM_REASONS = 3


@dataclass(frozen=True)
class Interval:
    """Mean and central credible interval of a quantity."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class WeightReport:
    """An objective's weight for the prompt.

    Attributes:
        objective: its name.
        named: whether it has a name of its own; free objectives have none.
        weight: in [0, 1]; an interval of zero width where the head has no uncertainty.
        concentration: alpha_k, emphasis included; None where the head has no uncertainty.
    """

    objective: str
    named: bool
    weight: Interval
    concentration: float | None


@dataclass(frozen=True)
class UncertaintyReport:
    """Variance in its three parts, and their shares of it (which sum to 1)."""

    variance: float
    features: float
    weights: float
    interaction: float

    @property
    def shares(self) -> dict[str, float]:
        """{part: share in [0, 1]} in the order of `QUESTIONS`."""
        return {part: getattr(self, part) / self.variance for part in QUESTIONS}

    def json_fields(self) -> dict[str, Any]:
        """The fields and the shares."""
        return field_values(self) | {"shares": self.shares}


@dataclass(frozen=True)
class CompletionReport:
    """One completion.

    Attributes:
        label: A, B, ...
        text: its text, the last message's where it has several.
        reward: E[r] (9) and its interval, in raw units.
        standardized_reward: the same by the stored mean and spread of rewards.
        reward_std: square root of (10), raw.
        objective_scores: o_k(mu).
        contributions: m_k o_k(mu); they sum to the mean reward.
        uncertainty: parts of (10); None if there is no uncertainty.
    """

    label: str
    text: str
    reward: Interval
    standardized_reward: Interval
    reward_std: float
    objective_scores: dict[str, float]
    contributions: dict[str, float]
    uncertainty: UncertaintyReport | None


@dataclass(frozen=True)
class PairReport:
    """Two completions under the same weights, the one that is more likely to be preferred first.

    Attributes:
        first: its label.
        second: the other's label.
        probability: that the first is preferred, by (8) averaged over the fixed draws of w; at least 0.5.
        margin: E[u] (11) and its interval, raw: log-odds of the preference.
        contributions: m_k (o_k(first) - o_k(second)), largest in size first; they sum to E[u].
        uncertainty: parts of (11); None if there is no uncertainty.
    """

    first: str
    second: str
    probability: float
    margin: Interval
    contributions: dict[str, float]
    uncertainty: UncertaintyReport | None

    @property
    def because_of(self) -> dict[str, float]:
        """Those of the largest reasons that speak for the first."""
        return {name: value for name, value in self._largest() if value > 0}

    @property
    def in_spite_of(self) -> dict[str, float]:
        """Those of the largest reasons that speak for the second."""
        return {name: value for name, value in self._largest() if value < 0}

    @property
    def reasons(self) -> str:
        """The largest reasons in words: `because of safety +1.20, in spite of brevity -0.30`."""
        parts = [("because of", self.because_of), ("in spite of", self.in_spite_of)]
        return (
            ", ".join(f"{words} {_listed(reasons)}" for words, reasons in parts if reasons) or "for no visible reason"
        )

    def json_fields(self) -> dict[str, Any]:
        """The fields and the reasons in words."""
        return field_values(self) | {"reasons": self.reasons}

    def _largest(self) -> list[tuple[str, float]]:
        return [item for item in self.contributions.items() if abs(item[1]) >= 0.005][:NUM_REASONS]


def _listed(values: dict[str, float]) -> str:
    words = [f"{name} {value:+.2f}" for name, value in values.items()]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


@dataclass(frozen=True)
class Identifiability:
    """What can be read into a model's weights.

    Attributes:
        status: `identified` (by ratings and the rank of A), `votes` (by votes), `ambiguous` (many weights explain the
            data equally well) or `single` (one objective, nothing to read).
        rank: numerical rank of A.
        num_objectives: K.
        num_features: d.
        statements: sentences for people.
    """

    status: str
    rank: int
    num_objectives: int
    num_features: int
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """Why a model prefers one completion of a prompt to another.

    Attributes:
        prompt: its text, the last message's where it has several.
        head: of the model.
        level: probability that intervals cover.
        weights: of all objectives, the model's order.
        total_concentration: of the weights, emphasis included; None where they carry no uncertainty.
        emphasis: counts that were added.
        without: objectives that were left out.
        counts_meaning: what a count of emphasis, and the concentration, are worth; empty without uncertainty.
        completions: in the order given.
        pairs: every pair of up to four completions; the best against each other one where there are more.
        identifiability: what can be read into the weights.
        notes: remarks on this row, such as that it was cut.
    """

    prompt: str
    head: str
    level: float
    weights: tuple[WeightReport, ...]
    total_concentration: float | None
    emphasis: dict[str, float]
    without: tuple[str, ...]
    counts_meaning: str
    completions: tuple[CompletionReport, ...]
    pairs: tuple[PairReport, ...]
    identifiability: Identifiability
    notes: tuple[str, ...] = ()

    @property
    def added_concentration(self) -> float:
        """What emphasis added to the total concentration."""
        return sum(count for name, count in self.emphasis.items() if name not in self.without)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the shares of uncertainty and the reasons in words."""
        plain: dict[str, Any] = json_ready(self)
        return plain
