"""Shared by the numerics tests: the four-standard-error rule, and a small random model in float64."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.posteriors import Posteriors, RatingModel

sys.path.insert(0, str(Path(__file__).parents[2] / "studies"))

Check = Callable[[Tensor, Tensor], None]


@pytest.fixture
def within_standard_errors() -> Check:
    """Checks that the mean of samples (num_samples, ...) is the expected (...,) within 4 standard errors."""

    def check(samples: Tensor, expected: Tensor) -> None:
        error = samples.std(0) / samples.shape[0] ** 0.5
        assert (error > 0).all(), "samples do not vary: the check would be void"
        distance = ((samples.mean(0) - expected) / error).abs().max().item()
        assert distance < 4, f"{distance:.1f} standard errors"

    return check


@pytest.fixture
def posteriors() -> Posteriors:
    """Three judgments of two completions, four objectives, three features, float64."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Posteriors(
        ObjectiveWeights.from_concentration(normal(3, 4).exp() * 2),
        SemanticFeatures(normal(3, 2, 3), (0.5 * normal(3, 2, 3)).exp()),
        normal(4, 3),
        RatingModel(torch.tensor(1.3, dtype=torch.float64), normal(4), normal(4).abs() * 0.3 + 0.3),
    )


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(20260101)
