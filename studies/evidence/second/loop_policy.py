"""The toy policy of `examples/` under GRPO, without TRL's machinery: a run costs seconds, so that seeds can be many.

The step is TRL's with its defaults and no KL penalty: one update a batch, advantages divided by the standard deviation
of their prompt's completions, the sum over tokens divided by the tokens of the batch, gradients clipped at 1.
"""

from __future__ import annotations

import copy
import importlib
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from vrm.data.planted.text import DOMAINS

EXAMPLES = Path(__file__).parents[3] / "examples"
PROMPTS, GENERATIONS = 8, 8
LEARNING_RATE = 1e-3
KL_EVERY = 5
"""Steps between two estimates of the KL to the start of the policy."""

Reward = Callable[[list[int], list[list[list[int]]]], Tensor]
"""From numbers of prompts, and the sentences of each completion of each, to rewards (prompts, completions)."""


def toy() -> Any:
    """The examples' module with the policy and its truth."""
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    return importlib.import_module("toy_policy")


@dataclass(frozen=True)
class World:
    """What the policy of a seed speaks of, and how.

    Attributes:
        rows: `prompt` and `domain`, those of the corpus's dev fold.
        sentences: all that it can say.
        prompt_tokens: (rows, longest), padded on the left.
        prompt_mask: same shape.
        sentence_of: (vocabulary,) number of the sentence that a token is, or -1.
        end: token that ends a completion.
    """

    rows: list[dict[str, Any]]
    sentences: list[Any]
    prompt_tokens: Tensor
    prompt_mask: Tensor
    sentence_of: list[int]
    end: int


@dataclass(frozen=True)
class Batch:
    """Sampled completions: tokens (rows, length), which of them count, and the sentences said."""

    prompts: list[int]
    tokens: Tensor
    counted: Tensor
    said: list[list[int]]


def world(seed: int) -> World:
    """What the policy of a seed is asked."""
    module, tokenizer = toy(), _tokenizer()
    rows, sentences = module.prompts(seed), list(module.SENTENCES.values())
    questions = [tokenizer.apply_chat_template(r["prompt"], add_generation_prompt=True, tokenize=False) for r in rows]
    encoded = tokenizer(questions, return_tensors="pt", padding=True, padding_side="left")
    number = {sentence.text: place for place, sentence in enumerate(sentences)}
    sentence_of = [number.get(token, -1) for token in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))]
    return World(
        rows, sentences, encoded["input_ids"], encoded["attention_mask"], sentence_of, int(tokenizer.eos_token_id)
    )


@cache
def _rows() -> list[dict[str, Any]]:
    """Every prompt that a training or dev fold may hold, so that all seeds share a vocabulary and a start."""
    return [
        {"prompt": [{"role": "user", "content": text}], "domain": domain.name}
        for domain in DOMAINS
        for text in domain.prompts(False)
    ]


@cache
def _tokenizer() -> Any:
    return toy().build_tokenizer(_rows())


@cache
def start(steps: int) -> Any:
    """The policy after so many steps of supervision."""
    return toy().pretrained_policy(_rows(), _tokenizer(), 0, steps).eval()


def sample(policy: Any, world: World, prompts: list[int], generator: torch.Generator) -> Batch:
    """`GENERATIONS` completions of each prompt, drawn at temperature 1."""
    index = torch.tensor(prompts).repeat_interleave(GENERATIONS)
    tokens, mask = world.prompt_tokens[index], world.prompt_mask[index].bool()
    positions = (mask.long().cumsum(1) - 1).clamp_min(0)
    alive, drawn, counted = torch.ones(len(index), dtype=torch.bool), [], []
    memory: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for _ in range(toy().MAX_TOKENS):
            chances, memory = _next(policy, tokens, positions, mask, memory)
            levels = torch.rand(len(index), 1, generator=generator) * chances.sum(1, keepdim=True)
            drawn.append((chances.cumsum(1) < levels).sum(1, keepdim=True).clamp_max(chances.shape[1] - 1))
            counted.append(alive)
            tokens = drawn[-1]
            alive = alive & (tokens[:, 0] != world.end)
            mask = torch.cat([mask, torch.ones_like(tokens, dtype=torch.bool)], 1)
            positions = positions[:, -1:] + 1
    completions, kept = torch.cat(drawn, 1), torch.stack(counted, 1)
    said = [
        [world.sentence_of[token] for token, keep in zip(row, keeps, strict=True) if keep]
        for row, keeps in zip(completions.tolist(), kept.tolist(), strict=True)
    ]
    return Batch(index.tolist(), completions, kept, [[one for one in row if one >= 0] for row in said])


