"""What it takes to load a backbone into a new reward model, and what `vrm train` does before that.

    python -m studies.speed.loading --precision bfloat16 float32

Each load is the first of a fresh process, on one thread, with the files in memory from earlier rounds: processor time
and the peak of memory above what the process held before. `vrm train` first draws the random numbers of a backbone with
random weights, so that a seed's head stays what it was; those are columns of their own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from studies.speed.inputs import TOY, DecoderShape, save_decoder
from studies.speed.measure import PRECISIONS, Alone, PeakMemory, Spread, in_turn, say, timed
from studies.speed.tables import Table, finish, parser, quiet

from vrm.choices import EMBEDDED, EMBEDDED_DECODER
from vrm.model import VRMForSequenceClassification
from vrm.model.configuration_vrm import read_backbone_config
from vrm.model.embedded import resolve_backbone
from vrm.train.initial_draws import draw_as_random_backbone

LARGE = DecoderShape(layers=24, hidden=1536, intermediate=4608, heads=12, kv_heads=4, head_dim=128, vocabulary=49_152)
"""0.74 billion parameters."""

Load = dict[str, float]


def load(backbone: str, precision: str) -> Load:
    """Seconds and bytes of one load, and of the draws that come before it in a run."""
    quiet()
    torch.set_num_threads(1)
    dtype = getattr(torch, precision)
    resolve_backbone(backbone)  # the embedded decoder's file is checked, which is no part of loading
    memory, models = PeakMemory(), []
    memory.start()
    seconds = timed(
        lambda: models.append(VRMForSequenceClassification.from_backbone(backbone, dtype=dtype)),
        clock=time.process_time,
    )
    measured = {"seconds": seconds, "bytes": float(memory.bytes())}
    measured["parameters"] = float(sum(each.numel() for each in models.pop().parameters()))
    config = read_backbone_config(resolve_backbone(backbone))
    memory.start()
    measured["draw seconds"] = timed(lambda: draw_as_random_backbone(config), clock=time.process_time)
    return {**measured, "draw bytes": float(memory.bytes())}


def table_of(loads: dict[str, list[Load]]) -> Table:
    """A row for each backbone and precision."""
    columns = ["backbone", "parameters", "load, s", "peak, MB", "draws of a run, s", "their peak, MB"]
    table = Table("Loading a backbone", columns)
    for name, rounds in loads.items():
        spread = {field: Spread.of(each[field] for each in rounds) for field in rounds[0]}
        table.add(
            name, f"{spread['parameters'].median / 1e6:,.1f} M", spread["seconds"].text(),
            f"{spread['bytes'].median / 1e6:,.0f}", spread["draw seconds"].text(),
            f"{spread['draw bytes'].median / 1e6:,.0f}",
        )  # fmt: skip
    table.notes.append("Processor time, median (lowest..highest); peaks are medians, above the process before.")
    return table


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Options."""
    options = parser(__doc__)
    options.add_argument("--backbones", nargs="+", default=[EMBEDDED, EMBEDDED_DECODER], help="directories or names")
    options.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    return options.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = arguments(given)
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        shape = TOY if options.quick else LARGE
        places: dict[str, str] = {name: name for name in ([] if options.quick else options.backbones)}
        places["random decoder"] = str(save_decoder(shape, Path(folder), dtype=torch.bfloat16))
        alone = Alone(here=options.quick)
        sides = {
            f"{name}, {precision}": partial(alone, load, place, precision)
            for name, place in places.items()
            for precision in options.precision
        }
        loads = in_turn(sides, options.rounds, say)
    finish(options, [table_of(loads)], dict(loads))


if __name__ == "__main__":
    main()
