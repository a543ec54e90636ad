"""Best-of-n with a model: its rewards, their spreads, and the picks by them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vrm.benchmarks.best_of_n import BestOfNBenchmark
from vrm.benchmarks.scoring import score_examples
from vrm.core.predictive import pessimistic_reward, relative_moments
from vrm.inference.engine import RewardEngine
from vrm.metrics import ResampleOptions, best_of_n_curve

ROWS = [
    {
        "prompt": [{"role": "user", "content": f"can you help me plan {what} ?"}],
        "completions": ["sure", "no thank you", f"yes, the {what} is long but safe", "what ? why ?"][: 3 + index % 2],
        "gold": [0.5, -1.0, 2.0, 0.0][: 3 + index % 2],
        "id": str(index),
    }
    for index, what in enumerate(["a story", "the city", "an answer", "water"])
]


@pytest.fixture
def loaded(tmp_path):
    path = tmp_path / "bon.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return BestOfNBenchmark(kappas=(1.0, 3.0)), BestOfNBenchmark().load(str(path))


def test_picks_are_by_the_models_own_moments(tiny_model_dir, loaded):
    benchmark, data = loaded
    engine = RewardEngine.from_pretrained(tiny_model_dir)
    rewards = score_examples(engine, data.examples)
    summary = benchmark.summarize(data.examples, rewards, ResampleOptions(resamples=20))
    expected = {"pessimistic 3": [], "relative 3": []}
    for example in data.examples:
        row = engine.judge([example.judgment]).row(0)
        absolute = pessimistic_reward(row.moments, 3.0)[0]
        posteriors = row.posteriors
        relative = pessimistic_reward(
            relative_moments(posteriors.weights, posteriors.features, posteriors.decoder, row.mask), 3.0
        )[0]
        for name, values in (("pessimistic 3", absolute), ("relative 3", relative)):
            expected[name].append(best_of_n_curve(values, example.label, 3))
    for name, curves in expected.items():
        found = [point.estimate for point in summary.curves[name].gold]
        assert found == pytest.approx(np.mean(curves, axis=0).tolist())
    assert summary.uncertain


def test_a_head_without_uncertainty_has_one_curve_of_its_own(make_tiny_model, loaded):
    benchmark, data = loaded
    rewards = score_examples(RewardEngine.from_pretrained(make_tiny_model(head="bt")), data.examples)
    summary = benchmark.summarize(data.examples, rewards, ResampleOptions(resamples=20))
    assert (summary.uncertain, list(summary.picks)) == (False, ["mean"])