def _next(
    policy: Any, tokens: Tensor, positions: Tensor, mask: Tensor, memory: list[tuple[Tensor, Tensor]]
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Chances of the next token, (rows, vocabulary), by the policy's layers, without what `generate` does beside them.

    Args:
        policy: a Llama.
        tokens: (rows, new), the prompts or the last token.
        positions: same shape.
        mask: (rows, so far), False for padding.
        memory: keys and values of the layers; empty for the prompts.
    """
    hidden = policy.model.embed_tokens(tokens)
    rotation = policy.model.rotary_emb(hidden, positions)
    seen, new = mask.shape[1], tokens.shape[1]
    allowed = mask[:, None, None, :] & torch.ones(new, seen, dtype=torch.bool).tril(seen - new)
    allowed = allowed | torch.eye(seen, dtype=torch.bool)[-new:]  # padding sees itself, so that no row is empty
    kept = []
    for number, layer in enumerate(policy.model.layers):
        attention, inputs = layer.self_attn, layer.input_layernorm(hidden)
        query, key, value = (
            project(inputs).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        query, key = apply_rotary_pos_emb(query, key, *rotation)
        if memory:
            key, value = (torch.cat(pair, 2) for pair in zip(memory[number], (key, value), strict=True))
        kept.append((key, value))
        read = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        hidden = hidden + attention.o_proj(read.transpose(1, 2).flatten(2))
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return policy.lm_head(policy.model.norm(hidden[:, -1])).softmax(-1), kept


def log_probabilities(policy: Any, world: World, batch: Batch) -> Tensor:
    """Log-probabilities of the vocabulary at every place of the completions, (rows, length, vocabulary)."""
    index = torch.tensor(batch.prompts)
    tokens = torch.cat([world.prompt_tokens[index], batch.tokens[:, :-1]], 1)
    mask = torch.cat([world.prompt_mask[index], torch.ones_like(batch.tokens[:, :-1])], 1)
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    length = batch.tokens.shape[1]
    logits = policy(input_ids=tokens, attention_mask=mask, position_ids=positions, logits_to_keep=length).logits
    return logits.log_softmax(-1)


def gold(world: World, batch: Batch) -> list[float]:
    """The planted score of each completion."""
    module = toy()
    return [
        module.gold_score(world.rows[prompt]["domain"], [world.sentences[number] for number in said])
        for prompt, said in zip(batch.prompts, batch.said, strict=True)
    ]


def shortcut(world: World, batch: Batch) -> list[float]:
    """The share of flattery and padding in each completion."""
    return [toy().shortcut_share([world.sentences[number] for number in said]) for said in batch.said]


def optimize(
    begun: Any, world: World, reward: Reward, seed: int, steps: int, rate: float = LEARNING_RATE
) -> dict[str, list[float]]:
    """One run; means over the completions of each step, taken before its update, of gold, reward, shortcut and length.

    `kl` is the policy's KL to `begun`, where it started, every `KL_EVERY` steps: in nats a completion, exact over the
    vocabulary at the sampled places.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    rng = random.Random(seed)
    policy = copy.deepcopy(begun)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=rate, weight_decay=0.0)
    series: dict[str, list[float]] = {name: [] for name in ("gold", "reward", "shortcut", "sentences", "kl")}
    queue: list[int] = []
    for step in range(steps):
        if len(queue) < PROMPTS:
            queue = rng.sample(range(len(world.rows)), len(world.rows))
        prompts, queue = queue[:PROMPTS], queue[PROMPTS:]
        batch = sample(policy, world, prompts, generator)
        grouped = [batch.said[place : place + GENERATIONS] for place in range(0, len(batch.said), GENERATIONS)]
        rewards = reward(prompts, grouped)
        advantages = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
        logs = log_probabilities(policy, world, batch)
        for name, values in {"gold": gold(world, batch), "shortcut": shortcut(world, batch)}.items():
            series[name].append(sum(values) / len(values))
        series["reward"].append(float(rewards.mean()))
        series["sentences"].append(sum(map(len, batch.said)) / len(batch.said))
        if step % KL_EVERY == 0 or step == steps - 1:
            series["kl"].append(_kl(logs, begun, world, batch))
        own = logs.gather(-1, batch.tokens.unsqueeze(-1)).squeeze(-1)
        loss = -(advantages.reshape(-1, 1) * own * batch.counted).sum() / batch.counted.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
    return series


@torch.no_grad()
def _kl(logs: Tensor, begun: Any, world: World, batch: Batch) -> float:
    apart = (logs.exp() * (logs - log_probabilities(begun, world, batch))).sum(-1)
    return float((apart * batch.counted).sum() / len(batch.prompts))
