"""Random backbones of a few thousand weights, the same at every call, so that a drill's load is not the model's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, PreTrainedTokenizerBase, Qwen3Config, Qwen3Model

from vrm.testing import byte_level_tokenizer, wordpiece_tokenizer

SPREAD = 0.2
"""Of the weights: wide enough that texts get rewards of their own."""


def write_encoder(directory: Path, words: Sequence[str], width: int = 16, inner: int = 16) -> PreTrainedTokenizerBase:
    """A BERT of two layers and two heads, with a WordPiece vocabulary of these words and of single characters.

    Returns:
        its tokenizer, which is written too.
    """
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    tokenizer = wordpiece_tokenizer([*characters, *(f"##{char}" for char in characters), *words])
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=SPREAD,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config, add_pooling_layer=False).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return tokenizer


def write_decoder(
    directory: Path, texts: Sequence[str], size: int = 340, width: int = 16, inner: int = 16, positions: int = 256
) -> PreTrainedTokenizerBase:
    """A Qwen3 of two layers and two heads, with a byte-level vocabulary of `size` tokens from these texts.

    Returns:
        its tokenizer, which is written too.
    """
    tokenizer = byte_level_tokenizer(list(texts), size=size)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=2,
        head_dim=width // 2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=positions,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        initializer_range=SPREAD,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Qwen3Model(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return tokenizer
