"""How cost grows: pairs on frozen features, completions a prompt, sequence length, model size.

    python -m studies.speed.growth --plot growth.png --json growth.json
    python -m studies.speed.growth --only pairs --pairs 1000 10000 100000 1000000

Seconds and peak memory of: one epoch of head training on frozen features; one training step of the decoder on one
prompt with more and more completions; one on a single pair of longer and longer rows; one on the same pairs with larger
and larger decoders. The last three by the packed route, forward, backward and optimizer, best of the rounds. The slope
is that of the last two points on logarithmic axes: 1 is proportional.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from studies.speed.curves import Curve, Point, plot_curves
from studies.speed.inputs import TOY, DecoderShape, WordSource, bare_reward_model, benchmark_tokenizer, judgment_of
from studies.speed.measure import PRECISIONS, Alone, PeakMemory, say, timed
from studies.speed.steps import Stepper
from studies.speed.tables import Table, finish, parser, quiet
from transformers import BertConfig, PrinterCallback, TrainerCallback, TrainingArguments

from vrm.data.chat import ChatTokenizer
from vrm.data.collate import TargetEncoder
from vrm.data.schema import Judgment
from vrm.data.tokenized import JudgmentTokenizer, TokenizedJudgment
from vrm.inference.feature_store import FeatureStore
from vrm.inference.feature_table import FeatureTable
from vrm.model import VRMConfig, VRMForSequenceClassification
from vrm.train.loss import TrainingLoss
from vrm.train.passes import FeatureDataset, collate_features
from vrm.train.trainer import VRMTrainer

SIZES = {
    "2 M": DecoderShape(layers=4, hidden=192, intermediate=512, heads=3, kv_heads=3),
    "11 M": DecoderShape(),
    "31 M": DecoderShape(layers=8, hidden=576, intermediate=1536, heads=9, kv_heads=9),
    "101 M": DecoderShape(layers=12, hidden=832, intermediate=2240, heads=13, kv_heads=13),
}
"""By parameters of the layers' matrices."""

PIECE = 8192


def head_epoch(pairs: int, width: int) -> Point:
    """One epoch of the `vrm` head on generated features of this width, batches of 1,024; memory holds the features."""
    quiet()
    backbone = BertConfig(
        hidden_size=width, num_hidden_layers=1, num_attention_heads=4, intermediate_size=8, vocab_size=8
    )
    model = VRMForSequenceClassification(VRMConfig(backbone_config=backbone, head="vrm", num_features=8))
    model.backbone.requires_grad_(False)
    memory = PeakMemory()
    memory.start()
    data = FeatureDataset(*_features(pairs, width), TargetEncoder(tuple(model.config.objective_names)))
    with tempfile.TemporaryDirectory() as directory:
        arguments = TrainingArguments(
            output_dir=directory, per_device_train_batch_size=1024, num_train_epochs=1, save_strategy="no",
            logging_strategy="no", report_to="none", use_cpu=True, remove_unused_columns=False, disable_tqdm=True,
            learning_rate=1e-3, dataloader_pin_memory=False,
        )  # fmt: skip
        # A first epoch pays for what is made once.
        for _ in range(2):
            trainer = VRMTrainer(
                model=model, args=arguments, train_dataset=data, data_collator=collate_features, loss=TrainingLoss()
            )
            trainer.remove_callback(PrinterCallback)
            timer = EpochTimer()
            trainer.add_callback(timer)
            trainer.train()
    return Point(pairs, timer.ended - timer.started, memory.bytes())


class EpochTimer(TrainerCallback):
    """From the first batch asked for to the last step's end: what grows with the rows, not what a run costs anyway."""

    def __init__(self) -> None:
        self.started = self.ended = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """The loader is made, no batch is."""
        self.started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """The optimizer has stepped."""
        self.ended = time.perf_counter()


def _features(pairs: int, width: int) -> tuple[FeatureTable, list[TokenizedJudgment]]:
    rng = np.random.default_rng(0)
    store = FeatureStore(width)
    # In pieces, as extraction adds them: the store grows as it does in use.
    for first in range(0, 3 * pairs, PIECE):
        keys = [index.to_bytes(16, "little") for index in range(first, min(first + PIECE, 3 * pairs))]
        store.add(keys, rng.standard_normal((len(keys), width), dtype=np.float32))
    rows = np.arange(pairs)
    judgment = Judgment(prompt="", completions=["a", "b"], preference=1.0)
    table = FeatureTable(store, rows, np.stack([rows + pairs, rows + 2 * pairs], 1))
    return table, [TokenizedJudgment([], [], judgment)] * pairs


def training_step(size: float, shape: DecoderShape, judgments: list[Judgment], precision: str, rounds: int) -> Point:
    """A step of the packed route on these judgments: forward, backward, optimizer; best of the rounds after one."""
    quiet()
    torch.manual_seed(0)
    tokenizer = benchmark_tokenizer()
    config = VRMConfig(backbone_config=shape.config(tokenizer), num_features=8, max_input_tokens=shape.positions)
    config.pad_token_id = tokenizer.pad_token_id
    stepper = Stepper.of(bare_reward_model(config, torch.float32, "cpu"), "packed", precision, 1 << 30)
    rows = list(JudgmentTokenizer(ChatTokenizer(tokenizer), shape.positions).many(judgments))
    passes = stepper.passes(rows)
    memory = PeakMemory()
    memory.start()
    stepper.step_on(passes, len(rows))
    seconds = min(timed(lambda: stepper.step_on(passes, len(rows))) for _ in range(rounds))
    return Point(size, seconds, memory.bytes())


