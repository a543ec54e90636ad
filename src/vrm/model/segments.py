"""Which tokens of a packed row see which.

Parts of a packed row (`vrm.model.packing`) must not see each other, except that a completion sees its prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from vrm.model.calls import Plan, Visibility, decoder_rows, encoder_rows, plan_calls

NO_PART = -2
"""The part of padding; -1 is the prefix of a part that has none."""


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
            device: of the numbers that the rule is asked with. The number after the last token's stands for padding,
                which nothing sees.
        """
        sizes = torch.tensor(self.lengths, device=device, dtype=torch.int32)
        part = torch.repeat_interleave(torch.arange(len(sizes), device=device, dtype=torch.int32), sizes)
        prefix = torch.tensor(self.prefixes, device=device, dtype=torch.int32)[part]
        starts = torch.cumsum(sizes, 0, dtype=torch.int32) - sizes
        index = torch.arange(len(part), device=device, dtype=torch.int32)
        position = index - starts[part] + torch.where(prefix >= 0, sizes[prefix.clamp_min(0)], 0)
        part, position = nn.functional.pad(part, (0, 1), value=NO_PART), nn.functional.pad(position, (0, 1))

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

    def plan(self, window: int | None, device: torch.device, dtype: torch.dtype) -> Plan:
        """The calls of attention that compute the row, for states of a dtype; the same for every such layer."""
        key = (window, device, dtype)
        if key not in self._plans:
            rows = decoder_rows(self._trees(), window) if self.causal else encoder_rows(self._trees())
            self._plans[key] = plan_calls(rows, self.visibility(window, device), self.causal, device, dtype)
        return self._plans[key]

    def _trees(self) -> Iterator[list[range]]:
        """Tokens of the parts of each tree, the prompt's first."""
        parts = [range(stop - length, stop) for length, stop in zip(self.lengths, accumulate(self.lengths))]
        starts = [part for part, prefix in enumerate(self.prefixes) if prefix < 0]
        for first, last in pairwise([*starts, len(parts)]):
            yield parts[first:last]


BLOCK = 128
"""Tokens of a block, FlexAttention's own."""

STRIPE = 4
"""Blocks of queries whose mask is written out at a time, so that it grows with the row and not with its square."""

GRAPHS = 64
"""Kernels compiled at most: windows, gradients, precisions and sizes of heads have one each."""


def flex_mask(seen: Callable[..., Tensor], tokens: int, device: torch.device) -> Any:
    """The `BlockMask` of a packed row, as `create_block_mask` makes it, without the whole mask in memory.

    Args:
        seen: of (batch, head, query, key) whether the query sees the key; see `Segments.visibility`.
        tokens: of the row.
        device: of the mask.
    """
    from torch.nn.attention.flex_attention import BlockMask

    counts = _seen_by_block(seen, tokens, device)
    full = counts == BLOCK * BLOCK
    return BlockMask.from_kv_blocks(
        *_ordered((counts > 0) & ~full), *_ordered(full), BLOCK_SIZE=BLOCK, mask_mod=seen, seq_lengths=(tokens, tokens)
    )


def _seen_by_block(seen: Callable[..., Tensor], tokens: int, device: torch.device) -> Tensor:
    """(blocks, blocks): how many of a block's pairs of query and key see each other."""
    blocks = -(-tokens // BLOCK)
    counts = torch.zeros(blocks, blocks, dtype=torch.int64, device=device)
    keys = torch.arange(tokens, device=device)
    for first in range(0, blocks, STRIPE):
        queries = keys[first * BLOCK : (first + STRIPE) * BLOCK]
        visible = seen(None, None, queries.unsqueeze(1), keys)
        rows = -(-len(queries) // BLOCK)
        padding = (0, blocks * BLOCK - tokens, 0, rows * BLOCK - len(queries))
        squares = nn.functional.pad(visible, padding).view(rows, BLOCK, blocks, BLOCK)
        counts[first : first + rows] = squares.sum((1, 3))
    return counts


def _ordered(dense: Tensor) -> tuple[Tensor, Tensor]:
    """Number of blocks in each row, and their indices before all others, each (1, 1, ...)."""
    indices = torch.argsort(dense.to(torch.int8), dim=-1, descending=True, stable=True)
    return dense.sum(-1, dtype=torch.int32)[None, None], indices.to(torch.int32)[None, None]


def flex_attend(query: Tensor, key: Tensor, value: Tensor, mask: Any, scaling: float | None) -> Tensor:
    """Attention of states in one precision, (1, heads, tokens, width); compiled on CUDA."""
    from torch.nn.attention.flex_attention import flex_attention

    attend = _kernel() if query.is_cuda else flex_attention
    return attend(query, key, value, block_mask=mask, scale=scaling, enable_gqa=key.shape[1] != query.shape[1])


@lru_cache(maxsize=1)
def _kernel() -> Callable[..., Tensor]:
    from torch._dynamo import config
    from torch.nn.attention.flex_attention import flex_attention

    # Beyond the limit a call runs uncompiled, which writes out all scores.
    config.recompile_limit = max(config.recompile_limit, GRAPHS)
    # Lengths change with every batch.
    return torch.compile(flex_attention, dynamic=True)
