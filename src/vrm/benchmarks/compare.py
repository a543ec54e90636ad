"""Two models on the same benchmark, by the benchmark's own figures."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from vrm.benchmarks.outcomes import Figure, Outcomes
from vrm.errors import DataError
from vrm.metrics import (
    DEFAULT_RESAMPLING,
    Indices,
    Interval,
    ResampleOptions,
    bootstrap_mean,
    bootstrap_rows,
    equality_test,
    holm,
)
from vrm.results.comparison import BenchmarkComparison, PairedFigure
from vrm.results.formats import ALPHA, FEW_PROMPTS, ends, leaves_out_zero, p_words, points, signed


def compare_outcomes(
    first: Outcomes, second: Outcomes, options: ResampleOptions = DEFAULT_RESAMPLING
) -> BenchmarkComparison:
    """Compare two models on the examples of one benchmark that both judged.

    Args:
        first: of A.
        second: of B, on the same examples in the same order.
        options: of the intervals.

    Raises:
        DataError: the examples are not the same, or there is none that both judged.
    """
    if first.ids != second.ids:
        raise DataError("the two outcomes are not of the same examples in the same order, so they cannot be paired.")
    judged = [np.any([~np.isnan(values) for values in each.credit.values()], axis=0) for each in (first, second)]
    both = judged[0] & judged[1]
    if not both.any():
        raise DataError("there is no example that both models judged, so nothing can be compared.")
    figures = tuple(_paired(figure, first, second, both, options) for figure in first.figures)
    compared = BenchmarkComparison(
        examples=int(both.sum()),
        only_first=int((judged[0] & ~both).sum()),
        only_second=int((judged[1] & ~both).sum()),
        prompts=len({group for group, kept in zip(first.groups, both, strict=True) if kept}),
        figures=_adjusted(figures),
        conclusions=(),
    )
    return replace(compared, conclusions=tuple(_conclusions(compared)))


def _paired(
    figure: Figure, first: Outcomes, second: Outcomes, both: np.ndarray[Any, Any], options: ResampleOptions
) -> PairedFigure:
    rows = np.asarray([row for row in first.counted(figure) if both[row]], dtype=np.intp)
    name = figure.row if figure.column in ("accuracy", "") else f"{figure.row}: {figure.column}"
    if not len(rows):
        unknown = Interval.unknown(options.confidence)
        return PairedFigure(name, 0, True, math.nan, math.nan, unknown, None)
    groups = [first.groups[row] for row in rows]
    one, other = (figure.value(each.credit, rows) for each in (first, second))
    if len(figure.terms) == 1 and not figure.total:
        one_credit, other_credit = (side.credit[figure.terms[0].measure][rows] for side in (first, second))
        interval = bootstrap_mean(one_credit - other_credit, groups, options)
        p_value: float | None = equality_test(one_credit - other_credit, groups, options.seed)[0]
    else:
        p_value = None

        def difference(times: Indices) -> float:
            drawn = np.repeat(rows, times)
            return figure.value(first.credit, drawn) - figure.value(second.credit, drawn)

        interval = bootstrap_rows(difference, len(rows), groups, options)
    return PairedFigure(name, len(rows), _is_share(figure, first, second), one, other, interval, p_value)


def _is_share(figure: Figure, *outcomes: Outcomes) -> bool:
    """Whether everything it is a mean of lies in [0, 1]."""
    credit = [each.credit[term.measure] for each in outcomes for term in figure.terms]
    known = np.concatenate([values[~np.isnan(values)] for values in credit])
    return bool(((known >= 0.0) & (known <= 1.0)).all())


def _adjusted(figures: tuple[PairedFigure, ...]) -> tuple[PairedFigure, ...]:
    tested = [index for index, figure in enumerate(figures) if index and figure.p_value is not None]
    adjusted = dict(zip(tested, holm([figures[index].p_value or 0.0 for index in tested]), strict=True))
    return tuple(replace(figure, holm_p_value=adjusted.get(index)) for index, figure in enumerate(figures))


def _conclusions(compared: BenchmarkComparison) -> list[str]:
    main, sentences = compared.figures[0], []
    interval = main.difference
    show, unit = (points, " points") if main.share else (signed, "")
    span = ends(interval.low, interval.high, show)
    test = "" if main.p_value is None else f"; {p_words(main.p_value)}"
    if math.isnan(interval.low):
        sentences.append("Nothing can be concluded: the examples are of one prompt, or of none.")
    elif leaves_out_zero(interval) and (main.p_value is None or main.p_value < ALPHA):
        better, worse = ("A", "B") if interval.estimate > 0 else ("B", "A")
        size = show(abs(interval.estimate)).lstrip("+")
        sentences.append(
            f"{better} is better than {worse} on {main.name} by {size}{unit} (A - B "
            f"{span} with {100 * interval.confidence:g} % confidence{test})."
        )
    else:
        sentences.append(
            f"A and B cannot be told apart on {main.name}: A - B is {show(interval.estimate)}{unit}, and anything "
            f"in {span} fits these {main.count} examples{test}."
        )
    tested = [figure for figure in compared.figures if figure.holm_p_value is not None]
    if tested:
        single = sum((figure.p_value or 0.0) < ALPHA for figure in tested)
        after = [figure.name for figure in tested if (figure.holm_p_value or 0.0) < ALPHA]
        sentences.append(
            f"Of {len(tested)} further figures {single} have p < {ALPHA:g}; with Holm's adjustment for their number: "
            f"{', '.join(after) if after else 'none'}."
        )
    if compared.only_first or compared.only_second:
        sentences.append(
            f"{compared.only_first} examples that only A judged and {compared.only_second} that only B judged are left "
            "out (the other dropped them as overlong)."
        )
    if compared.prompts < FEW_PROMPTS:
        sentences.append(f"Only {compared.prompts} prompts: bootstrap intervals are too short with so few.")
    return sentences