def ranked(words: WordSource, prompt: int, count: int, mean: int) -> Judgment:
    """One prompt and that many ranked completions, two at least: one alone teaches nothing."""
    row = judgment_of(words, prompt, [mean] * count)
    return Judgment(row.prompt, row.completions, scores=[float(index) for index in range(len(row.completions))])


def pair_curve(options: argparse.Namespace) -> Curve:
    """Head training by number of pairs."""
    points = [Alone(options.quick)(head_epoch, count, options.width) for count in options.pairs]
    return Curve("pairs, frozen features", "pairs", f"epoch of the head, {options.width} features", points)


def _curve(name: str, unit: str, cost: str, jobs: list[tuple[Any, ...]], options: argparse.Namespace) -> Curve:
    alone = Alone(options.quick)
    return Curve(name, unit, cost, [alone(training_step, *job, options.precision, options.rounds) for job in jobs])


def completion_curve(options: argparse.Namespace) -> Curve:
    """A step by completions of one prompt."""
    shape, words = _shape(options), WordSource(0)
    jobs = [(count, shape, [ranked(words, options.prompt, count, options.completion)]) for count in options.completions]
    cost = f"step on one prompt of {options.prompt} tokens, completions of {options.completion}"
    return _curve("completions a prompt", "completions", cost, jobs, options)


def length_curve(options: argparse.Namespace) -> Curve:
    """A step by tokens of a row: three quarters prompt, the rest each completion."""
    shape, words = _shape(options), WordSource(0)
    jobs = [(length, shape, [judgment_of(words, 3 * length // 4, [length // 4] * 2)]) for length in options.lengths]
    return _curve("sequence length", "tokens of prompt and completion", "step on one pair", jobs, options)


def size_curve(options: argparse.Namespace) -> Curve:
    """A step by parameters."""
    words = WordSource(0)
    rows = [judgment_of(words, options.prompt // 2, [options.completion] * 2) for _ in range(4)]
    shapes = [TOY, DecoderShape(2, 64, 128, 2, 2, 32)] if options.quick else [SIZES[name] for name in options.sizes]
    jobs = [(shape.matrix_parameters, shape, rows) for shape in shapes]
    return _curve("model size", "parameters of the layers' matrices", "step on four pairs", jobs, options)


def _shape(options: argparse.Namespace) -> DecoderShape:
    return TOY if options.quick else DecoderShape()


CURVES: dict[str, Callable[[argparse.Namespace], Curve]] = {
    "pairs": pair_curve,
    "completions": completion_curve,
    "length": length_curve,
    "size": size_curve,
}


def curve_table(curve: Curve) -> Table:
    """Points and how the cost grew from one to the next."""
    table = Table(f"{curve.name}: {curve.cost}", [curve.unit, "seconds", "x before", "size x before", "peak MiB"])
    before: Point | None = None
    for point in curve.points:
        growth = "-" if before is None else f"{point.seconds / before.seconds:.2f}"
        larger = "-" if before is None else f"{point.size / before.size:.2f}"
        table.add(f"{point.size:,.0f}", f"{point.seconds:.3f}", growth, larger, f"{point.peak_bytes / 2**20:,.0f}")
        before = point
    table.notes = [f"Slope at the end: seconds {curve.slope():.2f}, memory {curve.slope('peak_bytes'):.2f}."]
    return table


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Options; `--quick` sets those of toy size."""
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", choices=CURVES, default=list(CURVES))
    options.add_argument("--plot", type=Path, help="write the curves to this PNG")
    options.add_argument("--pairs", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    options.add_argument("--width", type=int, default=384, help="features of a text; the embedded backbone has 384")
    options.add_argument("--completions", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64])
    options.add_argument("--lengths", type=int, nargs="+", default=[128, 256, 512, 1024, 2048, 4096])
    options.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    options.add_argument("--prompt", type=int, default=300)
    options.add_argument("--completion", type=int, default=75)
    options.add_argument("--precision", choices=PRECISIONS, default="bfloat16")
    chosen = options.parse_args(given)
    if chosen.quick:
        vars(chosen).update(pairs=[64, 256], width=16, completions=[2, 4], lengths=[32, 64], prompt=16, completion=8)
        vars(chosen).update(rounds=1)
    return chosen


def main() -> None:
    """Measure, print and plot."""
    options = arguments()
    quiet()
    curves = []
    for name in options.only:
        curves.append(CURVES[name](options))
        say(f"{name} done")
    if options.plot is not None:
        plot_curves(curves, options.plot)
    figures = {curve.name: asdict(curve) for curve in curves}
    finish(options, [curve_table(curve) for curve in curves], {"precision": options.precision, "curves": figures})


if __name__ == "__main__":
    main()
