"""Training a reward model: this package beside `trl.RewardTrainer`, on the same files, rows, precision and machine.

    python -m studies.speed.training --data HH_HELPFUL HH_HARMLESS --json training.json

Every side runs in a process of its own, in turn, and trains on the same pairs. Steps are timed from the end of the
warm-up, with data loading and optimizer. TRL is run as it is, and once more with batches sorted by length: those of
`transformers`' group_by_length order over all rows read, of which evenly spaced ones are trained on. The sides in
random order train on the pairs of those batches, shuffled.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from studies.speed.busy import neighbours
from studies.speed.inputs import TOY, DecoderShape, Rows, described, read_rows, save_decoder
from studies.speed.measure import PRECISIONS, Alone, Spread, in_turn, matrix_rate, say
from studies.speed.routes import gradient_differences
from studies.speed.sides import Measurement, Setting, losses, run_trl, run_trl_defaults, run_vrm
from studies.speed.tables import Table, finish, parser, quiet

CACHE = "VRM, bt head, cache route"
SHORT = "VRM, its defaults, a short run"
LONG = "VRM, its defaults, a long run: compiled"
COLUMNS = [
    "side", "pairs/s", "x TRL", "x TRL sorted", "x TRL, processor time", "tokens/s", "positions a pair", "padding",
    "peak MiB",
]  # fmt: skip
BESIDE = ["pairs/s beside one busy process", "x TRL beside it"]
NOTES = [
    "Median (lowest..highest) of the rounds; ratios are within a round. tokens/s: tokens of the pairs, a prompt "
    "counted with each completion, on every side.",
    "peak MiB: highest resident memory above that of the loaded model and data.",
]


@dataclass(frozen=True)
class Orders:
    """The same pairs in two orders, those of the warm-up first.

    Attributes:
        random: in random order.
        grouped: batch after batch of similar length.
    """

    random: Rows
    grouped: Rows


def group_by_length(rows: Rows, batch: int, seed: int) -> list[list[int]]:
    """Whole batches of `transformers`' group_by_length order, by the longer side of each pair."""
    from transformers.trainer_pt_utils import get_length_grouped_indices

    lengths = rows.lengths()
    longest = (lengths[:, 0] + lengths[:, 1:].max(1)).tolist()
    order = get_length_grouped_indices(longest, batch, generator=torch.Generator().manual_seed(seed))
    return [order[first : first + batch] for first in range(0, len(order) - batch + 1, batch)]


def orders(rows: Rows, batch: int, warmup: int, steps: int, seed: int = 0) -> Orders:
    """Choose the pairs: evenly spaced batches of the sorted order, from the shortest to the longest."""
    lengths = rows.lengths().sum(1)
    batches = sorted(group_by_length(rows, batch, seed), key=lambda batch_rows: lengths[batch_rows].mean())
    if len(batches) < warmup + steps:
        raise SystemExit(f"{len(rows)} pairs are too few for {warmup} + {steps} steps of {batch}")
    rng = np.random.default_rng(seed)
    chosen = [batches[int((index + 0.5) * len(batches) / steps)] for index in range(steps)]
    others = [batch_rows for batch_rows in batches if batch_rows not in chosen]
    warm = [others[int((index + 0.5) * len(others) / warmup)] for index in range(warmup)]
    grouped, mixed = list[int](), list[int]()
    for part in (warm, chosen):
        members = [index for batch_rows in part for index in batch_rows]
        grouped += [index for place in rng.permutation(len(part)) for index in part[place]]
        mixed += [members[place] for place in rng.permutation(len(members))]
    return Orders(rows.take(mixed), rows.take(grouped))


def positions_table(rows: Rows, batch: int, seed: int = 0) -> tuple[Table, dict[str, float]]:
    """Token positions a pair over all rows read, counted from their lengths."""
    lengths = rows.lengths()
    longest = lengths[:, 0] + lengths[:, 1:].max(1)
    random = np.random.default_rng(seed).permutation(len(rows))
    shuffled = [random[first : first + batch] for first in range(0, len(random) - batch + 1, batch)]
    positions = {
        "padded, random order": 2 * float(np.mean([longest[part].max() for part in shuffled])),
        "padded, sorted by length": 2
        * float(np.mean([longest[part].max() for part in group_by_length(rows, batch, 0)])),
        "tokens": float((2 * lengths[:, 0] + lengths[:, 1:].sum(1)).mean()),
        "packed (prompt once)": float(lengths.sum(1).mean()),
    }
    table = Table(
        f"Token positions a pair, batches of {batch}, {len(rows):,} pairs", ["batches", "positions", "x packed"]
    )
    for name, value in positions.items():
        table.add(name, f"{value:.0f}", f"{value / positions['packed (prompt once)']:.2f}")
    table.notes = [f"Rows: {rows.source}; {rows.dropped} over the limit left out on every side."]
    return table, positions


