"""Feature extraction beside the bare backbone, on packed and on padded rows.

    python -m studies.speed.extraction --data HH_HELPFUL HH_HARMLESS --json extraction.json

`Extraction` is what `vrm train` with frozen features waits for: tokenizing, packing, the backbone's passes, reading the
hidden states, keeping them in memory. `Bare` repeats the same calls of the backbone, and nothing else, so its time is
the bound for that route. Every side has the same pairs of text. The default backbone is the embedded decoder.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from studies.speed.inputs import Rows, read_rows, reward_model
from studies.speed.measure import CLOCKS, PRECISIONS, Spread, autocast, in_turn, say, timed
from studies.speed.routes import take_route
from studies.speed.tables import Table, add_clock, finish, parser, quiet

from vrm.choices import EMBEDDED_DECODER
from vrm.data.chat import ChatTokenizer, ensure_chat_template
from vrm.data.tokenized import JudgmentTokenizer
from vrm.inference.extraction import ExtractionOptions, FeatureExtractor
from vrm.model import VRMForSequenceClassification
from vrm.model.checkpoint import load_tokenizer

ROUTES = ("packed", "padded")


def extract(model: VRMForSequenceClassification, tokenizer: Any, rows: Rows, precision: str, limit: int) -> None:
    """Features of texts, from texts to rows of a store in memory."""
    items = list(JudgmentTokenizer(ChatTokenizer(tokenizer), limit, "truncate").many(rows.judgments))
    FeatureExtractor(model, int(tokenizer.pad_token_id or 0), ExtractionOptions(precision)).table(items)


def calls_of(model: VRMForSequenceClassification, run: Callable[[], None]) -> list[dict[str, Any]]:
    """Arguments of every call of the backbone while something runs."""
    calls: list[dict[str, Any]] = []

    def keep(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        assert not given
        calls.append(named)

    handle = model.backbone.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        run()
    finally:
        handle.remove()
    return calls


@torch.inference_mode()
def bare(model: VRMForSequenceClassification, calls: Sequence[dict[str, Any]], precision: str) -> None:
    """The same calls again, and nothing else."""
    with autocast(precision):
        for named in calls:
            model.backbone(**named)


def sides_of(
    backbone: str, rows: Rows, precision: str, options: argparse.Namespace
) -> tuple[dict[str, Callable[[], float]], dict[str, int]]:
    """Seconds of every side, and token positions of each route."""
    tokenizer = load_tokenizer(backbone)
    sides, positions = dict[str, Callable[[], float]](), dict[str, int]()
    for route in ROUTES:
        model = reward_model(backbone, "bt", options.limit).eval()
        ensure_chat_template(tokenizer, model.config.backbone_kind)
        if route != "packed":
            take_route(model, route)
        elif model.packing_problem:
            raise SystemExit(f"the backbone's rows are not packed: {model.packing_problem}")
        run = partial(extract, model, tokenizer, rows, precision, options.limit)
        calls = calls_of(model, run)
        positions[route] = sum(named["input_ids"].numel() for named in calls)
        clock = CLOCKS[options.clock]
        sides[f"extraction, {route}"] = partial(timed, run, clock=clock)
        sides[f"bare, {route}"] = partial(timed, partial(bare, model, calls, precision), clock=clock)
    return sides, positions


def comparison_table(
    title: str, seconds: dict[str, list[float]], rows: Rows, positions: dict[str, int]
) -> Table:  # fmt: skip
    """One row a side."""
    columns = ["side", "pairs/s", "tokens/s", "positions a pair", "of the bare calls", "x padded"]
    table = Table(f"Extraction, {title}", columns)
    lengths = rows.lengths()
    tokens = int(2 * lengths[:, 0].sum() + lengths[:, 1:].sum())
    for name, values in seconds.items():
        kind, _, route = name.partition(", ")
        share = Spread.of_ratios(seconds[f"bare, {route}"], values).text() if kind == "extraction" else "-"
        faster = "-" if route == "padded" else Spread.of_ratios(seconds[f"{kind}, padded"], values).text()
        table.add(
            name, Spread.of(len(rows) / value for value in values).text(),
            f"{Spread.of(tokens / value for value in values).median:,.0f}",
            f"{positions[route] / len(rows):.0f}", share, faster,
        )  # fmt: skip
    table.notes = [
        "Median (lowest..highest) of the rounds; ratios are within a round. tokens/s: tokens of the pairs, a prompt "
        "counted with each completion, on every side.",
        f"{len(rows)} pairs: {rows.source}.",
    ]
    return table


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Options; `--quick` sets those of toy size."""
    options = parser(__doc__)
    options.add_argument("--data", nargs="*", default=[], help="files of pairs; without, pairs are generated")
    options.add_argument("--backbone", default=EMBEDDED_DECODER, help="a name or directory")
    options.add_argument("--rows", type=int, default=60, help="pairs read")
    options.add_argument("--limit", type=int, default=1024, help="tokens of prompt and completion")
    options.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    add_clock(options)
    chosen = options.parse_args(given)
    if chosen.quick:
        vars(chosen).update(rows=4, rounds=1, limit=256, precision=["float32"])
    return chosen


def main() -> None:
    """Measure and print."""
    options = arguments()
    quiet()
    rows = read_rows(options.data, options.rows, options.limit, tokenizer=load_tokenizer(options.backbone))
    tables, figures = list[Table](), dict[str, Any]()
    for precision in options.precision:
        sides, positions = sides_of(options.backbone, rows, precision, options)
        seconds = in_turn(sides, options.rounds)
        tables.append(comparison_table(f"{precision}, {options.clock} time", seconds, rows, positions))
        figures[precision] = {"seconds": seconds, "positions": positions, "pairs": len(rows)}
        say(f"{precision} done")
    finish(options, tables, figures)


if __name__ == "__main__":
    main()
