"""Best-of-n on prompts with many completions and a gold score: what optimizing against a reward gains, or loses.

A row has `prompt`, `completions` and `gold`, one real number a completion, higher is better; `id`, `category` and
`source` are kept. Completions are picked by the mean reward, by lower bounds of it, by length, blindly, and by the gold
scores themselves. See docs/best-of-n.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vrm.benchmarks.base import (
    LEFT_OUT,
    Benchmark,
    BenchmarkExample,
    LoadedBenchmark,
    Rewards,
    UnusualRows,
    with_labels,
)
from vrm.benchmarks.best_of_n_summary import LONGEST, MEAN, BestOfNSummary, pick_name, shown_sizes
from vrm.benchmarks.credits import outcomes_of
from vrm.benchmarks.outcomes import ALL, Outcomes, mean_figure
from vrm.benchmarks.rows import text_hash
from vrm.choices import OnBadRows
from vrm.data.parse import parse_scoring_row
from vrm.data.problems import InvalidRowError
from vrm.data.readers import locate, read_location
from vrm.data.schema import Judgment
from vrm.data.style import text_length
from vrm.data.validation import InvalidDataError, ValidationReport
from vrm.errors import ConfigError, DataError, check_choice
from vrm.inference.reward_choice import check_kappa
from vrm.metrics import DEFAULT_RESAMPLING, ResampleOptions, best_of_n_curve, compare_best_of_n, field_values
from vrm.results.benchmarks import PickCurve

KAPPAS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Standard deviations that pessimistic picks subtract from the mean reward by default."""

MIN_COMPLETIONS = 2


@dataclass(frozen=True, kw_only=True)
class BestOfNBenchmark(Benchmark):
    """The benchmark `bon`.

    Attributes:
        kappas: >= 0, standard deviations to subtract; 0 is the mean reward itself and is always there.
        max_n: end of the curves; rows with fewer completions are then left out of them and counted. None ends them at
            the fewest completions of any row.
        mapping: {schema's column: the file's column}, where they differ.
        on_bad_rows: `error` refuses a file with faults, naming all of them; `skip` leaves such rows out and counts
            them.

    Raises:
        ConfigError: a value is not allowed.
    """

    kappas: tuple[float, ...] = KAPPAS
    max_n: int | None = None
    on_bad_rows: str = "error"
    mapping: Mapping[str, str] | None = None
    name: str = "bon"
    title: str = "Best-of-n"
    description: str = "prompts with many completions and a gold score (bon=FILE)"
    equal_rewards: str = "completions of equal reward share the pick: the mean of their gold scores counts"

    def __post_init__(self) -> None:
        for kappa in self.kappas:
            check_kappa(kappa)
        if self.max_n is not None and self.max_n < MIN_COMPLETIONS:
            raise ConfigError(f"max_n must be at least {MIN_COMPLETIONS}, or left out; got {self.max_n}")
        check_choice("on_bad_rows", self.on_bad_rows, OnBadRows)

    def load(self, path: str | None) -> LoadedBenchmark:
        """Read rows of prompt, completions and gold scores from any format that preference data may have.

        Raises:
            DataError: there is no path or no such source, no good row, or a bad row where the options refuse them.
        """
        if path is None:
            raise DataError(
                "'bon' has no data of its own: write bon=FILE, of rows with 'prompt', 'completions' and 'gold'"
            )
        location, report, unusual = locate(path), ValidationReport(), UnusualRows()
        rows: list[tuple[Judgment, Any]] = []

        def refuse(error: InvalidRowError) -> None:
            report.add_bad(error, location.label)
            unusual.add(error.problems[0].kind, error.file, error.line, error.field, action=LEFT_OUT)

        for line, columns in read_location(location, mapping=self.mapping, on_error=refuse):
            try:
                judgment = parse_scoring_row(columns, file=location.label, line=line, gold=True, mapping=self.mapping)
            except InvalidRowError as error:
                refuse(error)
                continue
            report.add_good(judgment, location.label)
            rows.append((judgment, columns.get("id")))
        if not report.ok and (self.on_bad_rows == OnBadRows.ERROR or not rows):
            hint = "; repair it, or skip bad rows (--on-bad-rows skip)" if rows else " and not a single good row"
            raise InvalidDataError(f"The best-of-n data has faults{hint}.", report)
        return LoadedBenchmark(self.name, _examples(rows), report.rows, unusual, (location.label,))

    def outcomes(self, examples: Sequence[BenchmarkExample], rewards: Rewards) -> Outcomes:
        """Expected gold of the best of n by mean reward, example by example; the main figure picks from all.

        As in the curves, figures of a certain n are over the same examples whatever the n.
        """
        count = len(examples)
        size = self.max_n or min((len(example.label) for example in examples), default=1)
        sizes = [n for n in shown_sizes(size) if n > 1]
        credit = {name: np.full(count, np.nan) for name in ("all", *map(str, sizes))}
        reaching = np.asarray([len(example.label) >= size for example in examples], dtype=bool)
        for position, (example, given) in enumerate(zip(examples, rewards, strict=True)):
            if given is None:
                continue
            curve = best_of_n_curve(given.mean, example.label)
            credit["all"][position] = curve[-1]
            for n in sizes if reaching[position] else ():
                credit[str(n)][position] = curve[n - 1]
        every = np.ones(count, dtype=bool)
        figures = [mean_figure(ALL, f"gold, best of {n}", n, every if n == "all" else reaching) for n in credit]
        return outcomes_of(examples, credit, figures)

    def summarize(
        self, examples: Sequence[BenchmarkExample], rewards: Rewards, options: ResampleOptions = DEFAULT_RESAMPLING
    ) -> BestOfNSummary:
        """Curves of every way of picking, with intervals over prompts.

        Raises:
            DataError: no example has rewards, or none has `max_n` completions.
        """
        judged = [(example, given) for example, given in zip(examples, rewards, strict=True) if given is not None]
        if not judged:
            raise DataError("best-of-n: every row was dropped as overlong or refused, so there is nothing to compare.")
        means = [np.asarray(given.mean) for _, given in judged]
        uncertain = any(any(given.std) for _, given in judged)
        picks = self._picks(uncertain, relative=all(given.relative_std for _, given in judged))
        spreads = {
            "reward": [np.asarray(given.std) for _, given in judged],
            "relative": [np.asarray(given.relative_std) for _, given in judged],
        }
        by_name = {
            name: _lower_bounds(means, spreads[spread], kappa) if spread else means
            for name, (kappa, spread) in picks.items()
        }
        lengths = [[text_length(text) for text in example.judgment.completions] for example, _ in judged]
        comparison = compare_best_of_n(
            {**by_name, LONGEST: lengths},
            [example.label for example, _ in judged],
            baseline=MEAN,
            max_n=self.max_n,
            groups=[example.prompt_group for example, _ in judged],
            options=options,
        )
        curves = {}
        for name, curve in comparison.curves.items():
            kappa, spread = picks.get(name, (None, None))
            curves[name] = PickCurve(**field_values(curve), kappa=kappa, spread=spread)
        return BestOfNSummary(
            **field_values(comparison) | {"curves": curves},
            prompts=len({example.prompt_group for example, _ in judged}),
            dropped=len(examples) - len(judged),
            uncertain=uncertain,
            one_best=all(sorted(example.label) == [0.0] * (len(example.label) - 1) + [1.0] for example, _ in judged),
            confidence=options.confidence,
        )

    def _picks(self, uncertain: bool, relative: bool) -> dict[str, tuple[float, str | None]]:
        """Kappa and spread, as in `PickCurve`, of each way to pick by reward.

        Without uncertainty a lower bound is the mean, and would only repeat it.
        """
        picks: dict[str, tuple[float, str | None]] = {MEAN: (0.0, None)}
        if uncertain:
            for spread in ("reward", "relative") if relative else ("reward",):
                picks |= {pick_name(spread, kappa): (kappa, spread) for kappa in sorted(set(self.kappas) - {0.0})}
        return picks


