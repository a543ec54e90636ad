"""Runs whose features hold a number that is none: of a backbone that gives it, or of a cache that was damaged."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from studies.drills.numerics_parts.rows import plain
from studies.drills.numerics_parts.runs import Ending, Try, run
from transformers import AutoTokenizer

CACHED = "a NaN in a cached feature"
GIVEN = "a backbone that gives NaN for one word"
NOT_FINITE = (CACHED, GIVEN)
NAMED = {CACHED: "/cache/", GIVEN: "word_embeddings.weight are NaN"}
"""What an error must name: the folder, or the weights."""

WORD = "water"
WIDTH = 32
"""Of the backbone, and so of a cached row."""


def run_damaged(one: Try, backbone: Path, folder: Path, seed: int) -> Ending:
    """Train on such features; to come to the end is a problem, and so is an error that does not say where."""
    cache = folder / "cache"
    with_cache = replace(one, settings={"features.cache": str(cache)})
    rows = plain(one.kind, seed)
    if one.fault == GIVEN:
        backbone = _without_a_word(backbone, folder / "backbone")
    elif not cache.exists():
        run(with_cache, rows, backbone, folder / "before")
        (path,) = cache.rglob("features.f32")
        features = np.memmap(path, np.float32, "r+", shape=(path.stat().st_size // (4 * WIDTH), WIDTH))
        features[seed % len(features), seed % WIDTH] = float("nan")
        features.flush()
    ending = run(with_cache, rows, backbone, folder / "after")
    if NAMED[one.fault] not in ending.message:
        ending.problems.append(f"no error names where: {ending.message or 'there is a model'}")
    return ending


def _without_a_word(backbone: Path, folder: Path) -> Path:
    """The backbone with a NaN in the embedding of a word that some rows have."""
    shutil.copytree(backbone, folder, dirs_exist_ok=True)
    vocabulary = AutoTokenizer.from_pretrained(backbone).get_vocab()
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[name][vocabulary[WORD]] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder
