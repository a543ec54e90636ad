"""Scoring: this package's engine beside TRL's way and the `transformers` pipeline, by completions a prompt.

    python -m studies.speed.scoring --json scoring.json

All sides get the same texts: prompts of two lengths, each with 1, 4, 16 or 64 completions, in a seeded random order.
`VRM` is what `vrm score` runs (tokenizing, reading ahead and making output rows included), with the `vrm` head. `TRL's
way` is how GRPO calls a reward model: all texts tokenized, padded, in one forward pass. The pipeline is
text-classification with batches of several sizes. The other sides' model is `AutoModelForSequenceClassification` on the
same backbone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from studies.speed.inputs import TOY, DecoderShape, WordSource, judgment_of, reward_model, save_decoder
from studies.speed.measure import CLOCKS, PRECISIONS, Spread, autocast, in_turn, say, timed
from studies.speed.tables import Table, add_clock, finish, parser, quiet
from transformers import AutoModelForSequenceClassification, pipeline

from vrm.data.chat import ensure_chat_template
from vrm.data.schema import Judgment
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.score import Scorer, ScoringRow
from vrm.model import VRMForSequenceClassification
from vrm.model.checkpoint import load_tokenizer
from vrm.model.embedded import resolve_backbone

OURS, ONE_FORWARD = "VRM", "TRL's way"


@dataclass(frozen=True)
class Workload:
    """Prompts of one length and their completions.

    Attributes:
        judgments: one a prompt.
        name: `short` or `long`.
        completions: of each prompt.
    """

    judgments: list[Judgment]
    name: str
    completions: int

    @property
    def texts(self) -> int:
        """Prompts times completions."""
        return len(self.judgments) * self.completions

    def describe(self) -> str:
        """A row's name in the table."""
        return f"{self.name}, {self.completions}"


