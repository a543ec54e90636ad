"""Training throughput on one CUDA card: decoders of published shapes with random weights, in bfloat16.

    python -m studies.speed.gpu --json gpu.json          # ends by itself within 10 minutes

Qwen3-0.6B (float32 weights under autocast) by the packed route, which runs FlexAttention on CUDA, by the padded one,
and by TRL; Llama-3.1-8B (bfloat16 weights and optimizer states, gradient checkpointing) by both routes. A step is of 32
pairs on every side: packed rows of up to the token budget, or padded passes (TRL: batches) of 8 pairs. Model FLOP
utilization: operations of forward and backward, counted from the shapes, over time and over the measured rate of square
matrix products; operations on padding count for the route that computes them, those of checkpointing never.
Without a GPU the script says so and stops; `--quick` runs toy shapes on any device, as a test does.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from studies.speed.inputs import (
    TOY,
    DecoderShape,
    Rows,
    bare_reward_model,
    benchmark_tokenizer,
    read_rows,
    save_decoder,
)
from studies.speed.measure import PeakMemory, matrix_rate, say, synchronize
from studies.speed.sides import Setting, run_trl
from studies.speed.step_profile import needed_scores
from studies.speed.steps import Stepper
from studies.speed.tables import Table, finish, parser, quiet
from transformers import LlamaConfig, PreTrainedConfig, Qwen3Config

from vrm.errors import in_one_line
from vrm.model import VRMConfig

QWEN3_600M = DecoderShape(
    layers=28, hidden=1024, intermediate=3072, heads=16, kv_heads=8, head_dim=128, vocabulary=151_936, positions=40_960
)
LLAMA_8B = DecoderShape(
    layers=32, hidden=4096, intermediate=14_336, heads=32, kv_heads=8, head_dim=128, vocabulary=128_256,
    positions=131_072,
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A model on a route.

    Attributes:
        name: of the model.
        shape: its size.
        route: `packed`, `padded` or `TRL`.
        llama: Llama's architecture, not Qwen3's.
        low_weights: bfloat16 weights and optimizer states.
        checkpointing: activations are computed anew.
    """

    name: str
    shape: DecoderShape
    route: str
    llama: bool = False
    low_weights: bool = False
    checkpointing: bool = False

    def config(self) -> PreTrainedConfig:
        """As `transformers` takes it."""
        qwen: Qwen3Config = self.shape.config(benchmark_tokenizer())
        if not self.llama:
            return qwen
        return LlamaConfig(
            num_hidden_layers=qwen.num_hidden_layers, hidden_size=qwen.hidden_size, vocab_size=qwen.vocab_size,
            intermediate_size=qwen.intermediate_size, num_attention_heads=qwen.num_attention_heads,
            num_key_value_heads=qwen.num_key_value_heads, head_dim=qwen.head_dim, pad_token_id=qwen.pad_token_id,
            max_position_embeddings=qwen.max_position_embeddings, rms_norm_eps=1e-5, bos_token_id=None,
            rope_parameters={
                "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
            },
        )  # fmt: skip


JOBS = [
    Job("Qwen3-0.6B", QWEN3_600M, "packed"),
    Job("Qwen3-0.6B", QWEN3_600M, "padded"),
    Job("Llama-3.1-8B", LLAMA_8B, "packed", llama=True, low_weights=True, checkpointing=True),
    Job("Llama-3.1-8B", LLAMA_8B, "padded", llama=True, low_weights=True, checkpointing=True),
    # Last, because its steps cannot be stopped when the time is up.
    Job("Qwen3-0.6B", QWEN3_600M, "TRL"),
]
TOY_LLAMA = replace(TOY, kv_heads=1)
TOY_JOBS = [
    Job("toy Qwen3", TOY, "packed"),
    Job("toy Qwen3", TOY, "padded"),
    Job("toy Qwen3", TOY, "TRL"),
    Job("toy Llama", TOY_LLAMA, "packed", llama=True, low_weights=True, checkpointing=True),
    Job("toy Llama", TOY_LLAMA, "padded", llama=True, low_weights=True, checkpointing=True),
]


