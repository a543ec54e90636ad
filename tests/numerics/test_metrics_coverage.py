"""Does the cluster bootstrap cover the truth as often as it says?"""

from __future__ import annotations

import math

import numpy as np
import pytest

from vrm.metrics import ResampleOptions, bootstrap_mean, share_interval

REPLICATES, PROMPTS = 400, 80


@pytest.fixture(scope="module")
def samples():
    """Hits of pairs whose accuracy depends on the prompt: uniform on [0.4, 1], hence 0.7 on average."""
    rng = np.random.default_rng(2024)
    result = []
    for _ in range(REPLICATES):
        groups = np.repeat(np.arange(PROMPTS), rng.integers(1, 12, PROMPTS))
        chance = rng.uniform(0.4, 1.0, PROMPTS)[groups]
        # One draw a prompt decides half of its pairs, so that they move together.
        shared = (rng.random(PROMPTS) < 0.5)[groups]
        uniform = np.where(shared, rng.random(PROMPTS)[groups], rng.random(len(groups)))
        result.append(((uniform < chance).astype(float), groups))
    return result


def _coverage(intervals):
    return np.mean([interval.low <= 0.7 <= interval.high for interval in intervals])


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_resampling_prompts_covers_as_often_as_it_says(samples, confidence):
    intervals = [
        bootstrap_mean(hits, groups, ResampleOptions(confidence=confidence, resamples=400, seed=seed))
        for seed, (hits, groups) in enumerate(samples)
    ]
    error = math.sqrt(confidence * (1 - confidence) / REPLICATES)
    # With 80 prompts percentile intervals are known to be slightly short: one point is allowed for that.
    assert abs(_coverage(intervals) - confidence) < 3 * error + 0.01


def test_resampling_rows_would_cover_too_rarely(samples):
    intervals = [
        bootstrap_mean(hits, options=ResampleOptions(resamples=400, seed=seed))
        for seed, (hits, _) in enumerate(samples)
    ]
    assert _coverage(intervals) < 0.85


@pytest.mark.parametrize(("prompts", "pairs", "shared"), [(12, 1, 0.0), (50, 1, 0.0), (10, 4, 0.5), (30, 5, 0.5)])
@pytest.mark.parametrize("accuracy", [0.5, 0.9, 0.97])
def test_intervals_of_shares_cover_also_near_the_edge(prompts, pairs, shared, accuracy):
    """Where resampling prompts is sure of 100 % far too often."""
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(prompts), pairs)
    covered = 0
    for _ in range(REPLICATES):
        together = rng.random(prompts)[groups]
        uniform = np.where(rng.random(len(groups)) < shared, together, rng.random(len(groups)))
        interval = share_interval((uniform < accuracy).astype(float), groups)
        covered += interval.low <= accuracy <= interval.high
    assert covered / REPLICATES > 0.88
