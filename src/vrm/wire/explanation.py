"""What an explanation holds, in files, on the wire and in Python: numbers and words, no tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vrm.choices import Identification
from vrm.wire.sentences import CompletionSentences

QUESTIONS = {
    "features": "how good is it?",
    "weights": "what matters here?",
    "interaction": "both at once",
    "parameters": "does it know such texts?",
}
"""The parts of a reward's or margin's variance, and the question whose answer is uncertain."""

NUM_REASONS = 3

THE_CHOSEN = "A is the row's chosen completion, B its rejected one."
"""Remark on a pair of a file."""


@dataclass(frozen=True)
class CredibleInterval:
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
        weight: in [0, 1], without a rater's tilt; an interval of zero width where the head has no uncertainty.
        concentration: alpha_k, emphasis included; None where the head has no uncertainty.
    """

    objective: str
    named: bool
    weight: CredibleInterval
    concentration: float | None


@dataclass(frozen=True)
class RaterReport:
    """How a rater or group differs from the population, equation (16).

    Attributes:
        name: of the rater.
        comparisons: votes behind it.
        tilts: what is added to the weight of each objective, {objective: tilt}, largest in size first.
        tie_threshold: c_r; None where the model has seen no ties.
        population_tie_threshold: c; None likewise.
        statement: what of it is told apart from nothing, in words.
    """

    name: str
    comparisons: int
    tilts: dict[str, CredibleInterval]
    tie_threshold: CredibleInterval | None
    population_tie_threshold: float | None
    statement: str


def rater_in_words(name: str, tilts: Mapping[str, CredibleInterval]) -> str:
    """`w0312 weighs evidence +0.40 more, and brevity 0.21 less, than the population.`: tilts whose intervals miss 0."""
    told = {objective: tilt.mean for objective, tilt in tilts.items() if tilt.low > 0.0 or tilt.high < 0.0}
    if not told:
        return f"These judgments do not tell that {name} weighs any objective otherwise than the population."
    words = [f"{objective} {abs(mean):.2f} {'more' if mean > 0 else 'less'}" for objective, mean in told.items()]
    return f"{name} weighs {_joined(words)} than the population."


@dataclass(frozen=True)
class UncertaintyReport:
    """A variance in its parts.

    Attributes:
        variance: the sum of the parts, > 0.
        features: how good is it?
        weights: what matters here?
        interaction: both at once.
        shares: {part: share of the variance in [0, 1]}, in the order of `QUESTIONS`; parameters where it is not 0.
        parameters: does it know such texts? 0 for models that do not doubt their parameters.
    """

    variance: float
    features: float
    weights: float
    interaction: float
    shares: dict[str, float]
    parameters: float = 0.0

    @classmethod
    def of(
        cls, features: float, weights: float, interaction: float, variance: float, parameters: float = 0.0
    ) -> UncertaintyReport:
        """The report of the parts and their sum."""
        parts = dict(zip(QUESTIONS, (features, weights, interaction, parameters), strict=True))
        kept = {name: part for name, part in parts.items() if part or name != "parameters"}
        return cls(variance, **parts, shares={name: part / variance for name, part in kept.items()})


@dataclass(frozen=True)
class UnfamiliarityReport:
    """How unlike the training texts a completion is.

    Attributes:
        distance: 1 is what one text in twenty like the training texts exceeds.
        nearest_category: of the training categories; None where the training rows named none.
        category_distance: distance to that category's centre, over the median of its own texts; None without one.
    """

    distance: float
    nearest_category: str | None = None
    category_distance: float | None = None

    def in_words(self, label: str) -> str:
        """A sentence about a completion by its label; empty for one that is like the training texts."""
        if self.distance <= 1.0:
            return ""
        sentence = (
            f"{label} is unlike the training data: {self.distance:.2f} times the distance that 95 % of familiar texts "
            "keep to."
        )
        if self.nearest_category is None or self.category_distance is None:
            return sentence
        nearest = f"The nearest training category is {self.nearest_category}, {self.category_distance:.1f} times as far"
        return f"{sentence} {nearest} as its own texts usually are."


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
        contributions: m_k o_k(mu), of a rater (m_k + b_k) o_k(mu); they sum to the mean reward.
        uncertainty: parts of (10); None if there is no uncertainty.
        unfamiliarity: None for models that keep nothing of their training texts, and in older documents.
    """

    label: str
    text: str
    reward: CredibleInterval
    standardized_reward: CredibleInterval
    reward_std: float
    objective_scores: dict[str, float]
    contributions: dict[str, float]
    uncertainty: UncertaintyReport | None
    unfamiliarity: UnfamiliarityReport | None = None


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
        reasons: the largest contributions in words.
        p_tie: that a rater calls the two a tie, by (15); 0 for models of several raters who never tied. None where
            training had neither, and in older documents.
        disagreement: that two raters say something different of the two, by (15). None where no pair of the training
            data was judged by two, and in older documents.
    """

    first: str
    second: str
    probability: float
    margin: CredibleInterval
    contributions: dict[str, float]
    uncertainty: UncertaintyReport | None
    reasons: str
    p_tie: float | None = None
    disagreement: float | None = None


def reasons(contributions: Mapping[str, float]) -> dict[str, float]:
    """The contributions that `reasons_in_words` names; those that round to zero are none.

    Args:
        contributions: to a margin, the largest in size first.
    """
    return dict([(name, value) for name, value in contributions.items() if abs(value) >= 0.005][:NUM_REASONS])


def reasons_in_words(contributions: Mapping[str, float]) -> str:
    """The largest contributions: `because of safety +1.20, in spite of brevity -0.30`.

    Args:
        contributions: to a margin, the largest in size first.
    """
    largest = reasons(contributions)
    parts = {
        "because of": {name: value for name, value in largest.items() if value > 0},
        "in spite of": {name: value for name, value in largest.items() if value < 0},
    }
    return ", ".join(f"{words} {_listed(side)}" for words, side in parts.items() if side) or "for no visible reason"


def _listed(values: dict[str, float]) -> str:
    return _joined([f"{name} {value:+.2f}" for name, value in values.items()])


def _joined(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


@dataclass(frozen=True)
class Identifiability:
    """What can be read into a model's weights.

    Attributes:
        status: `identified` (by ratings and the rank), `votes` (by votes), `ambiguous` (many weights explain the
            data equally well) or `single` (one objective, nothing to read).
        rank: numerical rank of the matrix from features to objectives.
        num_objectives: K.
        num_features: d.
        statements: sentences for people.
        intervals: whether training shows how wide intervals should be; where it does not, `vrm explain` prints none.
    """

    status: Identification
    rank: int
    num_objectives: int
    num_features: int
    statements: tuple[str, ...]
    intervals: bool = True


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
        judged_as: whose judgments these are; None for the population's.
        sentences: what each sentence of each completion adds; None where that was not asked for.
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
    judged_as: RaterReport | None = None
    sentences: tuple[CompletionSentences, ...] | None = None

    @property
    def added_concentration(self) -> float:
        """What emphasis added to the total concentration."""
        return sum(count for name, count in self.emphasis.items() if name not in self.without)

    def to_dict(self) -> dict[str, Any]:
        """What `vrm explain --json` prints."""
        return asdict(self)
