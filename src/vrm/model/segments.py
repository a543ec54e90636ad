"""Which tokens of a packed row see which, and the calls of attention that compute it tree by tree.

Parts of a packed row (`vrm.model.packing`) must not see each other, except that a completion sees its prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from vrm.model.flex import flex_mask

DENSE_WASTE = 2.5
"""A tree is attended to in one call, masked, if that computes at most this many times the scores it needs.

Measured for pairs on a CPU in bfloat16: one call a tree takes 0.85 of the time of one call a part.
"""

DENSE_LENGTH = 1024
"""Longest tree whose mask is written out."""


Visibility = Callable[[Any, Any, Tensor, Tensor], Tensor]
"""FlexAttention's `mask_mod`: of (batch, head, query, key), numbers of tokens, whether the query sees the key."""


@dataclass(frozen=True, slots=True)
class Block:
    """One call of attention over pieces of a row.

    Attributes:
        queries: number of the piece whose tokens look.
        keys: numbers of the pieces that they look at, one or two.
        mask: bool (queries, keys), what is seen; None: everything, or with `causal` what comes before, and itself.
        causal: whether that is so.
    """

    queries: int
    keys: tuple[int, ...]
    mask: Tensor | None
    causal: bool


@dataclass
class Segments:
    """Which tokens of a packed row see which.

    Attributes:
        lengths: tokens of each part, in order.
        prefixes: the part before each, or -1.
        causal: whether a token sees only those before it (decoders).
        calls: attention layers that have used it.
    """

    lengths: list[int]
    prefixes: list[int]
    causal: bool
    calls: int = 0
    _plans: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, parts: Tensor, causal: bool) -> Segments:
        """From the `parts` of `pack_trees`, (parts, 2)."""
        lengths, prefixes = parts.t().tolist()
        return cls(lengths, prefixes, causal)

    def visibility(self, window: int | None, device: torch.device) -> Visibility:
        """The rule itself: a part sees itself and its prefix, and of both what its layer's window holds.

        Args:
            window: tokens that one sees at most, itself among them; None: all.
            device: of the numbers that the rule is asked with.
        """
        sizes = torch.tensor(self.lengths, device=device, dtype=torch.int32)
        part = torch.repeat_interleave(torch.arange(len(sizes), device=device, dtype=torch.int32), sizes)
        prefix = torch.tensor(self.prefixes, device=device, dtype=torch.int32)[part]
        starts = torch.cumsum(sizes, 0, dtype=torch.int32) - sizes
        index = torch.arange(len(part), device=device, dtype=torch.int32)
        position = index - starts[part] + torch.where(prefix >= 0, sizes[prefix.clamp_min(0)], 0)

        def seen(batch: Any, head: Any, query: Tensor, key: Tensor) -> Tensor:
            visible = (part[query] == part[key]) | (prefix[query] == part[key])
            if self.causal:
                visible = visible & (key <= query)
            return visible if window is None else visible & (position[key] > position[query] - window)

        return seen

    def block_mask(self, window: int | None, device: torch.device) -> Any:
        """FlexAttention's mask of the whole row; the same for every layer of this window."""
        key = ("flex", window, device)
        if key not in self._plans:
            self._plans[key] = flex_mask(self.visibility(window, device), sum(self.lengths), device)
        return self._plans[key]

    def plan(self, window: int | None, device: torch.device) -> tuple[list[int], list[Block]]:
        """Sizes of the pieces into which the row is cut, and the calls over them; the same for every such layer."""
        key = (window, device)
        if key not in self._plans:
            self._plans[key] = self._make_plan(window, device)
        return self._plans[key]

    def _make_plan(self, window: int | None, device: torch.device) -> tuple[list[int], list[Block]]:
        sizes: list[int] = []
        blocks: list[Block] = []
        mask_of = lru_cache(None)(partial(_causal_mask, window=window, device=device))
        for lengths in self._trees():
            prompt = len(sizes)
            if self.causal and len(lengths) > 1 and _dense_pays(lengths):
                blocks.append(Block(prompt, (prompt,), mask_of(lengths), False))
                sizes.append(sum(lengths))
                continue
            blocks.append(self._own_block(prompt, lengths[0], window, mask_of))
            sizes.append(lengths[0])
            for length in lengths[1:]:
                here = len(sizes)
                mask = mask_of((lengths[0], length), lengths[0]) if self.causal else None
                blocks.append(Block(here, (prompt, here), mask, False))
                sizes.append(length)
        return sizes, blocks

    def _own_block(self, piece: int, length: int, window: int | None, mask_of: Callable[..., Tensor]) -> Block:
        """A part that sees itself alone."""
        if self.causal and window is not None and length > window:
            return Block(piece, (piece,), mask_of((length,)), False)
        return Block(piece, (piece,), None, self.causal)

    def _trees(self) -> Iterator[tuple[int, ...]]:
        """Lengths of the parts of each tree, the prompt's first."""
        starts = [part for part, prefix in enumerate(self.prefixes) if prefix < 0]
        for first, last in pairwise([*starts, len(self.prefixes)]):
            yield tuple(self.lengths[first:last])


def _dense_pays(lengths: tuple[int, ...]) -> bool:
    prompt, *completions = lengths
    needed = prompt**2 / 2 + sum(length * (prompt + length) for length in completions)
    return sum(lengths) <= DENSE_LENGTH and sum(lengths) ** 2 <= DENSE_WASTE * needed


def _causal_mask(lengths: tuple[int, ...], first: int = 0, *, window: int | None, device: torch.device) -> Tensor:
    """(tokens - first, tokens) of a prompt and its completions, from the query of number `first` on."""
    tree = Segments(list(lengths), [-1, *[0] * (len(lengths) - 1)], causal=True)
    tokens = torch.arange(sum(lengths), device=device)
    return tree.visibility(window, device)(None, None, tokens[first:].unsqueeze(1), tokens)
