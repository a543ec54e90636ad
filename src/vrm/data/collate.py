"""Labels of a batch of judgments as tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vrm.data.schema import Judgment, Text
from vrm.labels import KINDS, LabelSpace, label_tensors
from vrm.labels.judgments import VOTES


def target_keys() -> tuple[str, ...]:
    """Keys of a batch that hold labels; the others are arguments of the model's `forward`."""
    return ("mask", *(tensor.name for tensor in label_tensors()), "offsets")


@dataclass(frozen=True)
class TargetEncoder(LabelSpace):
    """Turns labels into tensors.

    Attributes:
        offset: nuisance offset (14) of completions, (texts,) in logits; None for none.
    """

    offset: Callable[[Sequence[Text]], Tensor] | None = None

    def __call__(self, rows: Sequence[Judgment], least: int = 2) -> dict[str, Tensor]:
        """Labels of a batch, under `target_keys`; always the same keys, whatever the rows have.

        `mask` (batch, num_completions) says which completions exist, `offsets` (batch, num_completions) is the
        nuisance offset, and the others are the tensors of `vrm.labels.KINDS`. There are columns for `least`
        completions, even where no row has so many.

        Raises:
            DataError: for labels on objectives that are not among `objectives`; loaders are told the names.
        """
        counts = torch.tensor([len(row.completions) for row in rows], dtype=torch.long)
        width = max([least, *counts.tolist()])
        mask = torch.arange(width) < counts.unsqueeze(1)
        offsets = torch.zeros(len(rows), width)
        if self.offset is not None:
            offsets[mask] = self.offset([text for row in rows for text in row.completions]).to(offsets)
        return {"mask": mask, **self._labels(rows, width), "offsets": offsets}

    def _labels(self, rows: Sequence[Judgment], width: int) -> dict[str, Tensor]:
        sizes = {"completions": width, "objectives": len(self.objectives), "outcomes": len(VOTES)}
        filled = {}
        for kind in KINDS.values():
            labelled = [(index, row) for index, row in enumerate(rows) if kind.has(row)]
            for label in kind.tensors:
                tensor = torch.full((len(rows), *(sizes[axis] for axis in label.axes)), label.missing)
                values = [(index, value) for index, row in labelled if (value := label.values(row, self)) is not None]
                if values and not label.axes:
                    numbers, column = zip(*values, strict=True)
                    tensor[list(numbers)] = torch.tensor(column, dtype=tensor.dtype)
                else:
                    for index, value in values:
                        _fill(tensor[index], value)
                filled[label.name] = tensor if label.finish is None else label.finish(tensor, self)
        return filled


def _fill(place: Tensor, values: object) -> None:
    """Write values at the beginning of each axis."""
    source = torch.tensor(values, dtype=place.dtype)
    place[tuple(slice(0, size) for size in source.shape)] = source
