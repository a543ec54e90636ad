"""Small random models of both kinds, with their backbones, written once."""

from __future__ import annotations

from pathlib import Path

WORDS = (
    "the a is of to and you it in how do we boil water question put pot on stove no idea ask somebody user assistant"
)
FIELDS = {"objectives": ["helpfulness", "safety", "brevity"], "num_free_objectives": 1, "num_features": 4}


def backbone(folder: Path, kind: str) -> Path:
    """A directory with a random `decoder` or `encoder` of a few thousand weights."""
    place = folder / f"{kind}-backbone"
    if not place.exists():
        from studies.drills.tiny import write_decoder, write_encoder

        if kind == "decoder":
            write_decoder(place, [f"{WORDS}\n{WORDS}"] * 4)
        else:
            write_encoder(place, WORDS.split())
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
