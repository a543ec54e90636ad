"""What `vrm compare` writes: two models on the same pairs, or by a benchmark's own figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vrm.metrics import Interval, McNemar
from vrm.results.base import Document, Kind, MeasuredModel, Part, WithData


@dataclass(frozen=True, slots=True)
class PairedMeasure:
    """One measure of both models on the same pairs; NaN where the pairs cannot tell.

    Attributes:
        first: of A.
        second: of B.
        difference: A - B, its interval by bootstrap over prompts.
    """

    first: float
    second: float
    difference: Interval


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """A and B on one set of pairs.

    Attributes:
        count: pairs that both judged, ties included.
        ties: pairs of preference 0.5; accuracies and tests leave them out.
        prompts: distinct prompts.
        accuracy: share of pairs judged right.
        length_controlled: as `length_controlled_accuracy`.
        style_controlled: as `style_controlled_accuracy`, one style-only model for both and for all groups.
        negative_log_likelihood: in nats, ties included; lower is better.
        mcnemar: exact McNemar test of the accuracies, pairs taken as independent.
        p_value: of equal accuracies: McNemar's, or that of the sign-flip test over prompts where prompts repeat or a
            margin of 0 counts half a hit.
        test: `mcnemar` or `sign_flip`, whose `p_value` it is; empty without a decided pair.
        holm_p_value: adjusted for the number of groups; None for the whole.
        difference_to_find: the larger of one point and the difference seen.
        pairs_needed: pairs like these at which an interval would leave out 0 with probability 0.8, were that the true
            difference; infinite if the models never differ.
    """

    count: int
    ties: int
    prompts: int
    accuracy: PairedMeasure
    length_controlled: PairedMeasure
    style_controlled: PairedMeasure
    negative_log_likelihood: PairedMeasure
    mcnemar: McNemar
    p_value: float
    test: str
    holm_p_value: float | None
    difference_to_find: float
    pairs_needed: float


@dataclass(frozen=True)
class Comparison(Part):
    """Everything `vrm compare` reports of one file.

    Attributes:
        only_first: pairs that A alone judged, and which are left out: B dropped them as overlong.
        only_second: pairs that B alone judged.
        overall: all pairs.
        by_source: by `source`.
        by_category: by `category`; p values are adjusted within each of the two.
    """

    only_first: int
    only_second: int
    overall: PairedComparison
    by_source: dict[str, PairedComparison]
    by_category: dict[str, PairedComparison]


@dataclass(frozen=True, slots=True)
class PairedFigure:
    """One published number of both models.

    Attributes:
        name: what it is about and what is measured.
        count: examples that it is computed from, for both models.
        share: whether it is a share, to be shown in percent, and not another quantity.
        first: of A.
        second: of B.
        difference: A - B, its interval by bootstrap over prompts.
        p_value: that both are equally good, for figures that are one mean; None for those made of several.
        holm_p_value: adjusted for the number of such figures, the main one left out; None likewise.
    """

    name: str
    count: int
    share: bool
    first: float
    second: float
    difference: Interval
    p_value: float | None
    holm_p_value: float | None = None


@dataclass(frozen=True)
class BenchmarkComparison(Part):
    """Everything `vrm compare` reports of one benchmark.

    Attributes:
        examples: that both models judged.
        only_first: that A alone judged; B dropped them as overlong.
        only_second: that B alone judged.
        prompts: distinct prompts (groups) of the examples.
        figures: the benchmark's own, the main one first.
        conclusions: in sentences.
    """

    examples: int
    only_first: int
    only_second: int
    prompts: int
    figures: tuple[PairedFigure, ...]
    conclusions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Compared(WithData):
    """What a document says of a comparison beside its figures.

    Attributes:
        overlong: what happened to rows over each model's limit, in words, by `a` and `b`.
    """

    overlong: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FileComparison(Comparison, _Compared):
    """The comparison on a file in a document.

    Attributes:
        conclusions: in sentences.
    """

    conclusions: tuple[str, ...] = ()


@dataclass(frozen=True)
class BenchmarkComparisonEntry(BenchmarkComparison, _Compared):
    """The comparison on a benchmark in a document."""


@dataclass(frozen=True, kw_only=True)
class ComparisonDocument(Document):
    """What `vrm compare --json` writes.

    Attributes:
        model: A, as the user named it.
        model_b: B.
        models: both, by `a` and `b`.
        versions: {package: version}.
        settings: everything that the figures depend on.
        files: by path, as the user named it.
        benchmarks: by name, or NAME=PATH.
    """

    kind: Kind = Kind.COMPARISON
    model: str = ""
    model_b: str = ""
    models: dict[str, MeasuredModel] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    files: dict[str, FileComparison] = field(default_factory=dict)
    benchmarks: dict[str, BenchmarkComparisonEntry] = field(default_factory=dict)
