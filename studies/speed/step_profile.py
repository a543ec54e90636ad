"""Where the time of a training step goes, padded and packed, and how near it is to what the machine can do.

    python -m studies.speed.step_profile --data HH_HELPFUL HH_HARMLESS --json profile.json

Steps of both routes on the same pairs under `torch.profiler`, every operation counted once, by its own time. The floor
is the floating-point operations of the step, counted from the shapes, over the rate of square matrix products on this
machine in the same precision. Step times are taken without the profiler.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from studies.speed.inputs import (
    TOY,
    DecoderShape,
    Rows,
    bare_reward_model,
    benchmark_tokenizer,
    read_rows,
    reward_model,
)
from studies.speed.measure import PRECISIONS, Spread, in_turn, matrix_rate, say, timed
from studies.speed.steps import HEAD, LOADING, OPTIMIZER, ROUTES, Stepper
from studies.speed.tables import Table, finish, parser, quiet
from torch.profiler import ProfilerActivity, profile

from vrm.data.tokenized import TokenizedJudgment
from vrm.model import VRMConfig
from vrm.model.checkpoint import load_tokenizer

WHOLE_BATCH = 1 << 30

GROUPS = (
    "matrix products", "attention", "norms, activations, elementwise", "copies and casts", "embedding", "head and loss",
    "optimizer", "data loading", "other",
)  # fmt: skip
_BY_NAME = {
    "matrix products": (
        "aten::mm", "aten::addmm", "aten::bmm", "aten::linear", "aten::matmul", "mkldnn::", "aten::mkldnn",
    ),
    "embedding": ("aten::embedding", "aten::index_put", "aten::_index_put_impl", "aten::index_select"),
    "copies and casts": (
        "aten::copy_", "aten::_to_copy", "aten::to", "aten::cat", "aten::clone", "aten::contiguous", "aten::split",
        "aten::slice_backward", "aten::fill_", "aten::zero_", "aten::narrow", "aten::empty", "aten::zeros",
    ),
}  # fmt: skip


class Grouping:
    """Assigns the events of a profile to `GROUPS`; what is inside a region, or whose forward was, belongs to it."""

    def __init__(self, events: Sequence[Any]) -> None:
        self.events = events
        self._head_numbers = {event.sequence_nr for event in events if event.sequence_nr >= 0 and _inside(event, HEAD)}

    def of(self, event: Any) -> str:
        """Group of one event."""
        for ancestor in _with_ancestors(event):
            if ancestor.name == LOADING:
                return "data loading"
            if ancestor.name == OPTIMIZER:
                return "optimizer"
            if ancestor.name == HEAD or self._is_backward_of_head(ancestor):
                return "head and loss"
            if "attention" in ancestor.name or "ScaledDotProduct" in ancestor.name:
                return "attention"
            if ancestor.name.startswith("aten::embedding"):
                return "embedding"
        return _by_name(event.name)

    def _is_backward_of_head(self, event: Any) -> bool:
        return event.name.startswith("autograd::engine::evaluate_function") and event.sequence_nr in self._head_numbers

    def milliseconds(self, steps: int) -> dict[str, float]:
        """Of each group a step."""
        sums: Counter[str] = Counter()
        for event in self.events:
            sums[self.of(event)] += event.self_cpu_time_total / 1000 / steps
        return {group: sums[group] for group in GROUPS}


def _with_ancestors(event: Any) -> Any:
    while event is not None:
        yield event
        event = event.cpu_parent


def _inside(event: Any, region: str) -> bool:
    return any(ancestor.name == region for ancestor in _with_ancestors(event))


def _by_name(name: str) -> str:
    for group, prefixes in _BY_NAME.items():
        if name.startswith(prefixes):
            return group
    return "norms, activations, elementwise" if name.startswith("aten::") else "other"


def needed_scores(items: Sequence[TokenizedJudgment], route: str) -> tuple[int, int]:
    """Token positions of a batch by a route, and (query, key) pairs of one head in one layer, causal."""
    if route == "padded":
        rows = [len(item.prompt) + len(ids) for item in items for ids in item.completions]
        longest = max(rows)
        return len(rows) * longest, len(rows) * longest * (longest + 1) // 2
    positions = scores = 0
    for item in items:
        prompt, ends = len(item.prompt), [len(ids) for ids in item.completions]
        positions += prompt + sum(ends)
        scores += prompt * (prompt + 1) // 2 + sum(end * prompt + end * (end + 1) // 2 for end in ends)
    return positions, scores


def step_operations(
    shape: DecoderShape, batches: Sequence[Sequence[TokenizedJudgment]], route: str, frozen: bool = False
) -> float:
    """Floating-point operations of forward and backward, a batch: a backward pass is two forward passes.

    Weights that are `frozen` need no gradient, so that matrices are two passes and attention three. Head, adapters,
    norms and optimizer are left out: together a few hundredths at most.
    """
    operations = 0.0
    for items in batches:
        positions, scores = needed_scores(items, route)
        operations += (2.0 if frozen else 3.0) * shape.forward_operations(positions, 0)
        operations += 3.0 * shape.forward_operations(0, scores)
    return operations / len(batches)


def batches_of(rows: Rows, batch: int, steps: int) -> list[list[TokenizedJudgment]]:
    """The first rows in batches."""
    if len(rows) < batch * steps:
        raise SystemExit(f"{len(rows)} pairs are too few for {steps} steps of {batch}")
    return [rows.tokenized[first : first + batch] for first in range(0, batch * steps, batch)]


def real_stepper(backbone: str, route: str, precision: str, options: argparse.Namespace) -> Stepper:
    """A decoder by its name or directory, with adapters or all of its weights trained."""
    model = reward_model(backbone, "vrm", options.limit)
    return Stepper.of(model, route, precision, WHOLE_BATCH, adapters=options.tuning == "lora")


def make_stepper(shape: DecoderShape, route: str, precision: str, limit: int) -> Stepper:
    """A model of random weights."""
    tokenizer = benchmark_tokenizer()
    torch.manual_seed(0)
    config = VRMConfig(backbone_config=shape.config(tokenizer), num_features=8, max_input_tokens=limit)
    config.pad_token_id = tokenizer.pad_token_id
    return Stepper.of(bare_reward_model(config, torch.float32, "cpu"), route, precision, WHOLE_BATCH)


def profile_route(stepper: Stepper, batches: Sequence[Sequence[TokenizedJudgment]]) -> dict[str, float]:
    """Milliseconds of each group a step."""
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiled:
        for items in batches:
            stepper.step(items)
    return Grouping(profiled.events()).milliseconds(len(batches))


def measure(
    shape: DecoderShape, batches: list[list[TokenizedJudgment]], precision: str, options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Both routes in one precision: groups, step times of every round, operations."""
    steppers = {
        route: real_stepper(options.backbone, route, precision, options)
        if options.backbone
        else make_stepper(shape, route, precision, options.limit)
        for route in ROUTES
    }
    for stepper in steppers.values():
        stepper.step(batches[0])

    def mean_seconds(route: str) -> float:
        return timed(lambda: [steppers[route].step(items) for items in batches]) / len(batches)

    seconds = in_turn({route: lambda route=route: mean_seconds(route) for route in ROUTES}, options.rounds)
    return {
        route: {
            "groups": profile_route(steppers[route], batches),
            "seconds": seconds[route],
            "operations": step_operations(shape, batches, route, frozen=options.tuning == "lora"),
            "positions": sum(needed_scores(items, route)[0] for items in batches) / len(batches),
        }
        for route in ROUTES
    }