def comparison_sides(
    files: Path, plan: Orders, setting: Setting, options: argparse.Namespace
) -> dict[str, Callable[[], Measurement]]:
    """The sides of one precision, with or without checkpointing."""
    alone, routes = Alone(options.quick), options.routes
    sides: dict[str, Callable[[], Measurement]] = {
        "TRL": partial(alone, run_trl, files, plan.random, setting),
        "TRL, sorted by length": partial(alone, run_trl, files, plan.grouped, setting),
        "VRM, bt head": partial(alone, run_vrm, files, plan.random, setting, "bt"),
        "VRM, vrm head": partial(alone, run_vrm, files, plan.random, setting, "vrm"),
    }
    if routes:
        sides["VRM, bt head, padded route"] = partial(alone, run_vrm, files, plan.random, setting, "bt", "padded")
    if routes and not setting.checkpointing:
        # A cache is filled in the forward pass: recomputing a layer would fill it twice.
        sides[CACHE] = partial(alone, run_vrm, files, plan.random, setting, "bt", "cache")
    if options.compiled:
        twice, compiled = compiled_setting(plan.random, setting, options.backend)
        sides["TRL, compiled"] = partial(alone, run_trl, files, twice, compiled)
        sides["VRM, bt head, compiled"] = partial(alone, run_vrm, files, twice, compiled, "bt")
        sides["VRM, vrm head, compiled"] = partial(alone, run_vrm, files, twice, compiled, "vrm")
    return sides


