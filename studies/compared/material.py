"""Pairs, labels and backbones that all packages get: rows of the built-in corpus, and a random decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from studies.drills.tiny import write_decoder
from transformers import Qwen3ForCausalLM
from transformers.utils import logging

from vrm.data.planted import planted_corpus

PAIRS, HELD_OUT = 64, 32
SIDES = ("prompt", "chosen", "rejected")


def write(directory: Path, seed: int = 0) -> Path:
    """Write the material unless it is there.

    Returns:
        its directory, with `train.jsonl`, `test.jsonl`, `labels.jsonl` and `decoder`.
    """
    if (directory / "complete").exists():
        return directory
    paths = planted_corpus(seed).write(directory / "corpus")
    train, test = (
        [json.loads(line) for line in paths[name].read_text(encoding="utf-8").splitlines()[:count]]
        for name, count in (("train", PAIRS), ("test", HELD_OUT))
    )
    dump(directory / "train.jsonl", [pair(row) for row in train])
    dump(directory / "test.jsonl", [pair(row) for row in test])
    dump(directory / "labels.jsonl", train)
    texts = [message["content"] for row in train for side in SIDES for message in row[side]]
    tokenizer = write_decoder(directory / "decoder", texts, size=600)
    with_language_head(directory / "decoder")
    portable(directory / "decoder" / "tokenizer_config.json", tokenizer.chat_template)
    (directory / "complete").touch()
    return directory


def with_language_head(directory: Path) -> None:
    """Give a decoder the layer that a policy needs, of random weights."""
    logging.set_verbosity_error()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Qwen3ForCausalLM.from_pretrained(directory).save_pretrained(directory)


def pair(row: dict[str, Any]) -> dict[str, Any]:
    """The columns that every package reads."""
    return {side: row[side] for side in SIDES}


def portable(path: Path, template: str) -> None:
    """Write a tokenizer's configuration so that older versions of transformers read it too."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template}
    path.write_text(json.dumps(settings, indent=1), encoding="utf-8")


def dump(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