@dataclass(frozen=True)
class Timing:
    """Timed steps of a job; sums over them."""

    steps: int
    seconds: float
    pairs: int
    tokens: int
    positions: int
    operations: float
    peak_bytes: int

    def utilization(self, rate: float) -> float:
        """Of the measured matrix rate."""
        return self.operations / self.seconds / rate


def counted(job: Job, items: Sequence[Any], micro: int) -> tuple[int, float]:
    """Positions of a step, and operations of its forward and backward passes."""
    route, size = ("packed", len(items)) if job.route == "packed" else ("padded", micro)
    counts = [needed_scores(items[first : first + size], route) for first in range(0, len(items), size)]
    operations = sum(job.shape.forward_operations(positions, scores) for positions, scores in counts)
    return sum(positions for positions, _ in counts), 3.0 * operations


def run_job(job: Job, rows: Rows, options: argparse.Namespace, until: float) -> Timing:
    """Steps after a warm-up, until `options.steps` or the time is up."""
    if job.route == "TRL":
        return run_trl_job(job, rows, options)
    dtype = torch.bfloat16 if job.low_weights else torch.float32
    config = VRMConfig(backbone_config=job.config(), num_features=8, max_input_tokens=options.limit)
    torch.manual_seed(0)
    memory = PeakMemory(options.device)
    memory.start()
    model = bare_reward_model(config, dtype, options.device)
    if job.checkpointing:
        model.gradient_checkpointing_enable()
    size = options.token_budget if job.route == "packed" else options.micro
    stepper = Stepper.of(model, job.route, "bfloat16", size, options.device)
    batches = [rows.tokenized[first : first + options.batch] for first in range(0, len(rows), options.batch)]
    for items in batches[: options.warmup]:
        stepper.step(items)
        if time.perf_counter() > until:
            raise RuntimeError("the warm-up took all of the time")
    synchronize(options.device)
    started, done = time.perf_counter(), 0
    for items in batches[options.warmup : options.warmup + options.steps]:
        stepper.step(items)
        synchronize(options.device)
        done += 1
        if time.perf_counter() > until:
            break
    seconds = time.perf_counter() - started
    timed_batches = batches[options.warmup : options.warmup + done]
    return summed(job, timed_batches, seconds, memory.bytes(), options.micro)


def summed(job: Job, batches: Sequence[Sequence[Any]], seconds: float, peak_bytes: int, micro: int) -> Timing:
    """Counts of the timed batches."""
    counts = [counted(job, items, micro) for items in batches]
    tokens = sum(len(item.prompt) + len(ids) for items in batches for item in items for ids in item.completions)
    return Timing(
        len(batches), seconds, sum(map(len, batches)), tokens, sum(positions for positions, _ in counts),
        sum(operations for _, operations in counts), peak_bytes,
    )  # fmt: skip


