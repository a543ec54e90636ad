"""The function whose error is bounded is the model's, for every head, or the bound is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vrm.certify import certify_head
from vrm.certify.heads import head_pairs
from vrm.choices import HEADS
from vrm.data.schema import Judgment
from vrm.errors import ModelError
from vrm.inference.engine import RewardEngine
from vrm.model.heads.bottleneck import BottleneckHead
from vrm.model.heads.mlp import MLPHead

ROWS = [
    Judgment(
        f"how {n}", [f"the {word} plan {n}", f"a {word} house {n % 3}"], preference=1.0, file="d.jsonl", line=n + 1
    )
    for n, word in enumerate(["good", "safe", "water", "bad"] * 3)
]


class BentHead(MLPHead):
    """As somebody adds it: the reward cannot leave (-1, 1)."""

    def semantic_features(self, completion_features):
        """Bent after the last layer."""
        usual = super().semantic_features(completion_features)
        return replace(usual, loc=usual.loc.tanh())


class HonestHead(BentHead):
    """The same, which says that nothing of its end is linear."""

    def with_linear_end(self, prompt_features, completion_features):
        """A is 1."""
        return self(prompt_features, completion_features)


class CertainHead(BottleneckHead):
    """One that forgets its variance in what is bounded."""

    def with_linear_end(self, prompt_features, completion_features):
        """Means alone."""
        posteriors = self(prompt_features, completion_features)
        features = posteriors.features
        return replace(posteriors, features=replace(features, variance=torch.zeros_like(features.variance)))


def silent(text):
    """Progress that nobody reads."""


def engine_of(directory, head=None) -> RewardEngine:
    engine = RewardEngine.from_pretrained(directory)
    if head is not None:
        engine.model.score.__class__ = head
        with torch.no_grad():  # rewards large enough to be bent
            engine.model.score._last_layer().weight.mul_(3.0)
    return engine


@pytest.mark.parametrize("head", HEADS)
def test_the_margins_that_are_bounded_are_those_of_the_engine(head, make_tiny_model):
    engine = engine_of(make_tiny_model(head))
    pairs = head_pairs(engine, ROWS, silent)
    rewards = engine.judge(ROWS).moments.mean
    bounded = (pairs.weights.mean * (pairs.difference.loc @ pairs.decoder.T)).sum(-1)
    torch.testing.assert_close(bounded, rewards[:, 0] - rewards[:, 1], rtol=1e-3, atol=1e-5)


def test_a_head_that_bends_its_reward_at_the_end_is_refused(make_tiny_model):
    engine = engine_of(make_tiny_model("mlp"), BentHead)
    with pytest.raises(
        ModelError, match=r"head 'mlp' cannot be certified: .*On \d+ of 12 pairs.*d\.jsonl:\d+: "
    ) as caught:
        certify_head(engine, ROWS, 0.05, silent)
    assert "has to override `with_linear_end`" in str(caught.value)


def test_one_that_says_so_is_bounded_by_its_own_margins(make_tiny_model):
    engine = engine_of(make_tiny_model("mlp"), HonestHead)
    (certificate,), pairs = certify_head(engine, ROWS, 0.05, silent)
    rewards = engine.judge(ROWS).moments.mean
    assert (pairs.decoder.shape, certificate.parameters) == ((1, 1), 1)
    torch.testing.assert_close(pairs.difference.loc[:, 0], rewards[:, 0] - rewards[:, 1])
    assert certificate.test_error == pytest.approx(float((rewards[:, 0] < rewards[:, 1]).double().mean()))


def test_a_variance_that_the_linear_end_forgets_is_refused(make_tiny_model):
    engine = engine_of(make_tiny_model("bottleneck"), CertainHead)
    with pytest.raises(ModelError, match="of 12 pairs the margin's standard deviation differs"):
        head_pairs(engine, ROWS, silent)
