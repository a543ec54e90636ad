"""Small runs: judgments about words that the tiny tokenizer knows, and configurations that take a second."""

from __future__ import annotations

import random

import pytest

from vrm.config import parse_config
from vrm.data.schema import Judgment
from vrm.train.setup import RunData

GOOD, BAD, FILL = ("good", "safe", "please"), ("bad", "unsafe", "no"), ("the", "is", "of", "plan", "water", "city")


def make_rows(count: int, seed: int = 0) -> list[Judgment]:
    """Comparisons of which the chosen has a good word; ratings on every second row, votes on every third."""
    generator = random.Random(seed)
    rows = []
    for line in range(count):
        topic = generator.choice(FILL)
        words = [" ".join(generator.choices(FILL, k=3)) for _ in range(2)]
        sides = [f"{words[0]} {generator.choice(GOOD)}", f"{words[1]} {generator.choice(BAD)}"]
        ratings = [{"quality": 4.0 + line % 2}, {"quality": 1.0, "care": 2.0}] if line % 2 == 0 else None
        votes = {"care": 2.0} if line % 3 == 0 else None
        rows.append(
            Judgment(f"how {topic} {line}", sides, 1.0, ratings=ratings, objective_votes=votes, file="f", line=line)
        )
    return rows


@pytest.fixture(scope="session")
def rows():
    return make_rows


@pytest.fixture(scope="session")
def run_data():
    """run_data(train rows, evaluation rows): data of a run, its objectives from the training rows."""
    from vrm.data.statistics import objective_names

    def make(train, evaluation=()):
        rated, voted = objective_names(train)
        return RunData(list(train), list(evaluation), list(dict.fromkeys([*rated, *voted])), "read")

    return make


@pytest.fixture
def make_config(tmp_path, tiny_encoder_backbone):
    """make_config({"a.b": value}): configuration of a small run on the tiny encoder."""

    def make(changes=None, output="run"):
        values = {
            "output_dir": str(tmp_path / output),
            "data": {"train": ["unused.jsonl"]},
            "model": {
                "backbone": str(tiny_encoder_backbone),
                "num_free_objectives": 1,
                "num_features": 3,
                "hidden_size_head": 8,
                "max_input_tokens": 64,
                "head_dropout": 0.0,
            },
            "loss": {"num_samples": 2, "num_nodes": 4},
            "train": {
                "epochs": 2,
                "batch_size": 8,
                "evals": 2,
                "logging_steps": 1,
                "precision": "float32",
                "warmup": 0.0,
            },
        }
        for dotted, value in (changes or {}).items():
            *parents, last = dotted.split(".")
            node = values
            for part in parents:
                node = node.setdefault(part, {})
            node[last] = value
        return parse_config(values)

    return make
