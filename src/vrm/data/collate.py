"""Labels of a batch of judgments as tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vrm.core.likelihoods.votes import normalize_votes
from vrm.data.schema import Judgment, Text
from vrm.errors import DataError

TARGET_KEYS = ("mask", "preference", "margin", "scores", "ratings", "votes", "offsets")
"""Keys of a batch that hold labels; the others are arguments of the model's `forward`."""


@dataclass(frozen=True)
class TargetEncoder:
    """Turns labels into tensors.

    Attributes:
        objectives: names of the head's objectives, in order; empty for heads that model none.
        rating_mean: by name; ratings are standardized with it.
        rating_std: by name.
        votes_total: votes of a row are normalized to this total; None keeps counts as they are.
        offset: nuisance offset (14) of completions, (texts,) in logits; None for none.
    """

    objectives: tuple[str, ...] = ()
    rating_mean: dict[str, float] | None = None
    rating_std: dict[str, float] | None = None
    votes_total: float | None = 1.0
    offset: Callable[[Sequence[Text]], Tensor] | None = None

    def __call__(self, rows: Sequence[Judgment]) -> dict[str, Tensor]:
        """Labels of a batch, under `TARGET_KEYS`; always the same keys, NaN or zero where a row has no such label.

        Ratings and votes on objectives that are not among `objectives` are an error here: loaders are told the names.
        """
        width = max(2, *(len(row.completions) for row in rows)) if rows else 2
        mask = torch.zeros(len(rows), width, dtype=torch.bool)
        scores = torch.full((len(rows), width), math.nan)
        ratings = torch.full((len(rows), width, len(self.objectives)), math.nan)
        votes = torch.zeros(len(rows), len(self.objectives))
        preference = torch.full((len(rows),), math.nan)
        for index, row in enumerate(rows):
            mask[index, : len(row.completions)] = True
            if row.is_comparison:
                preference[index] = float(row.preference or 0.0)
            if row.scores is not None:
                scores[index, : len(row.scores)] = torch.tensor(row.scores, dtype=torch.float32)
            if self.objectives:
                self._fill(row, ratings[index], votes[index])
        if self.votes_total is not None:
            votes = normalize_votes(votes, self.votes_total)
        margin = torch.tensor([row.margin for row in rows], dtype=torch.float32)
        offsets = torch.zeros(len(rows), width)
        if self.offset is not None:
            offsets[mask] = self.offset([text for row in rows for text in row.completions]).to(offsets)
        return {
            "mask": mask,
            "preference": preference,
            "margin": margin,
            "scores": scores,
            "ratings": ratings,
            "votes": votes,
            "offsets": offsets,
        }

    def _fill(self, row: Judgment, ratings: Tensor, votes: Tensor) -> None:
        for position, rated in enumerate(row.ratings or []):
            for name, value in rated.items():
                mean = (self.rating_mean or {}).get(name, 0.0)
                std = (self.rating_std or {}).get(name, 1.0) or 1.0
                ratings[position, self._index(name, row)] = (value - mean) / std
        for name, value in (row.objective_votes or {}).items():
            votes[self._index(name, row)] = value

    def _index(self, name: str, row: Judgment) -> int:
        if name not in self.objectives:
            raise DataError(
                f"{row.file}:{row.line}: objective {name!r} is not one of the model's: {', '.join(self.objectives)}"
            )
        return self.objectives.index(name)
