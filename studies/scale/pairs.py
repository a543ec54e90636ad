"""Head training on frozen features of 10^3 to 10^7 pairs: time, memory and disk of `vrm train`.

    python -m studies.scale.pairs --pairs 1000 10000 100000 --directory /tmp/pairs --results pairs.jsonl

Reading 10^7 pairs and computing their features is not what is measured, so both are generated in the form in which the
package caches them: rows and token ids are those of a thousand short pairs, repeated with keys of their own, and
features are normal random numbers, `WIDTH` of a text. On these caches `vrm train` runs one epoch of the default head in
batches of 1,024, twice: the second run finds what the first has remembered of the rows. What it learns means nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from studies.scale import rows as rows_study
from studies.scale.curves import table
from studies.scale.measured import keep, measured
from studies.scale.repeated import TEXTS, enlarge_cache, feature_keys

from vrm.inference.row_sums import RowSums

SEED_PAIRS = 1000
WIDTH = 32
BATCH = 1024


def write_seed(place: Path) -> Path:
    """A file of short pairs."""
    generator, path = random.Random(0), place / "pairs.jsonl"
    words = ["good", "long", "water", "city", "plan", "story", "safe", "answer", "people", "number"]
    with path.open("w", encoding="utf-8") as file:
        for number in range(SEED_PAIRS):
            texts = [" ".join(generator.choices(words, k=6)) for _ in range(TEXTS)]
            row = {"prompt": f"{texts[0]} {number}", "chosen": f"{texts[1]} a", "rejected": f"{texts[2]} b"}
            file.write(json.dumps(row) + "\n")
    return path


def command(place: Path, pairs: int) -> list[str]:
    """The arguments of `vrm` for an epoch."""
    backbone = place / "toy.json"
    shape = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    backbone.write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 128, **shape}))
    tokenizer = place / "words"
    if not tokenizer.exists():
        rows_study.word_tokenizer(place)
    config = place / f"{pairs}.yaml"
    settings = {
        "output_dir": str(place / "run"),
        "data": {"train": [str(place / "pairs.jsonl")], "storage": "disk", "held_out": min(500 / pairs, 0.1)},
        "model": {
            "backbone": "embedded", "from_scratch": str(backbone), "tokenizer": str(tokenizer), "tuning": "frozen",
            "feature_layers": [-1], "poolings": ["mean"], "max_input_tokens": 128,
        },
        "train": {"batch_size": BATCH, "evals": 1, "epochs": 1, "precision": "float32"},
        "features": {"cache": str(place / "caches" / "features")},
    }  # fmt: skip
    config.write_text(json.dumps(settings))
    return ["train", str(config), "--overwrite"]


def make_caches(place: Path, pairs: int) -> None:
    """Caches of so many pairs, from those of the seed, which a first run leaves."""
    caches, seed = place / "caches", place / "seed"
    shutil.rmtree(caches, ignore_errors=True)
    if not seed.exists():
        write_seed(place)
        measured("seed", SEED_PAIRS, command(place, SEED_PAIRS), place, 600.0)
        caches.rename(seed)
    shutil.copytree(seed, caches)
    enlarge_cache(caches / "rows", pairs, SEED_PAIRS)
    (store,) = {file.parent for file in (caches / "features").rglob("keys.bin")}
    generator, sums = np.random.default_rng(0), RowSums(store / "sums.u64")
    with (store / "keys.bin").open("wb") as keys, (store / "features.f32").open("wb") as features:
        for first in range(0, pairs, SEED_PAIRS):
            keys.write(feature_keys(first, SEED_PAIRS).tobytes())
            values = generator.standard_normal((TEXTS * SEED_PAIRS, WIDTH), dtype=np.float32)
            features.write(values.tobytes())
            sums.write(TEXTS * first, values)


def main() -> None:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--directory", type=Path, required=True, help="for caches and outputs")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds of a run")
    parser.add_argument("--results", type=Path, help="JSON lines, to which the runs are added")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    runs = []
    for pairs in options.pairs:
        if pairs % SEED_PAIRS:
            raise SystemExit(f"--pairs {pairs}: expected a multiple of {SEED_PAIRS:,}")
        make_caches(options.directory, pairs)
        print(f"caches of {pairs:,} pairs are written", file=sys.stderr, flush=True)
        for task in ("pairs", "pairs, again"):
            run = measured(task, pairs, command(options.directory, pairs), options.directory, options.limit)
            runs.append(replace(run, task=task))
            keep(runs[-1], options.results)
    print(table(runs))


if __name__ == "__main__":
    main()