def profile_table(precision: str, profiles: dict[str, dict[str, Any]]) -> Table:
    """Milliseconds and shares by group."""
    table = Table(
        f"A training step by what it does, {precision}", ["what", "padded, ms", "share", "packed, ms", "share"]
    )
    totals = {route: sum(one["groups"].values()) for route, one in profiles.items()}
    for group in GROUPS:
        cells = []
        for route, one in profiles.items():
            cells += [f"{one['groups'][group]:,.1f}", f"{one['groups'][group] / totals[route]:.0%}"]
        table.add(group, *cells)
    cells = []
    for route in profiles:
        cells += [f"{totals[route]:,.1f}", "100%"]
    table.add("all, under the profiler", *cells)
    table.notes = ["Head and loss, and attention, with their backward pass. Copies and casts hold those of autocast."]
    return table


def floor_table(profiles: dict[str, dict[str, dict[str, Any]]], rates: dict[str, float]) -> Table:
    """Step times against the floor."""
    columns = [
        "precision, route",
        "positions",
        "GFLOP",
        "floor, ms",
        "step, ms",
        "share of the floor reached",
        "x padded",
    ]
    table = Table("Floor of a training step", columns)
    for precision, routes in profiles.items():
        for route, one in routes.items():
            floor = one["operations"] / rates[precision]
            reached = Spread.of(floor / value for value in one["seconds"])
            faster = Spread.of_ratios(routes["padded"]["seconds"], one["seconds"])
            table.add(
                f"{precision}, {route}", f"{one['positions']:,.0f}", f"{one['operations'] / 1e9:,.1f}",
                f"{1000 * floor:,.1f}", Spread.of(1000 * value for value in one["seconds"]).text(1),
                f"{reached.median:.0%}", "-" if route == "padded" else faster.text(),
            )  # fmt: skip
    shown = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in rates.items())
    table.notes = [
        f"Matrix rate: {shown} (products of 2,048 x 2,048). Operations: matrices and causal attention, forward and "
        "backward, of the positions that the route computes, padding included.",
    ]
    return table


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Options; `--quick` sets those of toy size."""
    options = parser(__doc__)
    options.add_argument("--data", nargs="*", default=[], help="files of pairs; without, pairs are generated")
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--steps", type=int, default=6)
    options.add_argument("--limit", type=int, default=1024)
    options.add_argument("--backbone", help="a decoder, by name or directory, in the place of random weights")
    options.add_argument("--tuning", choices=("full", "lora"), default="full", help="lora needs --backbone")
    options.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    chosen = options.parse_args(given)
    if chosen.tuning == "lora" and not chosen.backbone:
        options.error("--tuning lora needs --backbone")
    if chosen.quick:
        vars(chosen).update(batch=2, steps=2, rounds=1, limit=256, precision=["float32"])
    return chosen


def main() -> None:
    """Measure and print."""
    options = arguments()
    quiet()
    shape, tokenizer = TOY if options.quick else DecoderShape(), None
    if options.backbone:
        shape, tokenizer = DecoderShape.of(options.backbone), load_tokenizer(options.backbone)
    rows = read_rows(options.data, 4 * options.batch * options.steps, options.limit, tokenizer=tokenizer)
    batches = batches_of(rows, options.batch, options.steps)
    size, seconds = (128, 0.02) if options.quick else (2048, 1.0)
    rates = {precision: matrix_rate(precision, size=size, seconds=seconds) for precision in options.precision}
    profiles = {}
    for precision in options.precision:
        profiles[precision] = measure(shape, batches, precision, options)
        say(f"{precision} done")
    tables = [floor_table(profiles, rates), *(profile_table(name, one) for name, one in profiles.items())]
    what = f"{options.backbone}, {options.tuning}" if options.backbone else shape.describe()
    tables[0].notes.append(f"{what}; batches of {options.batch} pairs: {rows.source}.")
    finish(options, tables, {"matrix_rate": rates, "profiles": profiles})


if __name__ == "__main__":
    main()
