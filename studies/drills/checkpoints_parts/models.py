"""Small random models of both kinds, with their backbones, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = (
    "the a is of to and you it in how do we boil water question put pot on stove no idea ask somebody user assistant"
)
FIELDS = {"objectives": ["helpfulness", "safety", "brevity"], "num_free_objectives": 1, "num_features": 4}


def backbone(folder: Path, kind: str) -> Path:
    """A directory with a random `decoder` or `encoder` of a few thousand weights."""
    place = folder / f"{kind}-backbone"
    if not place.exists():
        import torch

        torch.manual_seed(0)
        tokenizer, model = _decoder() if kind == "decoder" else _encoder()
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
    return place


def reward_model(folder: Path, kind: str = "decoder", head: str = "vrm") -> Path:
    """A reward model around it, untrained."""
    place = folder / f"{kind}-{head}"
    if not place.exists():
        import torch
        from transformers import AutoTokenizer

        from vrm.data.chat import describe_prompts, ensure_chat_template
        from vrm.model import VRMForSequenceClassification, save_model

        source = backbone(folder, kind)
        tokenizer = AutoTokenizer.from_pretrained(source)
        ensure_chat_template(tokenizer, kind)
        fields = {**FIELDS, "hidden_size_head": 8, "max_input_tokens": 128, **describe_prompts(tokenizer)}
        torch.manual_seed(1)
        model = VRMForSequenceClassification.from_backbone(str(source), head=head, loss="marginal", **fields)
        save_model(model, tokenizer, place)
    return place


def _decoder() -> tuple[Any, Any]:
    from transformers import Qwen3Config, Qwen3Model

    from vrm.testing import byte_level_tokenizer

    tokenizer = byte_level_tokenizer([f"{WORDS}\n{WORDS}"] * 4, size=340)
    return tokenizer, Qwen3Model(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            head_dim=8,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=256,
            bos_token_id=None,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            initializer_range=0.2,
        )
    )


def _encoder() -> tuple[Any, Any]:
    from transformers import BertConfig, BertModel

    from vrm.testing import wordpiece_tokenizer

    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    tokenizer = wordpiece_tokenizer([*letters, *(f"##{letter}" for letter in letters), *WORDS.split()])
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
    )
    return tokenizer, BertModel(config, add_pooling_layer=False)
