"""What both examples share: a policy and reward models that train within seconds on a CPU, and the truth about both.

The policy answers the prompts of the built-in corpus, and its vocabulary is that corpus's sentences: a token is one
fragment that shows an objective at level 0, 1 or 2, or flattery, or padding. So it says in ten tokens what a judge can
read, and what that is worth to whoever planted the corpus is known: `gold_score`.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vrm.config import parse_config
from vrm.data.planted import planted_corpus, write_planted
from vrm.data.planted.corpus import LEVEL_STD, TRUE_WEIGHTS
from vrm.data.planted.text import FLATTERY, OBJECTIVES, PADDING, expand
from vrm.testing import wordpiece_tokenizer
from vrm.train.run import run_training

MAX_TOKENS = 10
"""Sentences of a completion: the six objectives, flattery, padding and a little room."""

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}<answer>{{ message['content'] }}<end>"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<answer>{% endif %}"
)


ENCODER = {
    "model_type": "bert",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 128,
}
"""The reward models' backbone: scores a thousand completions a second and more on one core."""


@dataclass(frozen=True)
class Sentence:
    """A fragment: the objective it shows and at which level; neither for flattery and padding."""

    text: str
    objective: str | None = None
    level: int = 0


def sentences() -> list[Sentence]:
    """Every sentence that the policy can say: one of each pattern that the corpus was written with."""
    shown = [
        Sentence(expand(pattern)[0], objective.name, level)
        for objective in OBJECTIVES
        for level, pool in enumerate(objective.levels)
        for pattern in pool.train
    ]
    return shown + [Sentence(expand(pattern)[0]) for pool in (FLATTERY, PADDING) for pattern in pool.train]


SENTENCES = {sentence.text: sentence for sentence in sentences()}


def prompts(seed: int, splits: tuple[str, ...] = ("dev",)) -> list[dict[str, Any]]:
    """Rows of `prompt` (one user message) and `domain`, each once: prompts that no reward model was trained on."""
    corpus = planted_corpus(seed, raters=False)
    rows = {row.prompt[0]["content"]: row for split in splits for row in getattr(corpus, split)}
    return [{"prompt": row.prompt, "domain": row.category} for row in rows.values()]


def build_tokenizer(rows: list[dict[str, Any]]) -> Any:
    """Words for prompts, whole sentences for completions."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for row in rows for word in row["prompt"][0]["content"].split()})
    vocab = {word: index for index, word in enumerate(["<pad>", "<unk>", "<answer>", "<end>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        extra_special_tokens=["<answer>"],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
    )
    wrapped.add_tokens([AddedToken(text, normalized=False) for text in SENTENCES])
    return wrapped


def sentences_of(tokenizer: Any, text: str) -> list[Sentence]:
    """The sentences of a completion, in order."""
    return [SENTENCES[token] for token in tokenizer.tokenize(text) if token in SENTENCES]


def gold_score(domain: str, spoken: list[Sentence]) -> float:
    """The planted truth: the domain's weights times the levels; an objective that no sentence shows counts 0.

    Said twice, an objective has the mean of its levels. Flattery and padding are worth nothing.
    """
    levels: dict[str, list[int]] = {}
    for sentence in spoken:
        if sentence.objective is not None:
            levels.setdefault(sentence.objective, []).append(sentence.level)
    weights = TRUE_WEIGHTS[domain]
    return sum(weights[name] * sum(values) / len(values) / LEVEL_STD for name, values in levels.items())


def shortcut_share(spoken: list[Sentence]) -> float:
    """Share of sentences that are flattery or padding."""
    return sum(sentence.objective is None for sentence in spoken) / max(len(spoken), 1)


def _write(rng: random.Random) -> list[str]:
    """A completion as the corpus has them: a sentence an objective, in random order, and half with the shortcut."""
    by_kind: dict[tuple[str | None, int], list[str]] = {}
    for sentence in SENTENCES.values():
        by_kind.setdefault((sentence.objective, sentence.level), []).append(sentence.text)
    texts = [rng.choice(by_kind[objective.name, rng.randrange(3)]) for objective in OBJECTIVES]
    rng.shuffle(texts)
    if rng.random() < 0.5:
        flattery, padding = (expand(rng.choice(pool.train))[0] for pool in (FLATTERY, PADDING))
        texts = [flattery, *texts, padding]
    return texts


def pretrained_policy(rows: list[dict[str, Any]], tokenizer: Any, seed: int, steps: int) -> Any:
    """A decoder that writes like the corpus, after so many steps of supervised fine-tuning on 64 texts each."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    rng = random.Random(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=192,
            max_position_embeddings=64,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        texts, starts = [], []
        for row in rng.choices(rows, k=64):
            question = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
            texts.append(question + " ".join(_write(rng)) + tokenizer.eos_token)
            starts.append(len(tokenizer(question)["input_ids"]))
        batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
        positions = torch.arange(batch["input_ids"].shape[1])
        learned = batch["attention_mask"].bool() & (positions >= torch.tensor(starts).unsqueeze(1))
        labels = batch["input_ids"].masked_fill(~learned, -100)
        loss = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def reward_tokenizer(texts: list[str]) -> Any:
    """Lower-case words and punctuation marks, as BERT splits them."""
    from tokenizers import normalizers, pre_tokenizers

    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))}
    return wordpiece_tokenizer(sorted(words), enclose=False)


def train_reward_model(head: str, output: Path, seed: int, epochs: int = 6, rows: int | None = None) -> Path:
    """Directory of a reward model with this head, an encoder trained from scratch on the corpus; made once.

    Args:
        head: `bt`, `vrm`, ...
        output: where a directory of corpus and models is made, whose name tells the other arguments.
        seed: of the corpus and of the training run.
        epochs: at most.
        rows: of the training file; None for all 2,400.
    """
    directory = output / f"reward-models-seed{seed}-epochs{epochs}-rows{rows or 'all'}"
    model = directory / head / "model"
    if model.exists():
        return model
    corpus = write_planted(directory / "corpus", seed, raters=False)
    if rows is not None:
        lines = corpus["train"].read_text(encoding="utf-8").splitlines(keepends=True)[:rows]
        corpus["train"].write_text("".join(lines), encoding="utf-8")
    texts = [
        message["content"]
        for row in planted_corpus(seed, raters=False).train
        for messages in (row.prompt, *row.completions)
        for message in messages
    ]
    reward_tokenizer(texts).save_pretrained(directory / "tokenizer")
    (directory / "encoder.json").write_text(json.dumps(ENCODER), encoding="utf-8")
    config = {
        "output_dir": str(directory / head),
        "seed": seed,
        "data": {"train": str(corpus["train"]), "eval": str(corpus["dev"])},
        "model": {
            "from_scratch": str(directory / "encoder.json"),
            "tokenizer": str(directory / "tokenizer"),
            "tuning": "full",
            "head": head,
            "num_free_objectives": 0,
            "max_input_tokens": 128,
        },
        "train": {
            "epochs": epochs,
            "batch_size": 64,
            "learning_rate": 1e-3,
            "backbone_learning_rate": 1e-3,
            "evals": epochs,
        },
    }
    return run_training(parse_config(config), overwrite=True).model_dir
