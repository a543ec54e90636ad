"""Texts and models that `studies.serving` and `studies.serving_steps` measure with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vrm.data.planted import planted_corpus


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    prompts: int = 320
    long_prompts: int = 12
    completions: int = 16
    long_prompt_words: int = 220
    clients: int = 64
    rounds: int = 3


QUICK = Sizes(prompts=24, long_prompts=2, completions=4, long_prompt_words=40, clients=8, rounds=1)


@dataclass(frozen=True)
class Text:
    """A prompt and one completion."""

    prompt: str
    completion: str


def make_texts(sizes: Sizes) -> dict[str, list[Text]]:
    """Prompts and completions of the quickstart corpus; a long prompt is some of its completions and a question."""
    rows = planted_corpus(raters=False).train
    prompts = [str(row.prompt[0]["content"]) for row in rows]  # type: ignore[index]
    completions = [" " + str(text[0]["content"]) for row in rows for text in row.completions]  # type: ignore[index]
    own = [
        Text(*pair) for pair in zip(prompts[: sizes.prompts], completions[:: len(rows[0].completions)], strict=False)
    ]
    words = iter(" ".join(completions).split())
    long_prompts = [" ".join(islice(words, sizes.long_prompt_words)) for _ in range(sizes.long_prompts)]
    rest = iter(reversed(completions))
    shared = [Text(prompt, next(rest)) for prompt in long_prompts for _ in range(sizes.completions)]
    return {"own prompts": own, "shared long prompts": shared}


def make_model(backbone: str, directory: Path, texts: list[Text]) -> Path:
    """A model with a random head over the embedded encoder, or over a random decoder."""
    from vrm.data.chat import ensure_chat_template, prompt_boundary_ids
    from vrm.model import VRMForSequenceClassification, save_model
    from vrm.model.checkpoint import load_tokenizer

    name = backbone if backbone == "embedded" else str(make_decoder(directory / "backbone", texts))
    tokenizer = load_tokenizer(name)
    kind = "encoder" if backbone == "embedded" else "decoder"
    ensure_chat_template(tokenizer, kind)
    model = VRMForSequenceClassification.from_backbone(
        name,
        head="vrm",
        objectives=["helpfulness", "safety"],
        num_features=8,
        max_input_tokens=512,
        conversational=kind == "encoder",
        prompt_boundary_ids=prompt_boundary_ids(tokenizer),
    )
    save_model(model, tokenizer, directory / "model")
    return directory / "model"


def make_decoder(directory: Path, texts: list[Text]) -> Path:
    """A Qwen3 of 6 layers and width 384, random, with a byte-level BPE of the texts."""
    from transformers import Qwen3Config, Qwen3Model

    from vrm.testing import byte_level_tokenizer

    tokenizer = byte_level_tokenizer([text.prompt + text.completion for text in texts], size=4000, chat_template=None)
    tokenizer.model_max_length = 1024
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=64,
        intermediate_size=1152,
        max_position_embeddings=1024,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=0,
    )
    Qwen3Model(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
