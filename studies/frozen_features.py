"""Throughput of frozen-feature training and of feature extraction; prints two tables and writes JSON.

    python studies/frozen_features.py --json frozen_features.json

Training: `VRMTrainer` with its data set and loader on synthetic features, pairs a second over whole epochs after a
warm-up epoch. Extraction: `FeatureExtractor` with its cache against the bare backbone's forward pass on the same
padded batches, in one run; the ratio is what counts, since absolute times on shared machines drift.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import BertConfig, TrainingArguments
from transformers.utils import logging

from vrm.data.chat import ChatTokenizer, ensure_chat_template
from vrm.data.collate import TargetEncoder
from vrm.data.planted import planted_corpus
from vrm.data.schema import Judgment
from vrm.data.tokenized import JudgmentTokenizer, TokenizedJudgment
from vrm.inference.extraction import ExtractionOptions, FeatureExtractor
from vrm.inference.feature_store import FeatureStore
from vrm.inference.feature_table import FeatureTable
from vrm.model import VRMConfig, VRMForSequenceClassification
from vrm.model.checkpoint import load_tokenizer
from vrm.model.packing import padded_passes
from vrm.model.padding import pad_right
from vrm.results.base import versions
from vrm.train.loss import TrainingLoss
from vrm.train.passes import FeatureDataset, collate_features
from vrm.train.trainer import VRMTrainer


def training_speed(head: str, width: int, pairs: int, batch: int, epochs: int) -> float:
    """Pairs a second of the trainer on synthetic features of this width (K = 16, d = 8)."""
    backbone = BertConfig(
        hidden_size=width, num_hidden_layers=1, num_attention_heads=4, intermediate_size=8, vocab_size=8
    )
    model = VRMForSequenceClassification(VRMConfig(backbone_config=backbone, head=head, num_features=8))
    model.backbone.requires_grad_(False)
    rng = np.random.default_rng(0)
    store = FeatureStore(width)
    store.add(
        [index.to_bytes(16, "little") for index in range(3 * pairs)],
        rng.standard_normal((3 * pairs, width), dtype=np.float32),
    )
    rows = np.arange(pairs)
    table = FeatureTable(store, rows, np.stack([rows + pairs, rows + 2 * pairs], 1))
    judgment = Judgment(prompt="", completions=["a", "b"], preference=1.0)
    data = FeatureDataset(
        table, [TokenizedJudgment([], [], judgment)] * pairs, TargetEncoder(tuple(model.config.objective_names))
    )
    with tempfile.TemporaryDirectory() as directory:
        trainer = _trainer(model, data, batch, 1, directory)
        trainer.train()
        trainer = _trainer(model, data, batch, epochs, directory)
        started = time.perf_counter()
        trainer.train()
        return pairs * epochs / (time.perf_counter() - started)


def _trainer(
    model: VRMForSequenceClassification, data: FeatureDataset, batch: int, epochs: int, directory: str
) -> VRMTrainer:
    arguments = TrainingArguments(
        output_dir=directory, per_device_train_batch_size=batch, num_train_epochs=epochs, save_strategy="no",
        report_to="none", use_cpu=True, remove_unused_columns=False, disable_tqdm=True, logging_strategy="no",
        learning_rate=1e-3,
    )  # fmt: skip
    return VRMTrainer(
        model=model, args=arguments, train_dataset=data, data_collator=collate_features, loss=TrainingLoss()
    )


def extraction_speed(precision: str, rounds: int) -> dict[str, float]:
    """Texts a second of extraction and of the bare forward pass on the same batches, interleaved, medians of rounds."""
    tokenizer = load_tokenizer("embedded")
    ensure_chat_template(tokenizer, "encoder")
    model = VRMForSequenceClassification.from_backbone("embedded", head="bt", feature_layers=[1, 3, 6]).eval()
    tokenize = JudgmentTokenizer(ChatTokenizer(tokenizer), 512)
    rows = planted_corpus(0, raters=False).train[:600]
    items = [tokenized for row in rows if (tokenized := tokenize(row)) is not None]
    texts = {("prompt", *item.prompt): item.prompt for item in items}
    texts |= {("text", *item.prompt, *ids): item.prompt + ids for item in items for ids in item.completions}
    rows_of_ids = [[ids for (role, *_), ids in texts.items() if role == wanted] for wanted in ("text", "prompt")]
    batches = [
        pad_right([rows[number] for number in numbers])
        for rows in rows_of_ids
        for numbers in padded_passes([(1, len(ids)) for ids in rows], 8192)
    ]
    ours, bare = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as directory:
            extractor = FeatureExtractor(model, 0, ExtractionOptions(precision, 8192, directory))
            started = time.perf_counter()
            extractor.table(items)
            ours.append(time.perf_counter() - started)
        bare.append(_bare(model, batches, extractor.dtype))
    return {"extraction": len(texts) / float(np.median(ours)), "bare": len(texts) / float(np.median(bare))}


@torch.inference_mode()
def _bare(model: VRMForSequenceClassification, batches: list[tuple[Any, Any]], dtype: torch.dtype) -> float:
    started = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        for ids, mask in batches:
            model.backbone(input_ids=ids, attention_mask=mask.long())
    return time.perf_counter() - started


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pairs", type=int, default=20480)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--widths", type=int, nargs="+", default=[384, 1152, 3456])
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    console = Console(width=100)
    training = {
        head: {
            width: training_speed(head, width, arguments.pairs, 1024, arguments.epochs) for width in arguments.widths
        }
        for head in ("bt", "vrm")
    }
    table = Table(title="Frozen-feature training, pairs a second (batch 1,024, K 16, d 8, 4 draws, 16 nodes)")
    table.add_column("head")
    for width in arguments.widths:
        table.add_column(f"{width} features", justify="right")
    for head, speeds in training.items():
        table.add_row(head, *(f"{speed:,.0f}" for speed in speeds.values()))
    console.print(table)
    extraction = {precision: extraction_speed(precision, arguments.rounds) for precision in ("float32", "auto")}
    table = Table(title="Feature extraction, texts a second (planted corpus, embedded backbone)")
    for name in ("precision", "extraction and cache", "bare forward pass", "ratio"):
        table.add_column(name, justify="left" if name == "precision" else "right")
    for precision, speed in extraction.items():
        ratio = speed["extraction"] / speed["bare"]
        table.add_row(precision, f"{speed['extraction']:,.0f}", f"{speed['bare']:,.0f}", f"{ratio:.2f}")
    console.print(table)
    if arguments.json:
        speeds = {
            "training": training,
            "extraction": extraction,
            "threads": torch.get_num_threads(),
            "cpus": os.cpu_count(),
        }
        arguments.json.write_text(json.dumps({**speeds, "versions": versions()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
