"""The closed loop of the study: its own sampler says what the policy says, and its features know every sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from studies.evidence.second.loop_policy import World, log_probabilities, optimize, sample, world
from studies.evidence.second.loop_policy import start as supervised
from studies.evidence.second.loop_rewards import Sentences

from vrm.data.planted import planted_corpus


@pytest.fixture(scope="module")
def start() -> tuple[World, Any]:
    return world(seed=5), supervised(steps=3)


def test_tokens_are_drawn_by_the_chances_that_the_policy_gives_them(start: tuple[World, Any]) -> None:
    asked, policy = start
    generator = torch.Generator().manual_seed(0)
    seen, expected = [], []
    for _ in range(12):
        batch = sample(policy, asked, [0, 1, 2, 3, 4, 5, 6, 7], generator)
        with torch.no_grad():
            logs = log_probabilities(policy, asked, batch)
        own = logs.gather(-1, batch.tokens.unsqueeze(-1)).squeeze(-1)
        entropy = -(logs.exp() * logs).sum(-1)
        seen.append(-own[batch.counted])
        expected.append(entropy[batch.counted])
    surprise, entropies = torch.cat(seen), torch.cat(expected)
    error = float((surprise - entropies).std() / len(surprise) ** 0.5)
    assert abs(float(surprise.mean() - entropies.mean())) < 4 * error


def test_a_reward_is_optimized_and_the_way_is_measured(start: tuple[World, Any]) -> None:
    asked, policy = start

    def short(prompts: list[int], completions: list[list[list[int]]]) -> torch.Tensor:
        return torch.tensor([[-float(len(said)) for said in group] for group in completions])

    series = optimize(policy, asked, short, seed=0, steps=20)
    assert sum(series["sentences"][-5:]) < 0.85 * sum(series["sentences"][:5])
    assert series["reward"][0] == pytest.approx(-series["sentences"][0])
    assert series["kl"][0] == pytest.approx(0, abs=1e-4)
    assert series["kl"][-1] > 0.1


def test_every_completion_of_the_corpus_is_put_together_from_known_fragments(tmp_path: Path) -> None:
    kept = tmp_path / "sentences.npy"
    np.save(kept, np.zeros((1, 1), dtype=np.float32))
    sentences = Sentences(kept)
    texts = {number: text for text, number in sentences.place.items()}
    corpus = planted_corpus(3, raters=False)
    for row in [*corpus.train[:300], *corpus.dev, *corpus.test_reversed]:
        for completion in row.completions:
            text = completion[0]["content"]
            numbers = sentences.numbers(text)
            assert " ".join(texts[number] for number in numbers) == text
            assert len(numbers) in (6, 8)