def run_trl_job(job: Job, rows: Rows, options: argparse.Namespace) -> Timing:
    """TRL's trainer on the same rows, batches, precision and card."""
    setting = Setting(
        "bfloat16", job.checkpointing, options.batch, options.warmup, options.limit, device=options.device
    )
    few = rows.take(range(options.batch * (options.warmup + options.steps)))
    with tempfile.TemporaryDirectory() as directory:
        before = PeakMemory(options.device)
        before.start()
        measured = run_trl(save_decoder(job.shape, directory), few, setting, options.batch // options.micro)
    timed_rows = few.tokenized[options.batch * options.warmup :]
    batches = [timed_rows[first : first + options.batch] for first in range(0, len(timed_rows), options.batch)]
    return summed(job, batches, measured.seconds, before.bytes(), options.micro)


def attempt(job: Job, run: Callable[[], Timing], device: str) -> Timing | str:
    """A job's figures, or in words why it has none."""
    try:
        return run()
    except Exception as error:  # out of memory, a kernel that does not compile, a missing package: others go on
        return in_one_line(error)
    finally:
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()


def results_table(outcomes: list[tuple[Job, Timing | str]], rate: float) -> Table:
    """One row a job."""
    columns = ["model, route", "steps", "pairs/s", "tokens/s", "positions a pair", "utilization", "peak GiB"]
    table = Table("Training on one card, bfloat16", columns)
    for job, one in outcomes:
        name = f"{job.name}, {job.route}"
        if isinstance(one, str):
            table.add(name, *["-"] * (len(columns) - 1))
            table.notes.append(f"{name}: {one}.")
            continue
        table.add(
            name, str(one.steps), f"{one.pairs / one.seconds:,.1f}", f"{one.tokens / one.seconds:,.0f}",
            f"{one.positions / one.pairs:.0f}", f"{one.utilization(rate):.1%}", f"{one.peak_bytes / 2**30:.1f}",
        )  # fmt: skip
    table.notes.append(
        f"Matrix rate: {rate / 1e12:,.2f} TFLOP/s in bfloat16. tokens/s count a prompt with each completion, on every "
        "side. Packed on CUDA is FlexAttention, padded and TRL are scaled_dot_product_attention."
    )
    return table


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Options; `--quick` sets those of toy size."""
    options = parser(__doc__)
    options.add_argument("--data", nargs="*", default=[], help="files of pairs; without, pairs are generated")
    options.add_argument("--batch", type=int, default=32, help="pairs a step")
    options.add_argument("--micro", type=int, default=8, help="pairs of a padded pass, ours and TRL's; divides --batch")
    options.add_argument("--steps", type=int, default=12)
    options.add_argument("--warmup", type=int, default=3)
    options.add_argument("--limit", type=int, default=1024)
    options.add_argument("--token-budget", type=int, default=16_384)
    options.add_argument("--minutes", type=float, default=9.0, help="no job but TRL's goes on after this")
    options.add_argument("--models", nargs="+", default=["Qwen3-0.6B", "Llama-3.1-8B"])
    chosen = options.parse_args(given)
    if chosen.quick:
        vars(chosen).update(batch=2, micro=1, steps=1, warmup=1, limit=256, token_budget=512)
    chosen.device = "cuda" if torch.cuda.is_available() else "cpu"
    return chosen


def measure(options: argparse.Namespace, rows: Rows) -> tuple[list[tuple[Job, Timing | str]], float]:
    """All jobs that the time allows."""
    end = time.perf_counter() + 60 * options.minutes
    size = 128 if options.quick else 8192
    rate = matrix_rate("bfloat16", options.device, size, 0.05 if options.quick else 2.0)
    jobs = TOY_JOBS if options.quick else [job for job in JOBS if job.name in options.models]
    outcomes: list[tuple[Job, Timing | str]] = []
    for place, job in enumerate(jobs):
        left = end - time.perf_counter()
        if left < 30 and not options.quick:
            outcomes.append((job, "not begun, the time is up"))
            continue
        until = time.perf_counter() + left / (len(jobs) - place)
        outcomes.append((job, attempt(job, partial(run_job, job, rows, options, until), options.device)))
        say(f"{job.name}, {job.route}: {outcomes[-1][1]}")
    return outcomes, rate


def main() -> None:
    """Measure and print."""
    options = arguments()
    quiet()
    if options.device == "cpu" and not options.quick:
        raise SystemExit("no CUDA device is visible: this benchmark needs one (--quick runs toy shapes on a CPU)")
    # Sizes vary from batch to batch: without it the allocator keeps many blocks of nearly the same size.
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    rows = read_rows(options.data, 2 * options.batch * (options.steps + options.warmup) + 16, options.limit)
    if len(rows) < options.batch * (options.steps + options.warmup):
        raise SystemExit(f"{len(rows)} pairs are too few for {options.steps} + {options.warmup} steps")
    outcomes, rate = measure(options, rows)
    table = results_table(outcomes, rate)
    if options.device == "cpu":
        table.notes.append("No GPU was visible: toy shapes on a CPU.")
    figures = {f"{job.name}, {job.route}": one if isinstance(one, str) else asdict(one) for job, one in outcomes}
    finish(options, [table], {"matrix_rate": rate, "device": options.device, "jobs": figures, "rows": rows.source})


if __name__ == "__main__":
    main()
