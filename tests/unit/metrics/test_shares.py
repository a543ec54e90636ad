"""Intervals of shares: exact where rows are independent, honest at the edges, wider where rows depend on each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from vrm.errors import ConfigError, DataError
from vrm.metrics import Interval, bootstrap_mean, share_interval, widened, wilson_interval


@pytest.mark.parametrize(("hits", "rows"), [(0, 12), (12, 12), (6, 12), (1, 30), (99, 100)])
def test_independent_rows_have_the_interval_of_wilson(hits, rows):
    found = share_interval([1.0] * hits + [0.0] * (rows - hits))
    exact = binomtest(hits, rows).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert found.estimate == hits / rows
    assert found.low <= found.estimate <= found.high


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_dozen_rows_that_agree_are_not_certain(value):
    found = share_interval([value] * 12)
    assert found.high - found.low == pytest.approx(0.2425, abs=1e-3)
    assert value in (found.low, found.high)


def test_rows_of_one_prompt_tell_less():
    hits, prompts = np.repeat([1.0, 0.0, 1.0, 1.0], 5), np.repeat(range(4), 5)
    alone, together = share_interval(hits), share_interval(hits, prompts)
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    everything = share_interval(np.ones(20), prompts)
    assert everything.low < share_interval(np.ones(20)).low < 1.0
    assert everything.low < share_interval(np.ones(20), np.repeat(range(10), 2)).low


def test_many_rows_have_the_interval_of_the_bootstrap():
    rng = np.random.default_rng(4)
    prompts = np.repeat(np.arange(400), 3)
    hits = (rng.random(1200) < np.repeat(rng.uniform(0.4, 1.0, 400), 3)) * 1.0
    thirds = np.where(rng.random(1200) < 0.6, 1.0, rng.integers(0, 4, 1200) / 3)
    for values in (hits, thirds):
        found, expected = share_interval(values, prompts), bootstrap_mean(values, prompts)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=4e-3)


def test_a_single_prompt_leaves_the_ends_unknown():
    found = share_interval([1.0, 0.0, 1.0], ["a", "a", "a"])
    assert found.estimate == pytest.approx(2 / 3)
    assert math.isnan(found.low)


def test_the_confidence_is_that_of_the_interval():
    narrow, wide = (share_interval([1, 1, 0, 1], confidence=level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert (narrow.confidence, wide.confidence) == (0.8, 0.99)


def test_what_is_no_share_is_refused():
    with pytest.raises(DataError, match=r"must lie in \[0, 1\]"):
        share_interval([0.5, 1.5])
    with pytest.raises(ConfigError, match="confidence"):
        share_interval([0.5, 1.0], confidence=1.0)


def test_an_interval_without_width_is_widened_and_others_stay():
    sure = Interval(1.0, 1.0, 1.0, 0.95)
    assert widened(sure, 12) == wilson_interval(1.0, 12)
    for interval in (
        Interval(0.9, 0.8, 1.0, 0.95),
        Interval(1.0, math.nan, math.nan, 0.95),
        Interval(3.0, 3.0, 3.0, 0.95),
    ):
        assert widened(interval, 12) is interval
