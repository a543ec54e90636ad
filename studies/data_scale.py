"""How reading, checking, tokenizing, scoring and the doctor grow with rows: time, memory and disk.

    python studies/data_scale.py --rows 10000 100000 --tasks train score doctor --directory /tmp/rows

Rows are generated: 2 KB each, a prompt and two completions of English words, one in a thousand bad. Each task is the
command itself in a process of its own, on a toy backbone of random weights, since the data is what is measured. Its
tokenizer has one token a word and is fast; `--tokenizer embedded` takes that of the embedded backbone.

    train   `vrm train` on every weight of the backbone, 20 steps; once with an empty cache, and once more
    frozen  `vrm train` on cached features of the backbone; twice as well
    score   `vrm score` from Parquet parts to Parquet parts
    doctor  `vrm doctor` with the embedded backbone's tokenizer

Memory is that of the process and its children, sampled twice a second: resident pages as the system counts them (a page
that several processes share is divided among them), those of mapped files included. `--limit` ends a task after so many
seconds; its memory until then is reported.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

WORDS_A_SENTENCE = 16
SENTENCES = 20_000
LENGTHS = (2, 9, 9)
"""Sentences of a prompt and of its two completions."""

BAD_EVERY = 1000
STEPS, BATCH = 20, 64
PARTS = 8

CHILD = """
import resource, sys, time
import psutil
from vrm.train import run
class Marked(run.VRMTrainer):
    def train(self, *args, **options):
        started = psutil.Process().create_time()
        used = time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        print(f"BEGIN {time.time() - started:.2f} {used:.2f}", file=sys.stderr, flush=True)
        return super().train(*args, **options)
run.VRMTrainer = Marked
"""
COMMAND = "from vrm.cli.main import main\nimport sys\nif __name__ == '__main__':\n    sys.exit(main())\n"


@dataclass(frozen=True)
class Measured:
    """One run of a command.

    Attributes:
        task: which.
        rows: of the file.
        seconds: until it ended, or was ended.
        processor: seconds of processor time, of all its processes.
        start_up: seconds from the start of the process to the first step of training; None for other tasks.
        start_processor: processor time until then.
        memory: largest resident memory, in GB.
        disk: what it left in its caches, in GB.
        finished: whether it came to its end.
    """

    task: str
    rows: int
    seconds: float
    processor: float
    start_up: float | None
    start_processor: float | None
    memory: float
    disk: float
    finished: bool


def generated(count: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """Rows of 2 KB."""
    generator = random.Random(seed)
    words = [word for word in _words() if word.isalpha() and len(word) > 2]
    sentences = [" ".join(generator.choices(words, k=WORDS_A_SENTENCE)) for _ in range(SENTENCES)]
    for number in range(count):
        texts = [" . ".join(generator.choices(sentences, k=length)) for length in LENGTHS]
        prompt, chosen, rejected = texts[0], texts[1], texts[2 if number % BAD_EVERY else 1]
        yield {"prompt": f"{prompt} {_spelled(number, words)} ?", "chosen": chosen, "rejected": rejected}


def _spelled(number: int, words: Sequence[str]) -> str:
    """A number in words, so that no two prompts are the same."""
    return " ".join(words[number // 1000**place % 1000] for place in range(3))


def word_tokenizer(place: Path) -> Path:
    """A directory with a tokenizer of one token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    words = [*special.values(), *(word for word in _words() if word not in special.values())]
    model = models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(place / "words")
    return place / "words"


def _words() -> list[str]:
    from vrm.model.checkpoint import load_tokenizer

    return sorted(load_tokenizer("embedded").get_vocab())


