"""FlexAttention over packed rows: one kernel for a whole row, which on CUDA skips blocks that nobody sees."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

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
        squares = torch.nn.functional.pad(visible, padding).view(rows, BLOCK, blocks, BLOCK)
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
