"""Requests of every route, and the rewards that the same model gives the same texts in this process."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.drills.server_parts.serving import PLANTED, WORDS

from vrm.data.chat import generation_prompt
from vrm.data.schema import Judgment
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions

TOLERANCE = 2e-5
"""Of a reward: batches of another make-up differ in the last digits."""


@dataclass(frozen=True)
class Shape:
    """A request.

    Attributes:
        path: of its route.
        body: its JSON.
        judgments: what it asks to judge.
        rewards: read off the answer's JSON.
    """

    path: str
    body: dict[str, Any]
    judgments: tuple[Judgment, ...]
    rewards: Callable[[Any], list[float]]

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        return json.dumps(self.body).encode()


def turn(role: str, text: str) -> dict[str, str]:
    """A message."""
    return {"role": role, "content": text}


def native(prompt: str, texts: Sequence[str], as_messages: bool = False) -> Shape:
    """A request of the native API."""
    asked: Any = [turn("user", prompt)] if as_messages else prompt
    judged: list[Any] = [[turn("assistant", text)] for text in texts] if as_messages else list(texts)
    body = {"prompt": asked, "completions": list(texts), "probabilities": False}
    return Shape("/v1/score", body, (Judgment(asked, judged),), lambda answer: answer["rewards"])


def openrlhf(prompt: str, texts: Sequence[str], judgments: tuple[Judgment, ...] = ()) -> Shape:
    """A request of OpenRLHF; its judgments where the prompt is formatted."""
    body = {"query": [prompt + text for text in texts], "prompts": [prompt] * len(texts), "labels": None}
    judgments = judgments or tuple(Judgment(prompt, [text]) for text in texts)
    return Shape("/get_reward", body, judgments, lambda answer: answer["rewards"])


def slime(prompt: str, text: str, judgment: Judgment | None = None) -> Shape:
    """A request of slime; its judgment where the prompt is formatted."""
    body = {"prompt": prompt, "response": text}
    return Shape("/slime/reward", body, (judgment or Judgment(prompt, [text]),), lambda answer: [answer])


def pairs(prompt: str, texts: Sequence[str]) -> Shape:
    """A request in vLLM's shape for pairs."""
    body = {"text_1": prompt, "text_2": list(texts)}
    judgments = (Judgment(prompt, list(texts)),)
    return Shape("/score", body, judgments, lambda answer: [entry["score"] for entry in answer["data"]])


def classified(prompt: str, text: str) -> Shape:
    """A request in vLLM's shape for classifiers."""
    question, completion = [turn("user", prompt)], [turn("assistant", text)]
    body = {"messages": question + completion}
    judgments = (Judgment(question, [completion]),)
    return Shape("/classify", body, judgments, lambda answer: [entry["probs"][0] for entry in answer["data"]])


def _pooled(prompt: str, text: str, opening: Callable[[str], str]) -> Shape:
    judgments = (Judgment([turn("user", prompt)], [[turn("assistant", text)]]),)
    body = {"input": opening(prompt) + text}
    return Shape("/pooling", body, judgments, lambda answer: [entry["data"][0] for entry in answer["data"]])


def _explained(prompt: str, texts: Sequence[str]) -> Shape:
    body = {"prompt": prompt, "completions": list(texts)}
    judgments = (Judgment(prompt, list(texts)),)
    return Shape(
        "/v1/explain", body, judgments, lambda answer: [entry["reward"]["mean"] for entry in answer["completions"]]
    )


class Reference:
    """The model in this process.

    Args:
        model: directory.
    """

    def __init__(self, model: Path) -> None:
        self.engine = RewardEngine.from_pretrained(
            model, device="cpu", options=ExtractionOptions(precision="float32"), on_overlong="truncate"
        )
        self.marker = generation_prompt(self.engine.tokenizer) or ""

    def opening(self, prompt: str) -> str:
        """A user's prompt as the chat template formats it, with its generation prompt."""
        text = self.engine.tokenizer.apply_chat_template(
            [turn("user", prompt)], tokenize=False, add_generation_prompt=True
        )
        assert isinstance(text, str)
        return text

    def shape(self, number: int, draw: random.Random) -> Shape:
        """A request with prompts that come again and completions that never do."""
        prompt = f"{PLANTED} {' '.join(WORDS[number % 13 : number % 13 + 4])} "
        texts = [f"{number} {part} {' '.join(draw.choices(WORDS, k=draw.randint(1, 20)))}" for part in range(3)]
        kinds = (
            lambda: native(prompt, texts),
            lambda: native(prompt, texts[:2], as_messages=True),
            lambda: openrlhf(prompt, texts[:2]),
            lambda: slime(prompt, texts[0]),
            lambda: pairs(prompt, texts[:2]),
            lambda: classified(prompt, texts[0]),
            lambda: _pooled(prompt, texts[0], self.opening),
        )
        return _explained(prompt, texts[:2]) if number % 25 == 0 else kinds[number % len(kinds)]()

    def rewards(self, shapes: Iterable[Shape]) -> list[list[float]]:
        """What the model says of the texts of requests, one list a request."""
        asked = list(shapes)
        batches = self.engine.stream(judgment for shape in asked for judgment in shape.judgments)
        means = (row for batch in batches for row in batch.moments.mean.tolist())
        return [
            [value for judgment in shape.judgments for value in next(means)[: len(judgment.completions)]]
            for shape in asked
        ]


def is_right(shape: Shape, answer: Any, expected: Sequence[float]) -> bool:
    """Whether the answer's JSON has the rewards of these texts."""
    found = shape.rewards(answer)
    near = (abs(value - known) <= TOLERANCE for value, known in zip(found, expected, strict=False))
    return len(found) == len(expected) and all(near)
