"""Steering at inference (13), or as a rater judges (16), and whether a model can follow it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vrm.errors import CannotFollowError, ConfigError
from vrm.model.configuration_vrm import VRMConfig


@dataclass(frozen=True)
class Steering:
    """Changes of the objective weights at inference: by counts (13), and by a rater's tilt (16).

    Attributes:
        emphasis: {objective: count >= 0}, added to the concentration.
        without: objectives left out.
        rater: whose judgments are asked for, a name that `vrm adapt` has made known; None for the population's.
    """

    emphasis: dict[str, float]
    without: tuple[str, ...] = ()
    rater: str | None = None

    def check(self, config: VRMConfig) -> None:
        """Raise CannotFollowError where a model cannot follow it, ConfigError for a count that is not allowed."""
        names = config.objective_names
        unknown = sorted((set(self.emphasis) | set(self.without)) - set(names))
        if unknown:
            raise CannotFollowError(
                f"steering names {', '.join(unknown)}, but the model's objectives are: {', '.join(names)}",
                "without" if set(unknown) & set(self.without) else "emphasis",
            )
        if self.emphasis and not config.has_weight_uncertainty:
            raise CannotFollowError(
                f"{config.head_in_words} has no concentration to add counts to, so it cannot be emphasized", "emphasis"
            )
        wrong = {name: count for name, count in self.emphasis.items() if not 0 <= count < float("inf")}
        if wrong:
            raise ConfigError(f"emphasis counts must be finite and >= 0, got {wrong}")
        if not self.remaining(names):
            raise CannotFollowError("at least one objective must remain; all were left out", "without")

    def remaining(self, names: Iterable[str]) -> tuple[str, ...]:
        """The names that are not left out."""
        return tuple(name for name in names if name not in self.without)