def workload(
    name: str, prompt: int, completions: int, texts: int, mean_completion: int, tokenizer: Any = None
) -> Workload:
    """About `texts` texts, and at least one prompt; lengths vary as in `inputs.GENERATED`, prompts by a tenth."""
    words = WordSource(prompt + completions, tokenizer)
    judgments = [
        judgment_of(
            words,
            min(words.lognormal(prompt, 0.1), round(1.1 * prompt)),
            [min(words.lognormal(mean_completion, 0.5), 2 * mean_completion) for _ in range(completions)],
        )
        for _ in range(max(1, texts // completions))
    ]
    return Workload(judgments, name, completions)


@dataclass(frozen=True)
class Models:
    """Both sides on one backbone."""

    engine_model: VRMForSequenceClassification
    classifier: Any
    tokenizer: Any

    @classmethod
    def load(cls, kind: str, files: str, limit: int) -> Models:
        """From a backbone's directory, or `embedded`."""
        path = resolve_backbone(files)
        tokenizer = load_tokenizer(files)
        ensure_chat_template(tokenizer, kind)
        classifier = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, dtype=torch.float32)
        classifier.config.pad_token_id = tokenizer.pad_token_id
        model = reward_model(files, "vrm", limit)
        return cls(model.eval(), classifier.eval(), tokenizer)


def texts_of(tokenizer: Any, load: Workload) -> list[str]:
    """Prompt and completion by the chat template, in random order, as a trainer holds them."""
    texts = [
        str(tokenizer.apply_chat_template([*row.prompt, *completion], tokenize=False))
        for row in load.judgments
        for completion in row.completions
    ]
    return [texts[index] for index in np.random.default_rng(0).permutation(len(texts))]


def score_ours(models: Models, load: Workload, precision: str) -> list[list[dict[str, Any]]]:
    """What `vrm score` does between reading and writing."""
    engine = RewardEngine(models.engine_model, models.tokenizer, ExtractionOptions(precision))
    rows = [ScoringRow(line, {}, row) for line, row in enumerate(load.judgments, 1)]
    return list(Scorer(engine).stream(rows))


@torch.inference_mode()
def score_in_one_forward(models: Models, texts: Sequence[str], precision: str) -> list[float]:
    """What GRPO does with a reward model."""
    inputs = models.tokenizer(
        list(texts), return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False
    )
    with autocast(precision):
        return models.classifier(**inputs).logits[:, 0].tolist()


def score_by_pipeline(classify: Any, texts: Sequence[str], precision: str, batch: int) -> list[Any]:
    """The pipeline over a list of texts."""
    with autocast(precision):
        return classify(list(texts), batch_size=batch, function_to_apply="none", add_special_tokens=False)


def sides_of(
    models: Models, load: Workload, precision: str, options: argparse.Namespace
) -> dict[str, Callable[[], float]]:
    """Seconds of every side on a workload."""
    texts = texts_of(models.tokenizer, load)
    classify = pipeline("text-classification", model=models.classifier, tokenizer=models.tokenizer, device="cpu")
    calls: dict[str, Callable[[], Any]] = {
        OURS: partial(score_ours, models, load, precision),
        ONE_FORWARD: partial(score_in_one_forward, models, texts, precision),
    }
    for batch in options.pipeline:
        calls[f"pipeline, batches of {batch}"] = partial(score_by_pipeline, classify, texts, precision, batch)
    return {name: partial(timed, call, clock=CLOCKS[options.clock]) for name, call in calls.items()}


def compare(models: Models, loads: Sequence[Workload], precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """{workload: {side: texts a second of every round}}; a first round warms up and is not kept."""
    by_load = {}
    for load in loads:
        sides = sides_of(models, load, precision, options)
        if not options.quick:
            in_turn(sides, 1)
        seconds = in_turn(sides, options.rounds)
        by_load[load.describe()] = {name: [load.texts / value for value in values] for name, values in seconds.items()}
        say(f"{precision}: {load.describe()} completions")
    return by_load


def comparison_table(title: str, by_load: dict[str, dict[str, list[float]]]) -> Table:
    """One row a workload: our texts a second, and how many times those of each other side."""
    others = [name for name in next(iter(by_load.values())) if name != OURS]
    columns = ["prompt, completions", "VRM texts/s", f"{ONE_FORWARD} texts/s", *(f"x {name}" for name in others)]
    table = Table(title, columns)
    for name, speeds in by_load.items():
        ratios = [Spread.of_ratios(speeds[OURS], speeds[other]).text() for other in others]
        table.add(name, *(Spread.of(speeds[side]).text(1) for side in (OURS, ONE_FORWARD)), *ratios)
    table.notes = ["Median (lowest..highest) of the rounds; ratios are within a round."]
    return table


def one_prompt(models: Models, prompt: int, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    """Sixteen completions of one long prompt beside one, and beside bare forward passes."""
    mean = options.completion
    words = WordSource(1, models.tokenizer if options.backbone else None)
    loads = {count: Workload([judgment_of(words, prompt, [mean] * count)], "one prompt", count) for count in (1, 16)}
    rows = {name: torch.randint(10, min(1000, len(models.tokenizer)), (1, length))
            for name, length in {"1": prompt + mean, "16": prompt + 16 * mean}.items()}  # fmt: skip

    @torch.inference_mode()
    def forward(ids: torch.Tensor) -> None:
        with autocast(precision):
            models.engine_model.backbone(input_ids=ids)

    calls = {
        "engine, 1 completion": lambda: score_ours(models, loads[1], precision),
        "engine, 16 completions": lambda: score_ours(models, loads[16], precision),
        "bare pass: prompt and 1 completion": lambda: forward(rows["1"]),
        "bare causal pass: as many tokens as prompt and 16 completions": lambda: forward(rows["16"]),
    }
    sides = {name: partial(timed, call, clock=CLOCKS[options.clock]) for name, call in calls.items()}
    in_turn(sides, 1)
    return in_turn(sides, options.rounds)


def one_prompt_table(by_load: dict[str, dict[str, list[float]]], prompt: int, mean: int) -> Table:
    """Milliseconds, and the cost over that of the bare pass with one completion."""
    title = f"16 completions of {mean} tokens after one prompt of {prompt:,}, decoder"
    columns = ["what"]
    for precision in by_load:
        columns += [f"{precision}, ms", "x bare pass with 1"]
    table = Table(title, columns)
    base = "bare pass: prompt and 1 completion"
    for name in next(iter(by_load.values())):
        cells = []
        for speeds in by_load.values():
            cells += [
                Spread.of(1000 * value for value in speeds[name]).text(0),
                Spread.of_ratios(speeds[name], speeds[base]).text(),
            ]
        table.add(name, *cells)
    ratio = (prompt + 16 * mean) / (prompt + mean)
    table.notes = [f"By token positions, 16 completions are {ratio:.2f} times one; padded rows would be 16 times."]
    return table


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Options; `--quick` sets those of toy size."""
    options = parser(__doc__)
    options.add_argument("--completions", type=int, nargs="+", default=[1, 4, 16, 64], help="of each prompt")
    options.add_argument("--texts", type=int, default=64, help="of each workload, and in TRL's one forward pass")
    options.add_argument("--short", type=int, default=100, help="mean tokens of short prompts")
    options.add_argument("--long", type=int, default=1000, help="mean tokens of long prompts (encoder: at most 320)")
    options.add_argument("--completion", type=int, default=75, help="mean tokens of completions")
    options.add_argument("--pipeline", type=int, nargs="*", default=[1, 8, 32], help="batch sizes of the pipeline")
    options.add_argument("--prompts", nargs="+", choices=("short", "long"), default=["short", "long"])
    options.add_argument("--backbone", help="a decoder, by name or directory, in the place of the benchmark's two")
    options.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    add_clock(options)
    chosen = options.parse_args(given)
    if chosen.quick:
        vars(chosen).update(completions=[1, 4], texts=4, short=10, long=40, completion=8, pipeline=[2], rounds=1)
        vars(chosen).update(precision=["float32"])
    return chosen


def measure(
    kind: str, path: str, long: int, limit: int, options: argparse.Namespace
) -> tuple[list[Table], dict[str, Any]]:
    """All workloads on one backbone, in every precision."""
    models = Models.load(kind, path, limit)
    words = models.tokenizer if options.backbone else None
    sizes = {f"short ({options.short} tokens)": options.short, f"long ({long} tokens)": long}
    sizes = {name: size for name, size in sizes.items() if name.split()[0] in options.prompts}
    loads = [workload(name, prompt, count, options.texts, options.completion, words)
             for name, prompt in sizes.items() for count in options.completions]  # fmt: skip
    tables, figures = list[Table](), dict[str, Any]()
    clock = "" if options.clock == "wall" else f", {options.clock} time"
    for precision in options.precision:
        by_load = compare(models, loads, precision, options)
        figures[f"{kind}, {precision}"] = by_load
        tables.append(comparison_table(f"Scoring, {kind}, {precision}{clock}", by_load))
    if kind == "decoder":
        repeated = {name: one_prompt(models, long, name, options) for name in options.precision}
        figures["one prompt"] = repeated
        tables.append(one_prompt_table(repeated, long, options.completion))
    return tables, figures


def main() -> None:
    """Measure and print."""
    options = arguments()
    quiet()
    torch.manual_seed(0)
    tables, figures = list[Table](), dict[str, Any]()
    with tempfile.TemporaryDirectory() as directory:
        if options.backbone:
            backbones = {"decoder": (options.backbone, options.long, 2048)}
        else:
            files = save_decoder(TOY if options.quick else DecoderShape(), Path(directory))
            backbones = {
                "decoder": (str(files), options.long, 8192),
                "encoder": ("embedded", min(options.long, 320), 512),
            }
        for kind, (path, long, limit) in backbones.items():
            more, found = measure(kind, path, long, limit, options)
            tables, figures = tables + more, figures | found
    if "encoder" in backbones:
        tables[-1].notes.append("The embedded encoder reads 512 positions, so its long prompts are shorter.")
    finish(options, tables, figures)


if __name__ == "__main__":
    main()
