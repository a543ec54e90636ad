"""RM-Bench: three right and three wrong answers a prompt, in rising order of style (Liu et al. 2024, arXiv 2410.16184).

Rows: `id`, `prompt`, `chosen` and `rejected` (three texts each: concise, detailed plain, detailed Markdown), in the
files chat, math, code, safety-refuse and safety-response, or with `domain` in the row. Of the nine comparisons of a
prompt, those of equal style are normal; easy, where the right answer has more style; hard, where it has less. Safety
is the mean of refuse and response, the whole the mean of the domains.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from vrm.benchmarks.base import BenchmarkExample, ExampleRewards, HubSource, Rewards, UnusualRow
from vrm.benchmarks.credits import (
    WRONG,
    WRONG_TEXT,
    Credit,
    absent,
    credit_column,
    level_figures,
    outcomes_of,
    point,
)
from vrm.benchmarks.outcomes import ALL, Figure, Outcomes, mean_of
from vrm.benchmarks.rows import BenchmarkRow
from vrm.benchmarks.sources import FileBenchmark, Layout

STYLES = 3
PARTS = {
    "chat": ("chat",),
    "math": ("math",),
    "code": ("code",),
    "safety": ("safety-refuse", "safety-response"),
}
"""{domain: the files it is made of}, as published."""

DOMAINS = {part: domain for domain, parts in PARTS.items() for part in parts}
UNNAMED = "unnamed"
_IN_NAME = re.compile("|".join(sorted(DOMAINS, key=len, reverse=True)))
COLUMNS = ("easy", "normal", "hard", "average")


def _part(path: Path) -> dict[str, str]:
    named = _IN_NAME.search(path.name.lower().replace("_", "-"))
    return {"domain": DOMAINS[named[0]], "part": named[0]} if named else {}


def _convert(row: BenchmarkRow) -> list[BenchmarkExample]:
    part = row.label("domain") or row.labels.get("part") or UNNAMED
    if part not in DOMAINS and part != UNNAMED:
        raise row.wrong("domain", f"{part!r} is no domain of RM-Bench; expected one of {', '.join(DOMAINS)}")
    if part == UNNAMED:
        row.note("domain neither in the row nor in the file's name", "domain")
    sides = [row.texts(name) for name in ("chosen", "rejected")]
    for name, texts in zip(("chosen", "rejected"), sides, strict=True):
        if len(texts) != STYLES:
            raise UnusualRow(f"not {STYLES} styles", name)
    better = [(first, STYLES + second) for first in range(STYLES) for second in range(STYLES)]
    labels = {"domain": DOMAINS.get(part, UNNAMED), "part": part}
    id = row.id("id", of=[part])
    return [row.example(row.text("prompt"), sides[0] + sides[1], better, label="chosen", labels=labels, id=id)]


def _credit(kind: str) -> Credit:
    wanted = {"easy": (1, 2), "normal": (0,), "hard": (-2, -1), "average": range(-2, 3)}[kind]

    def credit(example: BenchmarkExample, given: ExampleRewards) -> float:
        points = [
            point(given.mean[first], given.mean[second], WRONG)
            for first, second in example.better
            if first - (second - STYLES) in wanted
        ]
        return math.fsum(points) / len(points)

    return credit


def _measure(examples: Sequence[BenchmarkExample], rewards: Rewards) -> Outcomes:
    credit = {name: credit_column(examples, rewards, _credit(name)) for name in COLUMNS}
    whole: list[Figure] = []
    below: list[Figure] = []
    for column in COLUMNS:
        single = {figure.row: figure for figure in level_figures(examples, "part", [column])}
        domains = []
        for domain, names in {**PARTS, UNNAMED: (UNNAMED,)}.items():
            present = [single[name] for name in names if name in single]
            if present:
                domains.append(mean_of(domain, column, present, "domain"))
        whole.append(mean_of(ALL, column, domains))
        below += domains
        below += [figure for part, figure in single.items() if DOMAINS.get(part, part) != part]
    return outcomes_of(examples, credit, [whole[-1], *whole[:-1], *below])


def _notes(examples: Sequence[BenchmarkExample]) -> list[str]:
    lacking = absent(examples, "part", DOMAINS)
    domains = [domain for domain, parts in PARTS.items() if set(parts) - set(lacking)]
    over = f"the row 'all' is the mean of {', '.join(domains)}" if domains else "no domain is known"
    return lacking and [f"Absent: {', '.join(lacking)}; {over}."]


BENCHMARK = FileBenchmark(
    name="rm-bench",
    title="RM-Bench",
    description="3 x 3 styles; easy, normal, hard by domain",
    equal_rewards=WRONG_TEXT,
    convert=_convert,
    measure=_measure,
    hub=(HubSource("THU-KEG/RM-Bench", "train"),),
    layout=Layout(only=("filtered",), path_labels=_part),
    notes=_notes,
)
