"""What both sides of a comparison are given: files of a random decoder with its tokenizer, and rows of pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerBase, Qwen3Config

from vrm.data.chat import ChatTokenizer, prompt_boundary_ids
from vrm.data.load import load_judgments
from vrm.data.schema import Judgment, Text
from vrm.data.tokenized import JudgmentTokenizer, OverlongReport, TokenizedJudgment
from vrm.model import VRMConfig, VRMForSequenceClassification
from vrm.model.checkpoint import load_tokenizer
from vrm.model.embedded import resolve_backbone

TEMPLATE = Path(__file__).parents[2] / "configs" / "wordpiece_chat.jinja"

GENERATED = "generated, lognormal lengths (prompts of mean 120 tokens, sigma 0.9; completions of mean 75, sigma 0.8)"
"""Lengths like those of the helpful and harmless pairs; used where no data is given."""


@dataclass(frozen=True)
class DecoderShape:
    """A Qwen3 decoder; the defaults are 10.6 M parameters beside the embedding.

    Attributes:
        layers, hidden, intermediate: its size.
        heads, kv_heads, head_dim: of attention.
        vocabulary: None takes the tokenizer's.
        positions: longest row.
    """

    layers: int = 6
    hidden: int = 384
    intermediate: int = 1024
    heads: int = 6
    kv_heads: int = 6
    head_dim: int = 64
    vocabulary: int | None = None
    positions: int = 8192

    @classmethod
    def of(cls, backbone: str) -> DecoderShape:
        """That of a decoder of three matrices an MLP, such as Llama's, by name or directory."""
        config = AutoConfig.from_pretrained(resolve_backbone(backbone))
        heads = config.num_attention_heads
        return cls(
            config.num_hidden_layers, config.hidden_size, config.intermediate_size, heads, config.num_key_value_heads,
            getattr(config, "head_dim", None) or config.hidden_size // heads, config.vocab_size,
            config.max_position_embeddings,
        )  # fmt: skip

    def config(self, tokenizer: PreTrainedTokenizerBase | None = None) -> Qwen3Config:
        """As `transformers` takes it."""
        vocabulary = self.vocabulary or (len(tokenizer) if tokenizer is not None else 1024)
        special = (
            {}
            if tokenizer is None
            else {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
        )
        return Qwen3Config(
            num_hidden_layers=self.layers, hidden_size=self.hidden, intermediate_size=self.intermediate,
            num_attention_heads=self.heads, num_key_value_heads=self.kv_heads, head_dim=self.head_dim,
            vocab_size=vocabulary, max_position_embeddings=self.positions, tie_word_embeddings=True,
            bos_token_id=None, **special,
        )  # fmt: skip

    @property
    def matrix_parameters(self) -> int:
        """Parameters of the layers' matrices: two operations each for every token position of a forward pass."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    def forward_operations(self, positions: int, scores: int) -> float:
        """Floating-point operations of a forward pass.

        Args:
            positions: token positions.
            scores: (query, key) pairs that attention computes, in one layer.
        """
        return 2.0 * self.matrix_parameters * positions + 4.0 * self.layers * self.heads * self.head_dim * scores

    def describe(self) -> str:
        """One line."""
        millions = self.matrix_parameters / 1e6
        return f"Qwen3, {self.layers} layers, hidden {self.hidden}, {millions:.1f} M matrix parameters, random weights"


TOY = DecoderShape(layers=2, hidden=32, intermediate=64, heads=2, kv_heads=2, head_dim=16)
"""For tests."""


def benchmark_tokenizer() -> PreTrainedTokenizerBase:
    """The embedded backbone's WordPiece tokenizer with a chat template for decoders, as configs/ uses it."""
    tokenizer = load_tokenizer("embedded")
    tokenizer.chat_template = TEMPLATE.read_text(encoding="utf-8")
    tokenizer.eos_token = tokenizer.sep_token
    tokenizer.model_max_length = 1_000_000
    return tokenizer


def save_decoder(shape: DecoderShape, directory: str | Path, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """Write a decoder of random weights, its tokenizer and chat template, for every side to load."""
    tokenizer = benchmark_tokenizer()
    torch.manual_seed(seed)
    target = Path(directory) / "decoder"
    AutoModel.from_config(shape.config(tokenizer), dtype=dtype).save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target


def reward_model(backbone: str | Path, head: str, limit: int) -> VRMForSequenceClassification:
    """This package's model on those files, with the head's defaults of `vrm train`."""
    torch.manual_seed(0)
    model = VRMForSequenceClassification.from_backbone(
        str(backbone), head=head, num_features=8, head_dropout=0.3, max_input_tokens=limit
    )
    tokenizer = load_tokenizer(str(backbone))
    model.config.prompt_boundary_ids = prompt_boundary_ids(tokenizer)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model


def bare_reward_model(config: VRMConfig, dtype: torch.dtype, device: str) -> VRMForSequenceClassification:
    """A model of random weights made on a device, head in float32; for shapes too large to write to disk."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = VRMForSequenceClassification(config)
    finally:
        torch.set_default_dtype(default)
    model.score.float()
    return model


@dataclass(frozen=True)
class Rows:
    """Pairs, whole and within the length limit.

    Attributes:
        judgments: conversational pairs, chosen first.
        tokenized: the same, in token ids.
        source: what they are, in words.
        dropped: pairs over the limit, left out on every side.
    """

    judgments: list[Judgment]
    tokenized: list[TokenizedJudgment]
    source: str
    dropped: int

    def __len__(self) -> int:
        return len(self.judgments)

    def take(self, order: Sequence[int]) -> Rows:
        """Some of them, in that order."""
        judgments, tokenized = ([items[index] for index in order] for items in (self.judgments, self.tokenized))
        return Rows(judgments, tokenized, self.source, self.dropped)

    def lengths(self) -> np.ndarray:
        """(pairs, 3): tokens of prompt, chosen and rejected."""
        return np.array([[len(item.prompt), *map(len, item.completions)] for item in self.tokenized])


def read_rows(
    paths: Sequence[str], count: int, limit: int, seed: int = 0, tokenizer: PreTrainedTokenizerBase | None = None
) -> Rows:
    """A random sample of the pairs of files, or generated ones if none are given.

    Args:
        paths: of preference data, anything `vrm train` reads.
        count: pairs wanted; fewer if the files hold fewer.
        limit: tokens of prompt and completion together; longer pairs are dropped and counted.
        seed: of the sample.
        tokenizer: of the decoder that is to read them; by default that of `save_decoder`.
    """
    if paths:
        pairs = [row for row in load_judgments(list(paths), on_bad_rows="skip").judgments if _is_pair(row)]
        order = np.random.default_rng(seed).permutation(len(pairs))[:count]
        pairs, source = [_as_messages(pairs[index]) for index in order], ", ".join(Path(path).name for path in paths)
    else:
        pairs, source = generated_pairs(count, seed), GENERATED
    report = OverlongReport(limit)
    tokenize = JudgmentTokenizer(ChatTokenizer(tokenizer or benchmark_tokenizer()), limit, "drop", report)
    tokenized = list(tokenize.many(pairs))
    return Rows([item.judgment for item in tokenized], tokenized, source, report.dropped)


def _is_pair(row: Judgment) -> bool:
    return row.is_comparison and row.preference == 1.0 and row.tools is None and not row.chat_template_kwargs


def _as_messages(row: Judgment) -> Judgment:
    """Labels beside the preference are left out: TRL's trainer has none."""

    def messages(text: Text, role: str) -> Text:
        return [{"role": role, "content": text}] if isinstance(text, str) else text

    completions = [messages(text, "assistant") for text in row.completions]
    return Judgment(messages(row.prompt, "user"), completions, preference=1.0, file=row.file, line=row.line)


class WordSource:
    """Random texts of known length: words that are one token each, of the benchmark's tokenizer or of another."""

    def __init__(self, seed: int, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        vocabulary = (tokenizer or benchmark_tokenizer()).get_vocab()
        # A byte-level BPE marks what begins a word; in other vocabularies whole words stand as they are.
        begun = [piece[1:] for piece in vocabulary if piece.startswith("\u0120")]
        words = begun or list(vocabulary)
        self._words = sorted(word for word in words if word.isascii() and word.isalpha() and word.islower())
        self._rng = np.random.default_rng(seed)

    def text(self, tokens: int) -> str:
        """A text of that many tokens."""
        return " ".join(self._words[index] for index in self._rng.integers(len(self._words), size=tokens))

    def lognormal(self, mean: float, sigma: float) -> int:
        """A length of that mean, at least 1."""
        return max(1, round(float(self._rng.lognormal(math.log(mean) - sigma**2 / 2, sigma))))


def judgment_of(words: WordSource, prompt: int, completions: Sequence[int]) -> Judgment:
    """A prompt and completions of those lengths, markers of the template not counted."""
    texts: list[Text] = [[{"role": "assistant", "content": words.text(length)}] for length in completions]
    preference = 1.0 if len(texts) == 2 else None
    return Judgment([{"role": "user", "content": words.text(prompt)}], texts, preference=preference)


def generated_pairs(count: int, seed: int) -> list[Judgment]:
    """Pairs of `GENERATED` lengths."""
    words = WordSource(seed)
    return [
        judgment_of(words, words.lognormal(120, 0.9), [words.lognormal(75, 0.8) for _ in range(2)])
        for _ in range(count)
    ]


def described(shape: DecoderShape) -> dict[str, Any]:
    """A shape for JSON."""
    return {**asdict(shape), "matrix_parameters": shape.matrix_parameters}
