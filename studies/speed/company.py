"""Beside other work: scoring and training while busy processes, which this script starts, share the cores.

    python -m studies.speed.company --data HH_HELPFUL HH_HARMLESS --json company.json

Scoring: the engine's way over packed rows beside the bare backbone over the same tokenized texts, padded in passes of
similar length. Both run in one process, in turn. Training: this package's trainer beside TRL's, each in a process
alone, as in `studies.speed.training`. A neighbour is a process of two threads that never wait. The waiting policy is
that of OpenMP: by default its threads spin for some milliseconds before they sleep, `brief` for microseconds, as
commands of the package do, and `passive` lets them sleep at once.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from studies.speed.busy import neighbours, variables
from studies.speed.inputs import TOY, DecoderShape, Rows, WordSource, judgment_of, read_rows, reward_model, save_decoder
from studies.speed.measure import PRECISIONS, Alone, Spread, autocast, in_turn, say, timed
from studies.speed.sides import Measurement, Setting, run_trl, run_vrm
from studies.speed.tables import Table, finish, parser, quiet
from studies.speed.training import as_dicts, orders

from vrm.data.chat import ChatTokenizer, ensure_chat_template
from vrm.data.schema import Judgment
from vrm.data.tokenized import JudgmentTokenizer
from vrm.inference.extraction import ExtractionOptions, FeatureExtractor
from vrm.model.checkpoint import load_tokenizer
from vrm.model.packing import padded_passes
from vrm.model.padding import pad_right
from vrm.threads import SPINS

ENGINE, BARE = "engine", "bare padded backbone"
POLICIES = {
    "default": {},
    "brief": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": SPINS},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"},
}
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
LOADS = {
    "short pairs, encoder": ("embedded", "short"),
    "short pairs, decoder": (None, "short"),
    "long trees, decoder": (None, "long"),
}
COMPANY = {0: "alone", 1: "beside one", 2: "beside two"}
BUDGET = 8192


def texts(name: str, count: int) -> list[Judgment]:
    """Judgments of a workload: pairs of short texts, or one long prompt with many completions."""
    words = WordSource(0)
    if name.startswith("short"):
        return [judgment_of(words, words.lognormal(30, 0.6), [words.lognormal(40, 0.6) for _ in range(2)])
                for _ in range(count)]  # fmt: skip
    return [judgment_of(words, 900, [words.lognormal(75, 0.4) for _ in range(16)]) for _ in range(max(count // 80, 1))]


def scoring(backbone: str, workload: str, count: int, rounds: int, precision: str) -> dict[str, list[float]]:
    """Seconds of the engine and of the bare backbone on the same texts, in turn; the first round warms up."""
    quiet()
    model = reward_model(backbone, "bt", 2048 if backbone != "embedded" else 512).eval()
    tokenizer = load_tokenizer(backbone)
    ensure_chat_template(tokenizer, model.config.backbone_kind)
    items = list(
        JudgmentTokenizer(ChatTokenizer(tokenizer), model.config.max_input_tokens).many(texts(workload, count))
    )
    rows = [item.prompt + ids for item in items for ids in item.completions]
    if model.config.backbone_kind == "encoder":
        # The head reads prompts alone too; a decoder gives them with the completions.
        rows += [item.prompt for item in items]
    batches = [
        pad_right([rows[number] for number in numbers])
        for numbers in padded_passes([(1, len(ids)) for ids in rows], BUDGET)
    ]

    def engine() -> None:
        FeatureExtractor(model, 0, ExtractionOptions(precision, BUDGET)).table(items)

    @torch.inference_mode()
    def bare() -> None:
        with autocast(precision):
            for ids, mask in batches:
                model.backbone(input_ids=ids, attention_mask=mask.long())

    sides = {ENGINE: partial(timed, engine), BARE: partial(timed, bare)}
    return {name: values[1:] for name, values in in_turn(sides, rounds + 1).items()}


def in_company(call: Callable[[], Any], policy: str, busy: int) -> Any:
    """A call while so many neighbours compute, its process started with a policy of waiting."""
    with neighbours(busy), variables(POLICIES[policy]):
        return call()


def scoring_table(measured: dict[str, dict[str, dict[str, list[float]]]], precision: str) -> Table:
    """One row a workload and policy: seconds, and bare over engine for each number of neighbours."""
    first = next(iter(measured.values()))
    columns = ["texts, waiting"]
    for company in first:
        columns += [f"{company}: engine, s", "bare, s", "bare / engine"]
    table = Table(f"Scoring beside busy processes of two threads each, {precision}", columns)
    for name, by_company in measured.items():
        cells = []
        for seconds in by_company.values():
            cells += [Spread.of(seconds[side]).text(1) for side in (ENGINE, BARE)]
            cells.append(Spread.of_ratios(seconds[BARE], seconds[ENGINE]).text())
        table.add(name, *cells)
    table.notes = [
        "Median (lowest..highest) of the rounds; above 1 the engine is the faster one, ratios within a round."
    ]
    return table


def training_table(measured: dict[str, dict[str, list[Measurement]]], precision: str) -> Table:
    """One row a policy and number of neighbours."""
    columns = ["waiting, company", "TRL, pairs/s", "TRL sorted, pairs/s", "VRM, pairs/s", "x TRL", "x TRL sorted"]
    table = Table(f"Training beside busy processes of two threads each, {precision}, `vrm` head", columns)
    for name, sides in measured.items():
        trl, grouped, ours = ([run.pairs_a_second for run in runs] for runs in sides.values())
        speeds = [Spread.of(values).text() for values in (trl, grouped, ours)]
        table.add(name, *speeds, *(Spread.of_ratios(ours, other).text() for other in (trl, grouped)))
    return table


def measure_scoring(options: argparse.Namespace, files: Path) -> dict[str, Any]:
    """{workload, policy: {company: {side: seconds}}}"""
    alone, measured = Alone(options.quick), dict[str, Any]()
    for name in options.loads:
        backbone, workload = LOADS[name]
        for policy in options.waiting:
            for busy in options.neighbours:
                call = partial(
                    alone, scoring, backbone or str(files), workload, options.texts, options.rounds, options.precision
                )  # fmt: skip
                by_company = measured.setdefault(f"{name}, {policy}", {})
                by_company[COMPANY[busy]] = in_company(call, policy, busy)
                say(f"{name}, {policy}, {COMPANY[busy]}")
    return measured


def measure_training(options: argparse.Namespace, files: Path, rows: Rows) -> dict[str, Any]:
    """{policy, company: {side: measurements}}"""
    setting = Setting(precision=options.precision, warmup=options.warmup, batch=options.batch, limit=options.limit)
    plan = orders(rows, options.batch, options.warmup, options.steps)
    alone, measured = Alone(options.quick), dict[str, Any]()
    for policy in options.waiting:
        for busy in options.neighbours[:2]:
            sides = {
                "TRL": partial(alone, run_trl, files, plan.random, setting),
                "TRL, sorted by length": partial(alone, run_trl, files, plan.grouped, setting),
                "VRM": partial(alone, run_vrm, files, plan.random, setting, "vrm"),
            }
            call = partial(in_turn, sides, options.training_rounds, say)
            measured[f"{policy}, {COMPANY[busy]}"] = in_company(call, policy, busy)
    return measured


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Options; `--quick` sets those of toy size."""
    options = parser(__doc__, rounds=5)
    options.add_argument(
        "--data", nargs="*", default=[], help="files of pairs to train on; without, they are generated"
    )
    options.add_argument("--rows", type=int, default=4000, help="pairs read, of which some are trained on")
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--steps", type=int, default=12, help="timed steps of every side")
    options.add_argument("--warmup", type=int, default=3, help="steps before them")
    options.add_argument("--limit", type=int, default=1024, help="tokens of prompt and completion in training")
    options.add_argument("--training-rounds", type=int, default=2, help="repetitions of training; 0 leaves it out")
    options.add_argument("--texts", type=int, default=80, help="short pairs to score")
    options.add_argument("--neighbours", type=int, nargs="+", choices=COMPANY, default=list(COMPANY))
    options.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS), help="texts to score, and by what")
    options.add_argument("--waiting", nargs="+", choices=POLICIES, default=list(POLICIES), help="policies of OpenMP")
    options.add_argument("--precision", choices=PRECISIONS, default="float32")
    options.add_argument("--avx2", action="store_true", help="leave AVX-512 and AMX unused, as older processors do")
    chosen = options.parse_args(given)
    if chosen.quick:
        vars(chosen).update(rows=32, batch=4, steps=2, warmup=1, limit=256, texts=2, rounds=1, training_rounds=1)
        vars(chosen).update(neighbours=[0, 1], waiting=["default"])
    return chosen


def main() -> None:
    """Measure and print."""
    options = arguments()
    quiet()
    # Read by the libraries when they first compute, here and in the processes started from here.
    os.environ.update(AVX2 if options.avx2 else {})
    tables, figures = list[Table](), dict[str, Any]()
    with tempfile.TemporaryDirectory() as directory:
        files = save_decoder(TOY if options.quick else DecoderShape(), directory)
        figures["scoring"] = measure_scoring(options, files)
        tables.append(scoring_table(figures["scoring"], options.precision))
        if options.training_rounds:
            rows = read_rows(options.data, options.rows, options.limit)
            measured = measure_training(options, files, rows)
            tables.append(training_table(measured, options.precision))
            figures["training"] = {name: as_dicts(sides) for name, sides in measured.items()}
    finish(options, tables, figures)


if __name__ == "__main__":
    main()
