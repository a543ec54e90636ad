"""Completions of a language model, for the examples."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch

Messages = list[dict[str, str]]


def sample(
    policy: Any,
    tokenizer: Any,
    prompts: Sequence[Messages],
    count: int,
    max_tokens: int,
    seed: int,
    batch: int | None = None,
) -> list[list[str]]:
    """`count` completions of every prompt, at temperature 1.

    Args:
        policy: a language model, or adapters around one; left in evaluation mode.
        tokenizer: with a chat template, padding on the left.
        prompts: conversations that end with a user's turn.
        count: completions of each.
        max_tokens: of a completion, which is cut there.
        seed: of torch's generator.
        batch: rows of a call, rounded down to whole prompts, but at least one; None for one call.
    """
    torch.manual_seed(seed)
    policy.eval()
    at_once = len(prompts) if batch is None else max(batch // count, 1)
    completions = list[list[str]]()
    for start in range(0, len(prompts), at_once):
        messages = [prompt for prompt in prompts[start : start + at_once] for _ in range(count)]
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True
        ).to(policy.device)
        with torch.inference_mode():
            output = policy.generate(**inputs, do_sample=True, max_new_tokens=max_tokens)
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        print(
            f"{min(start + at_once, len(prompts))} of {len(prompts)} prompts are answered", file=sys.stderr, flush=True
        )
        completions += [texts[first : first + count] for first in range(0, len(texts), count)]
    return completions
