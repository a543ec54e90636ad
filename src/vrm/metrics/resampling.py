"""How intervals are bootstrapped, for every evaluation alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ResampleOptions:
    """Settings of the bootstrap intervals.

    Attributes:
        confidence: nominal coverage, in (0, 1).
        resamples: at least 1.
        seed: of the draws.
    """

    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0
