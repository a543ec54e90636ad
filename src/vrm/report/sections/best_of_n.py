"""Best-of-n: what optimizing against each reward gains or loses by a gold score."""

from __future__ import annotations

from typing import NamedTuple

from vrm.report.blocks import Block, Cell, Chart, Charts, Column, Heading, Paragraph, Section, Table
from vrm.report.charts import Axes, Drawer, Line
from vrm.report.svg import SERIES
from vrm.report.values import fixed_cell, known, whole
from vrm.report.view import Measurement, View
from vrm.results import BestOfNEntry, PickCurve
from vrm.results.formats import leaves_out_zero

MEAN = "mean"
REFERENCES = ("oracle", "longest", "random")
"""Curves that are of no reward: picking by the gold score, by length, blindly."""

BEHIND = len(SERIES)
"""Added to a series, gives the same colour in dashes."""

AXES = Axes("policy KL, nats", "expected gold score")


def best_of_n_section(view: View, draw: Drawer) -> Section:
    """Curves of the gold score against the policy KL, and what each pick is worth at their end."""
    blocks: list[Block] = []
    missing: list[str] = []
    datasets = view.by_dataset(lambda entry: lists_of(entry) is not None)
    for name, measured in datasets.items():
        if len(datasets) > 1:
            blocks.append(Heading(name))
        judged = [Judged(entry, lists) for entry in measured if (lists := lists_of(entry))]
        blocks += _dataset(name, judged, draw)
        missing += [
            f"{entry.model} on {name} has no pessimistic picks: its rewards have no uncertainty"
            for entry, lists in judged
            if not lists.uncertain
        ]
    return Section("best-of-n", "Best-of-n", blocks, missing)


class Judged(NamedTuple):
    """A measurement of best-of-n, and its curves."""

    entry: Measurement
    lists: BestOfNEntry

    def line(self, name: str, label: str, series: int | None, band: bool = False) -> Line:
        """The gold score of one curve against the policy KL."""
        points = list(zip(self.lists.policy_kl, self.lists.curves[name].gold, strict=False))
        gold = [point for _, point in points]
        return Line(
            label,
            [kl for kl, _ in points],
            [point.estimate for point in gold],
            [point.low for point in gold] if band else (),
            [point.high for point in gold] if band else (),
            series,
            REFERENCES.index(name) if series is None else 0,
        )

    def references(self) -> list[Line]:
        """The curves that are of no reward."""
        return [self.line(name, name, None) for name in REFERENCES if name in self.lists.curves]

    def picks(self) -> dict[str, PickCurve]:
        """The curves that are of a reward, the mean first."""
        return {name: curve for name, curve in self.lists.curves.items() if name not in REFERENCES}


def lists_of(entry: Measurement) -> BestOfNEntry | None:
    """Best-of-n curves, if it has some."""
    lists = entry.content
    if not isinstance(lists, BestOfNEntry) or not lists.policy_kl:
        return None
    return lists if MEAN in lists.curves and lists.curves[MEAN].gold else None


def _dataset(name: str, judged: list[Judged], draw: Drawer) -> list[Block]:
    first = judged[0].lists
    largest = len(first.policy_kl)
    explained = (
        f"Expected gold score of the pick among n = 1 to {largest} completions, mean over "
        f"{whole(first.rows)} rows ({whole(first.prompts)} prompts) of {name}, against how far "
        "picking moves the policy. Bands, around the mean reward’s curves: 95 % intervals over prompts, pointwise."
    )
    if first.one_best:
        explained += (
            " One completion a row has gold 1 and the others 0: the gold score is how often the best one is picked."
        )
    charts: list[Chart] = []
    if len(judged) > 1:
        charts.append(_by_model(judged, draw))
    charts += [_by_kappa(one, draw, len(judged) > 1) for one in judged if len(one.picks()) > 1]
    if not charts:
        charts = [_by_model(judged, draw)]
    return [Paragraph(explained), Charts(charts), _end(judged, largest)]


def _by_model(judged: list[Judged], draw: Drawer) -> Chart:
    lines = [one.line(MEAN, one.entry.model, one.entry.series, band=True) for one in judged]
    return draw.lines([*lines, *judged[0].references()], AXES, "Picked by mean reward")


def _by_kappa(judged: Judged, draw: Drawer, several: bool) -> Chart:
    """The pessimistic picks of one model; those by the spread relative to the prompt's average in dashes."""
    lines, picks = [], judged.picks()
    kappas = sorted({pick.kappa for pick in picks.values() if pick.kappa})
    for name, pick in picks.items():
        series = kappas.index(pick.kappa) + 1 if pick.kappa in kappas else 0
        label = "mean reward" if name == MEAN else name
        lines.append(judged.line(name, label, series + BEHIND * (pick.spread == "relative"), name == MEAN))
    model = judged.entry.model
    title = f"{model}: mean and pessimistic reward" if several else "Picked by mean and pessimistic reward"
    caption = "pessimistic k: picked by the mean minus k standard deviations of the reward"
    if any(pick.spread == "relative" for pick in picks.values()):
        caption += (
            "; relative k, dashed: minus k standard deviations of the reward above the prompt’s average completion"
        )
    return draw.lines([*lines, *judged.references()], AXES, title, f"{caption}.")


def _end(judged: list[Judged], largest: int) -> Table:
    columns = [Column("picked by", False), Column(f"gold at n = {largest}"), Column("− mean reward"), Column("regret")]
    columns += [Column("peak n"), Column("fall from the peak")]
    parts = [(one.entry.model, [_end_row(name, curve) for name, curve in one.picks().items()]) for one in judged]
    curves = judged[0].lists.curves
    lines = [_end_row(name, curves[name], len(judged) == 1) for name in REFERENCES if name in curves]
    return Table.in_parts(
        columns,
        [*parts, ("for comparison", lines)],
        "− mean reward: paired difference from the pick by mean reward; bold where its interval leaves out 0. Regret: "
        "the gold score of the oracle minus this one. Peak: the n of the highest gold score; below the end of the "
        "curve, more optimization did harm.",
    )


def _end_row(name: str, curve: PickCurve, compared: bool = True) -> list[Cell]:
    end = curve.gold[-1] if curve.gold else None
    against = known(curve.difference[-1]) if curve.difference and compared else None
    return [
        Cell("mean reward" if name == MEAN else name),
        fixed_cell(end),
        Cell("") if against is None else fixed_cell(against, signed=True, strong=leaves_out_zero(against)),
        fixed_cell(curve.regret),
        Cell(whole(curve.peak)),
        fixed_cell(curve.fall),
    ]
