"""Words that every comparison of two models shares."""

from __future__ import annotations

import math

from vrm.metrics import Interval
from vrm.results.formats import number

ALPHA = 0.05
"""Level of every test."""

FEW_PROMPTS = 50
"""Prompts under which bootstrap intervals are too short."""


def p_words(p_value: float) -> str:
    """`p = 0.012`, `p < 0.001`, or `p unknown`."""
    if math.isnan(p_value):
        return "p unknown"
    return "p < 0.001" if p_value < 0.001 else f"p = {number(p_value, 3 if p_value < 0.1 else 2)}"


def leaves_out_zero(interval: Interval) -> bool:
    """Whether the interval is known and lies on one side of 0."""
    return interval.low > 0.0 or interval.high < 0.0
