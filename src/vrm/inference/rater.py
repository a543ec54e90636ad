"""The raters' side of a model that was trained with a nuisance offset (14): added for rater metrics, never rewarded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vrm.core.nuisance import NuisanceOffset
from vrm.core.quadrature import offset_margin
from vrm.data.schema import Text
from vrm.data.style import STYLE_MEASURES, plain_text
from vrm.errors import CheckpointError
from vrm.measures import StyleMeasure
from vrm.model.configuration_vrm import VRMConfig


def nuisance_table(texts: Sequence[Text], measures: Sequence[str]) -> Tensor:
    """Measures of completions, (texts, measures), float64; names from `STYLE_MEASURES`."""
    rows = [[StyleMeasure(name).of(text) for name in measures] for text in map(plain_text, texts)]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(texts), len(measures))


@dataclass(frozen=True)
class RaterOffset:
    """h of (14) with its factor, as a trained model carries it.

    Attributes:
        measures: names of the nuisances, in the order of the offset's knots.
        offset: h.
        factor: in [0, 1].
    """

    measures: tuple[str, ...]
    offset: NuisanceOffset
    factor: float

    def __call__(self, texts: Sequence[Text]) -> Tensor:
        """factor h(nu) of completions, (texts,), float64, in logits; known up to a constant."""
        return self.factor * self.offset(nuisance_table(texts, self.measures))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers; `from_dict` gives the same offset to the last bit."""
        return {
            "measures": list(self.measures),
            "knots": self.offset.knots.tolist(),
            "coefficients": self.offset.coefficients.tolist(),
            "reward_scale": self.offset.reward_scale,
            "factor": self.factor,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RaterOffset:
        """The offset of such a dictionary.

        Raises:
            CheckpointError: for measures that this version does not know, or parts that do not fit together.
        """
        unknown = [name for name in values["measures"] if name not in STYLE_MEASURES]
        if unknown:
            raise CheckpointError(
                f"nuisance measures {', '.join(unknown)} are unknown; this version has {', '.join(STYLE_MEASURES)}"
            )
        knots = torch.tensor(values["knots"], dtype=torch.float64)
        coefficients = torch.tensor(values["coefficients"], dtype=torch.float64)
        count = len(values["measures"])
        if knots.ndim != 2 or len(knots) != count or coefficients.shape != (count * (knots.shape[1] - 1),):
            raise CheckpointError(
                f"nuisance offset of {count} measures has knots {tuple(knots.shape)} and "
                f"{coefficients.numel()} coefficients, which do not fit together"
            )
        offset = NuisanceOffset(knots, coefficients, float(values["reward_scale"]))
        return cls(tuple(values["measures"]), offset, float(values["factor"]))


def rater_offset(config: VRMConfig) -> RaterOffset | None:
    """The offset a model was trained with; None for most models."""
    return None if config.nuisance is None else RaterOffset.from_dict(config.nuisance)


def rater_margins(config: VRMConfig, margins: Tensor, first: Sequence[Text], second: Sequence[Text]) -> Tensor:
    """Margins as raters would judge: E[u] plus h(nu_a) - h(nu_b) of (14), times the factor.

    Args:
        config: of the model; without an offset the margins are given back as they are.
        margins: (pairs,) reward of the first completion minus that of the second, in raw units.
        first: first completions.
        second: second completions.
    """
    rater = rater_offset(config)
    if rater is None:
        return margins
    return -offset_margin(-margins, rater(first).to(margins), rater(second).to(margins))