BENCHMARK = BestOfNBenchmark()


def _examples(rows: Sequence[tuple[Judgment, Any]]) -> tuple[BenchmarkExample, ...]:
    """Examples sorted by id: the rows' own ids where all have one and no two the same, else hashes of their texts."""
    ids = [str(own) for _, own in rows if own is not None]
    if len(ids) != len(rows) or len(set(ids)) != len(ids):
        ids = [text_hash(judgment) for judgment, _ in rows]
    ordered = sorted(zip(ids, (judgment for judgment, _ in rows), strict=True), key=lambda row: (row[0], row[1].scores))
    seen: Counter[str] = Counter()
    return tuple(_example(name, judgment, seen) for name, judgment in ordered)


def _example(name: str, judgment: Judgment, seen: Counter[str]) -> BenchmarkExample:
    seen[name] += 1
    return BenchmarkExample(
        id=name if seen[name] == 1 else f"{name}#{seen[name]}",
        judgment=replace(judgment, scores=None),
        labels=with_labels({"category": judgment.category, "source": judgment.source}),
        better=_better(judgment.scores or []),
        label=judgment.scores,
    )


def _better(gold: Sequence[float]) -> tuple[tuple[int, int], ...]:
    """The best completion (the first of several) with every one of lower gold: all pairs would be too many to hold."""
    best = int(np.argmax(gold))
    return tuple((best, other) for other, value in enumerate(gold) if value < gold[best])


def _lower_bounds(means: Sequence[Any], spreads: Sequence[Any], kappa: float) -> list[Any]:
    return [mean - kappa * spread for mean, spread in zip(means, spreads, strict=True)]
