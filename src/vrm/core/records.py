"""Frozen dataclasses of tensors: what is done to all of their tensors at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class TensorRecord:
    """Base of dataclasses whose fields are tensors, further records, and values that are left alone."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The record with every tensor in it, however deep, passed through a function."""
        changed: dict[str, Any] = {}
        for name, value in self._values():
            if isinstance(value, TensorRecord):
                changed[name] = value.map(function)
            elif isinstance(value, Tensor):
                changed[name] = function(value)
        return replace(self, **changed)

    def on_cpu(self) -> Self:
        """The record on the CPU, without gradients."""
        return self.map(lambda values: values.detach().cpu())

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor in the record, however deep."""
        for _, value in self._values():
            if isinstance(value, TensorRecord):
                yield from value.tensors()
            elif isinstance(value, Tensor):
                yield value

    def _values(self) -> Iterator[tuple[str, Any]]:
        return ((entry.name, getattr(self, entry.name)) for entry in fields(self))


@dataclass(frozen=True)
class BatchRecord(TensorRecord):
    """Base of records whose tensors share their leading dimensions."""

    def __getitem__(self, index: Any) -> Self:
        """The same places of every tensor; an index over the leading dimensions, as for one tensor."""
        return self.map(lambda values: values[index])

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """One batch after the other."""
        tensors = zip(*(part.tensors() for part in parts), strict=True)
        joined = iter([torch.cat(values) for values in tensors])
        return parts[0].map(lambda _: next(joined))
