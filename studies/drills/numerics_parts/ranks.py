"""One trained model, its backbone in two precisions and on one and four threads: which pairs change their order."""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml
from studies.drills.forked import in_child, vrm
from studies.drills.outcome import Outcome, Setting

from vrm.choices import EMBEDDED_BACKBONES, Precision
from vrm.data.planted import planted_corpus

LEAST_MARGIN = 1e-3
"""In units of reward: pairs that are closer may change their order."""

PAIRS, OF_A_PROMPT = 1_000, 15
TRAINED = 60
THREADS = (1, 4)
SENTENCES = 2
"""Of a completion; short ones keep the embedded decoder's share of the time small."""

Ways = dict[tuple[str, int], list[list[float]]]


def _short(messages: Any) -> str:
    sentences: list[str] = messages[-1]["content"].split(". ")
    return ". ".join(sentences[:SENTENCES]).strip(".") + "."


def texts(seed: int, prompts: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Pairs to train a head on, and prompts with completions whose pairs are ranked; nothing is in both."""
    rows = list(planted_corpus().train)
    random.Random(seed).shuffle(rows)
    pairs = [
        {
            "prompt": row.prompt[-1]["content"],
            "chosen": _short(row.completions[0]),
            "rejected": _short(row.completions[1]),
        }
        for row in rows
    ]
    ranked, rest = pairs[: prompts * OF_A_PROMPT], pairs[prompts * OF_A_PROMPT :]
    groups = (ranked[first : first + OF_A_PROMPT] for first in range(0, len(ranked), OF_A_PROMPT))
    lists = [
        {
            "prompt": group[0]["prompt"],
            "completions": [row[("chosen", "rejected")[n % 2]] for n, row in enumerate(group)],
        }
        for group in groups
    ]
    return [row for row in rest if row["chosen"] != row["rejected"]][:TRAINED], lists


def rankings(setting: Setting) -> Iterator[Outcome]:
    """A line for every embedded backbone and every way but the first."""
    prompts = 1 if setting.quick else -(-PAIRS // len(list(combinations(range(OF_A_PROMPT), 2))))
    for backbone in list(EMBEDDED_BACKBONES)[: 1 if setting.quick else None]:
        folder = setting.work / f"ranks-{backbone}"
        folder.mkdir(parents=True, exist_ok=True)
        ways = _ways(backbone, folder, setting.seed, prompts)
        (_, first), *others = ways.items()
        for (precision, threads), rewards in others:
            yield _compared(f"{backbone}: {precision}, {threads} thread{'s'[: threads - 1]}", first, rewards)


def _ways(backbone: str, folder: Path, seed: int, prompts: int) -> Ways:
    training, ranked = texts(seed, prompts)
    for name, rows in (("train", training), ("ranked", ranked)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    config = {
        "output_dir": str(folder / "run"),
        "data": {"train": [str(folder / "train.jsonl")], "held_out": 0.2},
        "model": {"backbone": backbone, "max_input_tokens": 128},
        "train": {"precision": str(Precision.FLOAT32), "epochs": 20, "batch_size": 32},
        "features": {"cache": str(folder / "cache")},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    if not (folder / "run" / "run.json").exists():
        _done(folder / "train", "train", folder / "run.yaml", "--overwrite", "--threads", 1)
    ways: Ways = {}
    for precision in (Precision.FLOAT32, Precision.BFLOAT16):
        for threads in THREADS:
            scored = folder / f"{precision}-{threads}.jsonl"
            how = ("-o", scored, "--precision", precision, "--threads", threads)
            if not scored.exists() or len(scored.read_text(encoding="utf-8").splitlines()) < len(ranked):
                _done(folder / "score", "score", folder / "run/model", folder / "ranked.jsonl", *how)
            lines = scored.read_text(encoding="utf-8").splitlines()
            ways[str(precision), threads] = [json.loads(line)["rewards"] for line in lines]
            print(f"{backbone}: {precision}, {threads} threads", file=sys.stderr)
    return ways


def _done(output: Path, *arguments: object) -> None:
    if in_child(lambda: vrm(arguments), output):
        errors = Path(f"{output}.err").read_text(encoding="utf-8")
        raise RuntimeError(f"vrm {arguments[0]} failed: {errors[-400:]}")


def _margins(rewards: list[list[float]]) -> list[float]:
    return [a - b for row in rewards for a, b in combinations(row, 2)][:PAIRS]


def _compared(name: str, first: list[list[float]], other: list[list[float]]) -> Outcome:
    before, after = _margins(first), _margins(other)
    turned = [abs(margin) for margin, new in zip(before, after, strict=True) if margin * new <= 0 and margin != new]
    furthest = max(abs(new - margin) for margin, new in zip(before, after, strict=True))
    note = (
        f"{len(turned)} changed order, of a margin of {max(turned, default=0.0):.2g} at most; margins have a spread of "
        f"{statistics.pstdev(before):.2g} and moved by {furthest:.2g} at most"
    )
    return Outcome(name, len(before), sum(margin >= LEAST_MARGIN for margin in turned), 0, note)
