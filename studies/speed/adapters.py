"""Training the embedded decoder: this package beside `trl.RewardTrainer`, on the same files, rows and machine.

    python -m studies.speed.adapters --data HH_HELPFUL HH_HARMLESS --json adapters.json
    python -m studies.speed.adapters --tuning full --precision bfloat16 float32 --sides trl bt padded ...

As in `studies.speed.training` every side runs in a process of its own and trains on the same pairs. The decoder is
SmolLM2-135M-Instruct with its own tokenizer and chat template, its weights in float32, products in bfloat16 by default.
Adapters are those that `vrm train` puts in by default: rank 16 beside the query and value projections, and the head.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from studies.speed.inputs import Rows, read_rows
from studies.speed.measure import PRECISIONS, Alone, in_turn, say
from studies.speed.sides import Measurement, Setting, losses, run_trl, run_vrm
from studies.speed.tables import Table, finish, parser, quiet
from studies.speed.training import Orders, as_dicts, checks_table, comparison_table, orders, positions_table
from transformers import AutoConfig, AutoModelForCausalLM

from vrm.choices import EMBEDDED_DECODER
from vrm.model.checkpoint import load_tokenizer
from vrm.model.embedded import resolve_backbone

QUICK_LAYERS = 2

SIDES = {
    "trl": "TRL",
    "sorted": "TRL, sorted by length",
    "bt": "VRM, bt head",
    "vrm": "VRM, vrm head",
    "padded": "VRM, bt head, padded route",
}


def decoder_files(directory: Path, layers: int | None) -> Path:
    """Where every side loads the decoder from; with its first layers alone if so many are named."""
    source = resolve_backbone(EMBEDDED_DECODER)
    if layers is None:
        return Path(source)
    config = AutoConfig.from_pretrained(source, num_hidden_layers=layers)
    AutoModelForCausalLM.from_pretrained(source, config=config).save_pretrained(directory)
    load_tokenizer(source).save_pretrained(directory)
    return directory


def compare(options: argparse.Namespace, files: Path, rows: Rows) -> tuple[list[Table], dict[str, Any]]:
    """The sides in turn, for every way of tuning and precision, and what makes them comparable."""
    first, counts = positions_table(rows, options.batch)
    plan = orders(rows, options.batch, options.warmup, options.steps)
    tables, figures, equal = [first], dict[str, Any](), 1.0
    for tuning in options.tuning:
        for precision in options.precision:
            setting = Setting(
                precision=precision, batch=options.batch, warmup=options.warmup, limit=options.limit,
                adapters=tuning == "lora",
            )  # fmt: skip
            measured = in_turn(sides_of(files, plan, setting, options), options.rounds, say)
            equal = min([equal, *(run.shares for runs in measured.values() for run in runs)])
            name = setting.describe() if setting.adapters else f"full, {setting.describe()}"
            tables.append(comparison_table(f"Training, {name}", measured))
            figures[name] = as_dicts(measured)
    compared = Alone(options.quick)(losses, files, plan.random, Setting(batch=options.batch, limit=options.limit))
    tables.append(checks_table(compared, None, equal))
    return tables, {"positions": counts, **figures, "losses": compared, "tokenized_alike": equal}


def sides_of(
    files: Path, plan: Orders, setting: Setting, options: argparse.Namespace
) -> dict[str, Callable[[], Measurement]]:
    """TRL in both orders, this package's heads, and the padded route; those that are asked for."""
    alone = Alone(options.quick)
    sides = {
        "trl": partial(run_trl, files, plan.random, setting),
        "sorted": partial(run_trl, files, plan.grouped, setting),
        "bt": partial(run_vrm, files, plan.random, setting, "bt"),
        "vrm": partial(run_vrm, files, plan.random, setting, "vrm"),
        "padded": partial(run_vrm, files, plan.random, setting, "bt", "padded"),
    }
    return {SIDES[short]: partial(alone, sides[short]) for short in options.sides}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Options; `--quick` sets those of toy size."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--data", nargs="*", default=[], help="files of pairs; without, pairs are generated")
    options.add_argument("--rows", type=int, default=1000, help="pairs read, of which some are trained on")
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--steps", type=int, default=6, help="timed steps of every side")
    options.add_argument("--warmup", type=int, default=2, help="steps before them")
    options.add_argument("--limit", type=int, default=1024, help="tokens of prompt and completion")
    options.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["bfloat16"])
    options.add_argument("--tuning", nargs="+", choices=("lora", "full"), default=["lora"])
    options.add_argument("--sides", nargs="+", choices=SIDES, default=["trl", "sorted", "bt", "vrm"])
    options.add_argument("--layers", type=int, help="of the decoder, the first ones [default: all 30]")
    chosen = options.parse_args(given)
    if chosen.quick:
        vars(chosen).update(rows=24, batch=2, steps=2, warmup=1, rounds=1, limit=256, layers=QUICK_LAYERS)
        vars(chosen).update(precision=["float32"])
    return chosen


def main() -> None:
    """Measure and print."""
    options = arguments()
    quiet()
    with tempfile.TemporaryDirectory() as directory:
        files = decoder_files(Path(directory), options.layers)
        rows = read_rows(options.data, options.rows, options.limit, tokenizer=load_tokenizer(str(files)))
        say(f"{EMBEDDED_DECODER}, {options.layers or 'all'} layers; {len(rows)} pairs: {rows.source}")
        tables, figures = compare(options, files, rows)
    tables[0].notes.append(f"SmolLM2-135M-Instruct out of a file of 4 bits, {options.layers or 30} of its 30 layers.")
    finish(options, tables, {**figures, "layers": options.layers})


if __name__ == "__main__":
    main()
