"""Does `torch.compile` pay on a CPU: for the head on frozen features, and for the backbone in packed training?

    python -m studies.speed.compiled --data HH_HELPFUL HH_HARMLESS --json compiled.json

Steps of the eager and of the compiled model on the same batches, in turn, the compiler's own time apart. Lengths change
with every packed batch, so the backbone is compiled with dynamic shapes; each batch is seen once before it is timed.
Break-even: steps after which the compiler's time has been won back.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from studies.speed.inputs import TOY, DecoderShape, read_rows
from studies.speed.measure import PRECISIONS, Spread, in_turn, say, timed
from studies.speed.step_profile import batches_of, make_stepper
from studies.speed.tables import Table, finish, parser, quiet
from transformers import BertConfig

from vrm.data.collate import TargetEncoder
from vrm.data.schema import Judgment
from vrm.model import VRMConfig, VRMForSequenceClassification
from vrm.train.compilation import compile_layers
from vrm.train.loss import TrainingLoss

EAGER, COMPILED = "eager", "compiled"


def head_step(width: int, pairs: int, backend: str, compiled: bool) -> Callable[[], None]:
    """A step of the `vrm` head on one batch of generated features."""
    torch.manual_seed(0)
    backbone = BertConfig(
        hidden_size=width, num_hidden_layers=1, num_attention_heads=4, intermediate_size=8, vocab_size=8
    )
    model = VRMForSequenceClassification(VRMConfig(backbone_config=backbone, num_features=8))
    prompts, completions = torch.randn(pairs, width), torch.randn(pairs, 2, width)
    judgment = Judgment(prompt="", completions=["a", "b"], preference=1.0)
    labels = TargetEncoder(tuple(model.config.objective_names))([judgment] * pairs)
    training_loss, prior = TrainingLoss(), model.score.prior_concentration
    optimizer = torch.optim.AdamW(model.score.parameters(), lr=1e-3, fused=True)
    forward: Any = torch.compile(model.forward, backend=backend) if compiled else model.forward

    def step() -> None:
        output = forward(prompt_features=prompts, completion_features=completions)
        training_loss.loss(training_loss.terms(output, labels, prior)).loss.mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def backbone_step(
    shape: DecoderShape, batches: Sequence[Any], precision: str, options: argparse.Namespace, compiled: bool
) -> Callable[[], None]:
    """Steps on all batches by the packed route; attention stays outside the compiled layers."""
    stepper = make_stepper(shape, "packed", precision, options.limit)
    passes = [stepper.passes(items) for items in batches]
    if compiled:
        compile_layers(stepper.model.backbone, options.backend)

    def steps() -> None:
        for items, collated in zip(batches, passes, strict=True):
            stepper.step_on(collated, len(items))

    return steps


def measure(make: Callable[[bool], Callable[[], None]], steps: int, rounds: int) -> dict[str, Any]:
    """Seconds a step of both, and of the compiled one's first call."""
    runs = {EAGER: make(False), COMPILED: make(True)}
    first = {name: timed(run) / steps for name, run in runs.items()}
    seconds = in_turn({name: partial(timed, run) for name, run in runs.items()}, rounds)
    per_step = {name: [value / steps for value in values] for name, values in seconds.items()}
    return {"first": first, "seconds": per_step, "steps": steps}


def add_row(table: Table, name: str, times: dict[str, Any]) -> None:
    """Times, their ratio, and when compiling has paid."""
    eager, compiled = times["seconds"][EAGER], times["seconds"][COMPILED]
    spent = (times["first"][COMPILED] - Spread.of(compiled).median) * times["steps"]
    won = Spread.of(eager).median - Spread.of(compiled).median
    steps = math.ceil(max(spent, 0.0) / won) if won > 0 else None
    table.add(
        name, Spread.of(1000 * value for value in eager).text(1), Spread.of(1000 * value for value in compiled).text(1),
        Spread.of_ratios(eager, compiled).text(), f"{spent:,.1f}", "never" if steps is None else f"{steps:,} steps",
    )  # fmt: skip


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Options; `--quick` sets those of toy size."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--data", nargs="*", default=[], help="files of pairs; without, pairs are generated")
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--steps", type=int, default=6)
    options.add_argument("--limit", type=int, default=1024)
    options.add_argument("--width", type=int, default=384, help="features of a text")
    options.add_argument("--pairs", type=int, default=1024, help="pairs of a batch of the head")
    options.add_argument("--backend", default="inductor", help="of torch.compile")
    options.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    chosen = options.parse_args(given)
    if chosen.quick:
        # Graphs are captured but run as they are: a C++ compiler takes longer than a test may.
        vars(chosen).update(backend="eager", precision=["float32"])
        vars(chosen).update(batch=2, steps=2, limit=256, width=8, pairs=4, rounds=1)
    return chosen


def main() -> None:
    """Measure and print."""
    options = arguments()
    quiet()
    # The compiler's own time is measured: what an earlier run left on disk must not count.
    torch.compiler.config.force_disable_caches = True
    shape = TOY if options.quick else DecoderShape()
    rows = read_rows(options.data, 4 * options.batch * options.steps, options.limit)
    batches = batches_of(rows, options.batch, options.steps)
    table = Table(
        "torch.compile on this CPU",
        ["step of", "eager, ms", "compiled, ms", "times faster", "compiler, s", "pays after"],
    )
    figures = {"head": measure(partial(head_step, options.width, options.pairs, options.backend), 1, options.rounds)}
    add_row(table, f"vrm head, {options.width} features, {options.pairs:,} pairs, float32", figures["head"])
    say("head done")
    for precision in options.precision:
        make = partial(backbone_step, shape, batches, precision, options)
        figures[precision] = measure(make, options.steps, options.rounds)
        add_row(table, f"decoder, packed, {options.batch} pairs, {precision}", figures[precision])
        say(f"{precision} done")
    table.notes = [
        "Backbone: every layer is compiled with dynamic shapes, attention over packed rows left out.",
        f"{shape.describe()}.",
    ]
    finish(options, [table], figures)


if __name__ == "__main__":
    main()