def write_rows(path: Path, count: int) -> None:
    """A JSONL file of generated rows, and a directory of Parquet parts with the good ones of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.exists():
        return
    parts = path.with_suffix("")
    parts.mkdir(exist_ok=True)
    rows = generated(count)
    with path.with_suffix(".new").open("w", encoding="utf-8") as file:
        for part in range(PARTS):
            table: list[dict[str, str]] = []
            writer = None
            for number in range(part * count // PARTS, (part + 1) * count // PARTS):
                row = next(rows)
                file.write(json.dumps(row) + "\n")
                table += [row] if number % BAD_EVERY else []
                if len(table) == 10_000 or number + 1 == (part + 1) * count // PARTS:
                    batch = pa.Table.from_pylist(table)
                    writer = writer or pq.ParquetWriter(parts / f"part-{part:05d}.parquet", batch.schema)
                    writer.write_table(batch)
                    table = []
            if writer is not None:
                writer.close()
    path.with_suffix(".new").rename(path)


def command(task: str, rows: int, source: Path, place: Path, tokenizer: str) -> list[str]:
    """The arguments of `vrm` for a task."""
    output = str(place / f"{task}-{rows}")
    if task in ("train", "frozen"):
        backbone = place / "toy.json"
        shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        backbone.write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 512, **shape}))
        # Few rows are held out: evaluating on a tenth of them is not what is measured.
        settings = {
            "output_dir": output,
            "data": {"train": [str(source)], "on_bad_rows": "skip", "storage": "disk", "held_out": 500 / rows},
            "model": {"backbone": "embedded", "from_scratch": str(backbone), "tokenizer": tokenizer},
            "train": {"batch_size": BATCH, "evals": 1, "epochs": STEPS * BATCH / rows, "precision": "float32"},
        }
        settings["model"]["tuning"] = "full" if task == "train" else "frozen"
        if task == "frozen":
            settings["train"]["epochs"] = 1
            settings["train"]["batch_size"] = 1024
            settings["features"] = {"cache": str(place / "caches" / "features")}
        config = place / f"{task}-{rows}.yaml"
        config.write_text(json.dumps(settings))
        return ["train", str(config), "--overwrite"]
    if task == "score":
        shutil.rmtree(output, ignore_errors=True)
        return ["score", str(place / "model"), str(source.with_suffix("")), "-o", output + "/"]
    return ["doctor", str(source), "--tokenizer", tokenizer, "--json", output + ".json", "--overwrite"]


def measured(task: str, rows: int, arguments: list[str], place: Path, limit: float) -> Measured:
    """Run a command and watch it."""
    caches = place / "caches"
    environment = os.environ | {
        "VRM_ROW_CACHE": str(caches / "rows"),
        "HF_HOME": str(caches / "hub"),
        "VRM_FEATURE_CACHE": "none",
    }
    code = (CHILD if arguments[0] == "train" else "") + COMMAND
    log = place / f"{task}-{rows}.log"
    started = time.monotonic()
    with log.open("w") as stream:
        child = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], env=environment, stderr=stream, stdout=stream
        )
        memory, processor = watch(child, started + limit)
    seconds = time.monotonic() - started
    lines = [line.split("BEGIN ")[1].split()[:2] for line in log.read_text().splitlines() if "BEGIN " in line]
    begins = [float(value) for value in lines[0]] if lines else [None, None]
    if child.returncode not in (0, 1, -9, -15):
        raise SystemExit(f"{task}: see {log}")
    disk = sum(file.stat().st_size for file in caches.rglob("*") if file.is_file())
    finished = child.returncode in (0, 1)
    return Measured(task, rows, seconds, processor, *begins, memory / 1e9, disk / 1e9, finished)


def watch(child: subprocess.Popen[Any], end: float) -> tuple[float, float]:
    """Largest memory in bytes and processor time, in seconds, of a process and its children; ends it in time."""
    memory, times = 0.0, dict[int, float]()
    parent = psutil.Process(child.pid)
    while child.poll() is None:
        total = 0.0
        for process in [parent, *_children(parent)]:
            try:
                total += process.memory_full_info().pss
                used = process.cpu_times()
                times[process.pid] = used.user + used.system
            except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
                continue
        memory = max(memory, total)
        if time.monotonic() > end:
            for process in [*_children(parent), parent]:
                process.kill()
            child.wait()
        time.sleep(0.5)
    return memory, sum(times.values())


def _children(parent: psutil.Process) -> list[psutil.Process]:
    try:
        return parent.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def table(results: Sequence[Measured]) -> str:
    """The runs as a table in Markdown, and how each task grows between its two largest sizes."""
    lines = [
        "| task | rows | seconds | processor s | to the first step: seconds | processor s | memory, GB | caches, GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in results:
        start = " | " if run.start_up is None else f"{run.start_up:.0f} | {run.start_processor:.0f}"
        ended = "" if run.finished else " (ended)"
        lines.append(
            f"| {run.task}{ended} | {run.rows:,} | {run.seconds:.0f} | {run.processor:.0f} | {start} | "
            f"{run.memory:.2f} | {run.disk:.2f} |"
        )
    for task in dict.fromkeys(run.task for run in results if run.finished):
        *_, one, other = [None, None, *(run for run in results if run.task == task and run.finished)]
        if one is not None and other is not None and one.rows != other.rows:
            growth = math.log(other.rows / one.rows)
            values = (
                math.log(b / a) / growth for a, b in ((one.processor, other.processor), (one.memory, other.memory))
            )
            lines.append(
                "\n{}: processor time grows by rows to the power of {:.2f}, memory {:.2f}".format(task, *values)
            )
    return "\n".join(lines)


def main() -> None:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--tasks", nargs="+", choices=["train", "frozen", "score", "doctor"], default=["train"])
    parser.add_argument("--directory", type=Path, required=True, help="for rows, caches and outputs")
    parser.add_argument("--tokenizer", choices=["words", "embedded"], default="words")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds of a task")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    tokenizer = str(word_tokenizer(options.directory)) if options.tokenizer == "words" else options.tokenizer
    results = []
    for rows in options.rows:
        source = options.directory / f"{rows}.jsonl"
        write_rows(source, rows)
        for task in options.tasks:
            shutil.rmtree(options.directory / "caches", ignore_errors=True)
            for again in ("", ", again") if task in ("train", "frozen") else ("",):
                arguments = command(task, rows, source, options.directory, tokenizer)
                found = measured(task, rows, arguments, options.directory, options.limit)
                results.append(Measured(**asdict(found) | {"task": task + again}))
                print(results[-1], file=sys.stderr, flush=True)
            if task == "train" and not (options.directory / "model").exists():
                shutil.copytree(options.directory / f"train-{rows}" / "model", options.directory / "model")
    versions = {name: version(name) for name in ("datasets", "pyarrow", "torch", "transformers")}
    if options.json:
        options.json.write_text(json.dumps({"versions": versions, "runs": [asdict(run) for run in results]}, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