def compiled_setting(rows: Rows, setting: Setting, backend: str) -> tuple[Rows, Setting]:
    """All rows twice, the first time as warm-up: so that what a new length makes the compiler do is not timed."""
    twice = rows.take([*range(len(rows)), *range(len(rows))])
    return twice, replace(setting, backend=backend, warmup=setting.warmup + len(rows) // setting.batch)


def _positions(name: str, first: Measurement) -> tuple[str, str]:
    """Positions a pair and share of padding; those of the cache route are not the ones of the batch it is given."""
    if name == CACHE:
        return "-", "-"
    return f"{first.positions / first.pairs:.0f}", f"{first.padding / first.positions:.0%}"


def comparison_table(
    title: str,
    measured: dict[str, list[Measurement]],
    reference: str = "TRL",
    beside: dict[str, list[Measurement]] | None = None,
) -> Table:
    """One row a side; `beside` has the same sides beside a busy process."""
    table = Table(title, [*COLUMNS, *(BESIDE if beside else [])], notes=list(NOTES))
    speeds = {name: [one.pairs_a_second for one in runs] for name, runs in measured.items()}
    for name, runs in measured.items():
        first = runs[0]
        ratios = [
            "-" if base not in speeds or base == name else Spread.of_ratios(speeds[name], speeds[base]).text()
            for base in (reference, "TRL, sorted by length")
        ]
        used = [[run.processor for run in measured[side]] for side in (reference, name) if side in measured]
        less = "-" if len(used) < 2 or name == reference else Spread.of_ratios(*used).text()
        table.add(
            name, Spread.of(speeds[name]).text(), *ratios, less,
            f"{Spread.of(one.tokens / one.seconds for one in runs).median:,.0f}",
            *_positions(name, first),
            Spread.of(one.peak_bytes / 2**20 for one in runs).text(0),
            *(_beside(name, beside, reference) if beside else []),
        )  # fmt: skip
    if "VRM, vrm head" in measured and "VRM, bt head" in measured:
        time = Spread.of_ratios(speeds["VRM, bt head"], speeds["VRM, vrm head"])
        peaks = [[run.peak_bytes for run in measured[name]] for name in ("VRM, vrm head", "VRM, bt head")]
        table.notes.append(f"vrm head over bt head: time {time.text(3)}, memory {Spread.of_ratios(*peaks).text(3)}.")
    return table


def _beside(name: str, measured: dict[str, list[Measurement]], reference: str) -> list[str]:
    """Pairs a second beside a busy process, and how many times those of TRL there."""
    speeds = {side: [run.pairs_a_second for run in runs] for side, runs in measured.items()}
    ratio = "-" if name == reference else Spread.of_ratios(speeds[name], speeds[reference]).text()
    return [Spread.of(speeds[name]).text(), ratio]


def checks_table(batch_losses: tuple[float, float], gradients: dict[str, float] | None, equal: float) -> Table:
    """What makes the comparison one of like with like."""
    table = Table("Checks", ["what", "found"])
    table.add("rows that TRL tokenizes to the same ids", f"{equal:.1%}")
    table.add("loss of one batch, same weights: TRL", f"{batch_losses[0]:.6f}")
    table.add("loss of one batch, same weights: VRM, bt head", f"{batch_losses[1]:.6f}")
    for name, value in (gradients or {}).items():
        table.add(f"largest difference of a gradient to the padded route's, over the largest: {name}", f"{value:.1e}")
    return table


def run(options: argparse.Namespace, files: Path, rows: Rows) -> tuple[list[Table], dict[str, Any]]:
    """All settings, then the defaults of both."""
    first, counts = positions_table(rows, options.batch)
    tables, figures = [first], {"positions": counts}
    plan = orders(rows, options.batch, options.warmup, options.steps)
    base = Setting(batch=options.batch, warmup=options.warmup, limit=options.limit)
    equal = 1.0
    for precision in options.precision:
        for checkpointing in options.checkpointing:
            setting = replace(base, precision=precision, checkpointing=checkpointing == "on")
            sides = comparison_sides(files, plan, setting, options)
            measured, beside = in_turn(sides, options.rounds, say), _beside_another(sides, options)
            equal = min([equal, *(run.shares for runs in measured.values() for run in runs)])
            tables.append(comparison_table(f"Training, {setting.describe()}", measured, beside=beside))
            for kind, by_side in (("", measured), (" beside one busy process", beside)):
                figures[f"{setting.describe()}{kind}"] = as_dicts(by_side)
    if options.defaults:
        sides = default_sides(files, plan, base, options)
        measured, beside = in_turn(sides, options.rounds, say), _beside_another(sides, options)
        title = (
            "Training, the defaults of both (TRL: bfloat16, checkpointing on; VRM: bfloat16 where the CPU has it, off)"
        )
        tables.append(comparison_table(title, measured, "TRL, its defaults", beside))
        figures |= {"defaults": as_dicts(measured), "defaults beside one busy process": as_dicts(beside)}
    alone = Alone(options.quick)
    compared = alone(losses, files, plan.random, base)
    few = plan.random.take(range(min(4, len(plan.random))))
    gradients = alone(gradient_differences, files, few, options.limit) if options.routes else None
    tables.append(checks_table(compared, gradients, equal))
    return tables, {**figures, "losses": compared, "gradients": gradients, "tokenized_alike": equal}


def _beside_another(
    sides: dict[str, Callable[[], Measurement]], options: argparse.Namespace
) -> dict[str, list[Measurement]]:
    """The same sides while a process of two threads computes without end; none without `--beside`."""
    if not options.beside:
        return {}
    with neighbours(1):
        return in_turn(sides, options.rounds, lambda text: say(f"beside one busy process, {text}"))


def as_dicts(measured: dict[str, list[Measurement]]) -> dict[str, list[dict[str, Any]]]:
    """Measurements for JSON."""
    return {name: [asdict(run) for run in runs] for name, runs in measured.items()}


def default_sides(
    files: Path, plan: Orders, base: Setting, options: argparse.Namespace
) -> dict[str, Callable[[], Measurement]]:
    """Both as they come; this package compiles where a run is long enough for it to pay."""
    from vrm.inference.extraction import resolve_precision

    low = resolve_precision("auto", torch.device("cpu")) == torch.bfloat16
    alone, setting = Alone(options.quick), replace(base, precision="bfloat16" if low else "float32")
    twice, compiled = compiled_setting(plan.random, setting, options.backend)
    return {
        "TRL, its defaults": partial(alone, run_trl_defaults, files, plan.random, base),
        SHORT: partial(alone, run_vrm, files, plan.random, setting, "vrm"),
        LONG: partial(alone, run_vrm, files, twice, compiled, "vrm"),
    }


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Options; `--quick` sets those of toy size that were not given."""
    options = parser(__doc__)
    options.add_argument("--data", nargs="*", default=[], help="files of pairs; without, pairs are generated")
    options.add_argument("--rows", type=int, default=4000, help="pairs read, of which some are trained on")
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--steps", type=int, default=16, help="timed steps of every side")
    options.add_argument("--warmup", type=int, default=4, help="steps before them")
    options.add_argument("--limit", type=int, default=1024, help="tokens of prompt and completion")
    options.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    options.add_argument("--checkpointing", nargs="+", choices=("off", "on"), default=["off", "on"])
    options.add_argument("--routes", action="store_true", help="also the padded and the cache route")
    options.add_argument("--compiled", action="store_true", help="also both sides compiled")
    options.add_argument("--backend", default="inductor", help="of torch.compile")
    options.add_argument("--beside", action="store_true", help="also beside one busy process of two threads")
    options.add_argument("--no-defaults", dest="defaults", action="store_false", help="leave out the defaults of both")
    chosen = options.parse_args(given)
    if chosen.quick:
        vars(chosen).update(rows=64, batch=4, steps=2, warmup=1, rounds=1, limit=256)
        # Graphs are captured but run as they are: a C++ compiler takes longer than a test may.
        vars(chosen).update(precision=["float32"], checkpointing=["off"], backend="eager")
    return chosen


def main() -> None:
    """Measure and print."""
    options = arguments()
    quiet()
    shape = TOY if options.quick else DecoderShape()
    with tempfile.TemporaryDirectory() as directory:
        files = save_decoder(shape, directory)
        rows = read_rows(options.data, options.rows, options.limit)
        say(f"{shape.describe()}; {len(rows)} pairs: {rows.source}")
        seconds = 0.05 if options.quick else 1.0
        rates = {precision: matrix_rate(precision, seconds=seconds, size=256 if options.quick else 2048)
                 for precision in PRECISIONS}  # fmt: skip
        tables, figures = run(options, files, rows)
    tables[0].notes += [shape.describe() + ".", "Matrix rate: " + ", ".join(
        f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in rates.items()) + "."]  # fmt: skip
    finish(options, tables, {**figures, "shape": described(shape), "matrix_rate": rates})


if __name__ == "__main__":
    main()
