"""What `vrm evaluate` writes of a file of judgments: each part of it, and the document."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vrm.metrics import (
    Interval,
    PreferenceSummary,
    ReliabilityBin,
    StyleControlledAccuracy,
    StyleRegression,
    field_values,
    json_ready,
)
from vrm.results.adaptation import RecoveredRater
from vrm.results.base import Document, Kind, ModelDocument, Part, WithData
from vrm.results.benchmarks import BenchmarkEntry, BestOfNEntry
from vrm.wire.explanation import Explanation


@dataclass(frozen=True, slots=True)
class RatingSummary:
    """How well ratings are predicted, in standard deviations of the training ratings.

    Attributes:
        count: rated entries.
        pearson: by objective.
        spearman: by objective.
        log_likelihood: of a rating in nats, mean over entries, from the joint density of (7') for each completion.
        log_likelihood_standard_normal: the same entries under N(0, 1), the constant predictor.
    """

    count: int
    pearson: dict[str, float]
    spearman: dict[str, float]
    log_likelihood: float
    log_likelihood_standard_normal: float


@dataclass(frozen=True, slots=True)
class VoteSummary:
    """How well objective votes are predicted, among the objectives that this file's votes name.

    Restricting the weights to these objectives is exact for a Dirichlet.

    Attributes:
        count: rows with votes.
        objectives: the candidates.
        pearson: correlation of expected weight and share of the vote, over all entries.
        log_likelihood: Dirichlet-multinomial log-likelihood of a row's votes, normalized to a total of 1, in nats.
        log_likelihood_base_rate: the same for the multinomial at this file's own mean shares, for all rows alike.
        top_k_recall: share of the vote that went to the k largest weights, k the number of objectives a row names.
        top_k_recall_base_rate: the same for this file's own mean shares.
    """

    count: int
    objectives: list[str]
    pearson: float
    log_likelihood: float
    log_likelihood_base_rate: float
    top_k_recall: float
    top_k_recall_base_rate: float


@dataclass(frozen=True, slots=True)
class StyleReport:
    """Style-controlled accuracy, and what style explains beside the margin.

    Attributes:
        accuracy: from `style_controlled_accuracy`, the style-only model cross-fitted on this file.
        regression: of the label on margin and style; None without a decided pair.
    """

    accuracy: StyleControlledAccuracy
    regression: StyleRegression | None


@dataclass(frozen=True, slots=True)
class SelectiveCurve:
    """Accuracy against coverage, the most certain pairs first; ranked at random, accuracy and area are the plain one's.

    Attributes:
        coverage: at most 101 shares of the pairs kept, ascending to 1.
        accuracy: on them.
        area: mean accuracy over all coverages, its interval by bootstrap over prompts.
        count: pairs judged.
        ties: pairs left out because their preference is 0.5.
    """

    coverage: tuple[float, ...]
    accuracy: tuple[float, ...]
    area: Interval
    count: int
    ties: int


@dataclass(frozen=True, slots=True)
class SignalAuroc:
    """How well one signal finds the pairs in question.

    Attributes:
        auroc: with interval; 1/2 for a signal that tells nothing.
        over_closeness: its AUROC minus that of closeness, -|E[u]|, on the same pairs; None for closeness itself.
    """

    auroc: Interval
    over_closeness: Interval | None


@dataclass(frozen=True, slots=True)
class Detection:
    """One kind of pair to be told from the rest.

    Attributes:
        positives: pairs of this kind.
        negatives: all other pairs.
        signals: `closeness` (-|E[u]|, the baseline), and those of `uncertainties` that the head has.
    """

    positives: int
    negatives: int
    signals: dict[str, SignalAuroc]


@dataclass(frozen=True, slots=True)
class DisagreementReport:
    """Ties and disagreement among the distinct pairs of a file.

    Attributes:
        pairs: distinct pairs of completions of one prompt, whichever comes first.
        judged_repeatedly: those with several rows or judgments.
        annotators: distinct names in the `annotator` column.
        ties: pairs of which every row says 0.5; None if there are none or nothing else.
        disagreement: pairs whose mean label lies strictly between 0 and 1, ties among them; None if there are none, if
            there is nothing else, or if these are the ties.
    """

    pairs: int
    judged_repeatedly: int
    annotators: int
    ties: Detection | None
    disagreement: Detection | None


@dataclass(frozen=True, slots=True)
class SeveralRatersSummary:
    """How well the votes of several raters of a pair are predicted, by (15).

    Attributes:
        pairs: with several judgments.
        judgments: votes on them.
        ties: votes among these that are ties.
        models_ties: whether the model has a tie threshold. Without one a tie counts as half a vote for either side, and
            its NLL is not to be compared with that of a model that predicts ties.
        joint_nll: of a judgment in nats: of all votes on a pair together, over the number of votes.
        joint_nll_base_rate: the same for the file's own share of ties, and no view of the texts.
        share_nll: of the vote share in nats, mean over pairs: as `joint_nll`, each vote by itself.
        disagreement: telling pairs on which raters differ from unanimous ones, by `disagreement` D and by `closeness`;
            None if all pairs are of one kind.
        decided: pairs with more votes for one side than for the other.
        majority_accuracy: whether the higher reward is the majority's, on those; None without one.
    """

    pairs: int
    judgments: int
    ties: int
    models_ties: bool
    joint_nll: Interval
    joint_nll_base_rate: float
    share_nll: Interval
    disagreement: Detection | None
    decided: int
    majority_accuracy: Interval | None


@dataclass(frozen=True, slots=True)
class GroupWeights:
    """Mean objective weights of a group's prompts, each prompt counted once.

    Attributes:
        prompts: distinct prompts.
        mean: in the order of `WeightsByGroup.objectives`; sums to 1.
        std: over prompts.
    """

    prompts: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class WeightsByGroup:
    """Objective weights by category, or by source where no row has a category.

    Attributes:
        by: `category` or `source`.
        objectives: their names.
        overall: of all prompts.
        groups: by name, sorted.
    """

    by: str
    objectives: tuple[str, ...]
    overall: GroupWeights
    groups: dict[str, GroupWeights]


@dataclass(frozen=True, slots=True)
class RewardSpread:
    """How rewards spread on this file, in raw units.

    Attributes:
        completions: judged.
        mean: of their rewards; known up to a constant per prompt only.
        std: of all of them.
        std_within_prompt: root mean square deviation from the prompt's mean, over prompts with several completions; 0
            without such.
        model_std: the spread on the model's held-out rows, stored with it.
    """

    completions: int
    mean: float
    std: float
    std_within_prompt: float
    model_std: float


@dataclass(frozen=True, slots=True)
class RaterSummary:
    """How well labels are predicted by reward and nuisance offset together.

    With raters that are biased it is better than the quality metrics, which is no reason to prefer the offset.

    Attributes:
        measures: names of the nuisances.
        factor: of the offset, in [0, 1].
        accuracy: of the margin with the offset; ties left out, its interval over prompts.
        negative_log_likelihood: of all pairs in nats, probabilities by (8) with the offset.
    """

    measures: tuple[str, ...]
    factor: float
    accuracy: Interval
    negative_log_likelihood: float


@dataclass(frozen=True, slots=True)
class Mistake:
    """A pair of which the model is sure of the other side; long texts are cut.

    Attributes:
        file: where the row was read from.
        line: 1-based.
        source: of the row.
        category: of the row.
        preference: label, for the preferred side: above 0.5.
        probability: predicted, of the preferred side.
        margin: E[u], reward of the preferred side minus that of the other: below 0.
        prompt: its text, the last message's where it has several.
        chosen: text of the preferred completion, A in the explanation.
        rejected: text of the other one, B in the explanation.
        explanation: of the pair, the preferred completion first.
    """

    file: str
    line: int
    source: str | None
    category: str | None
    preference: float
    probability: float
    margin: float
    prompt: str
    chosen: str
    rejected: str
    explanation: Explanation

    def json_fields(self) -> dict[str, Any]:
        """The fields, without the texts in the explanation, which stand beside it already."""
        explanation = json_ready(self.explanation)
        del explanation["prompt"]
        for completion in explanation["completions"]:
            del completion["text"]
        return field_values(self) | {"explanation": explanation}


@dataclass(frozen=True)
class Evaluation(Part):
    """Everything `vrm evaluate` reports of one set of rows; parts are None where the rows have no such label.

    Attributes:
        judgments: rows judged.
        overlong: what happened to rows over the model's limit, in words.
        pairs_from_lists: how many of the pairs come from ranked lists.
        unknown_objectives: labels left out because the model does not have the objective, by name.
        pairs: metrics of all pairs.
        by_source: the same by `source`.
        by_category: the same by `category`.
        ratings: metrics of ratings.
        votes: metrics of objective votes.
        style_controlled: accuracy that style alone cannot raise, and what style explains; None without pairs.
        selective: accuracy against coverage by the ranking, see `selective_curves`.
        reliability: predicted against observed preference, by bins of confidence.
        disagreement: whether uncertainty finds ties and disagreement; None where the pairs are all of one kind.
        several_raters: how well votes are predicted, of pairs with several; None without such.
        weights_by_category: mean objective weights by category, or by source; None for heads without objectives.
        reward_spread: of all completions' rewards; None without completions.
        rater: how well raters' choices are predicted with the nuisance offset that the model was trained with, which
            all else leaves out; None for models without one, and without pairs.
        mistakes: the most confident mistakes, explained, with texts; as many as were asked for.
    """

    judgments: int = 0
    overlong: str = ""
    pairs_from_lists: int = 0
    unknown_objectives: dict[str, int] = field(default_factory=dict)
    pairs: PreferenceSummary | None = None
    by_source: dict[str, PreferenceSummary] = field(default_factory=dict)
    by_category: dict[str, PreferenceSummary] = field(default_factory=dict)
    ratings: RatingSummary | None = None
    votes: VoteSummary | None = None
    style_controlled: StyleReport | None = None
    selective: dict[str, SelectiveCurve] = field(default_factory=dict)
    reliability: tuple[ReliabilityBin, ...] = ()
    disagreement: DisagreementReport | None = None
    several_raters: SeveralRatersSummary | None = None
    weights_by_category: WeightsByGroup | None = None
    reward_spread: RewardSpread | None = None
    rater: RaterSummary | None = None
    mistakes: tuple[Mistake, ...] = ()


@dataclass(frozen=True)
class FileEvaluation(Evaluation, WithData):
    """An evaluation of a file, and what reading the file found."""


@dataclass(frozen=True, kw_only=True)
class EvaluationDocument(ModelDocument):
    """What `vrm evaluate --json` writes.

    Attributes:
        files: by path, as the user named it.
        benchmarks: by name.
    """

    kind: Kind = Kind.EVALUATION
    files: dict[str, FileEvaluation] = field(default_factory=dict)
    benchmarks: dict[str, BenchmarkEntry | BestOfNEntry] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class QuickstartDocument(Document):
    """What `vrm quickstart` writes: several heads on the built-in corpus.

    Attributes:
        seed: of the corpus and of the runs.
        seconds: that it took.
        heads: evaluations by head, then by split.
        weight_distance: total variation of inferred from true weights, by head, then by domain.
        weight_distance_uniform: the same of uniform weights, by domain.
        votes_by_truth: how well the probabilities that were planted predict the raters' votes, by split.
        raters: the raters as they were fitted to the training rows beside what was planted, by head.
    """

    kind: Kind = Kind.QUICKSTART
    seed: int = 0
    seconds: float = float("nan")
    heads: dict[str, dict[str, Evaluation]] = field(default_factory=dict)
    weight_distance: dict[str, dict[str, float]] = field(default_factory=dict)
    weight_distance_uniform: dict[str, float] = field(default_factory=dict)
    votes_by_truth: dict[str, SeveralRatersSummary] = field(default_factory=dict)
    raters: dict[str, dict[str, RecoveredRater]] = field(default_factory=dict)
