"""Pooling: the hidden states of a text as one vector."""

from __future__ import annotations

import torch
from torch import Tensor

from vrm.choices import Pooling


def masked_pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Pool hidden states (rows, length, width) over a mask (rows, length) to (rows, width), in float32.

    Args:
        hidden: hidden states.
        mask: bool; at least one token of every row.
        pooling: `mean`, `max`, or `cls` (the first token of the row, whatever the mask).
    """
    hidden = hidden.float()
    if pooling == Pooling.CLS:
        return hidden[:, 0]
    if pooling == Pooling.MAX:
        return hidden.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(1)
    weights = mask.to(hidden.dtype)
    return torch.einsum("rlw,rl->rw", hidden, weights) / weights.sum(1, keepdim=True)


def take_token(hidden: Tensor, index: Tensor) -> Tensor:
    """Hidden state at one position a row: (rows, length, width), (rows,) to (rows, width), in float32."""
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), index].float()


def pool_reads(hidden: Tensor, reads: Tensor, pooling: str) -> Tensor:
    """Pool ranges of one packed row: (tokens, width) and (reads, 3) to (reads, width), in float32.

    Args:
        hidden: hidden states.
        reads: of each, the first token of its row, and the first and the one after the last token that are pooled.
        pooling: `mean`, `max`, or `cls` (the first token of the row).
    """
    rows, starts, stops = reads.unbind(1)
    if pooling == Pooling.CLS:
        return hidden[rows].float()
    lengths = stops - starts
    which = torch.repeat_interleave(torch.arange(len(reads), device=reads.device), lengths)
    before = torch.cumsum(lengths, 0) - lengths
    tokens = hidden[torch.arange(len(which), device=reads.device) - before[which] + starts[which]].float()
    index = which.unsqueeze(1).expand_as(tokens)
    empty = tokens.new_zeros(len(reads), hidden.shape[1])
    if pooling == Pooling.MAX:
        return empty.scatter_reduce(0, index, tokens, "amax", include_self=False)
    return empty.index_add(0, which, tokens) / lengths.unsqueeze(1)
