"""A random encoder of a few thousand weights, for drills that start from a backbone of their own."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from vrm.testing import wordpiece_tokenizer

WIDTH = 32


def write_backbone(directory: Path, words: list[str]) -> Path:
    """Two layers and a WordPiece vocabulary of these words and of single characters, the same at every call."""
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    tokenizer = wordpiece_tokenizer([*characters, *(f"##{char}" for char in characters), *words])
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config, add_pooling_layer=False).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
