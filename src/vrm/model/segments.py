"""Which tokens of a packed row see which, and the calls of attention that compute it tree by tree.

Parts of a packed row (`vrm.model.packing`) must not see each other, except that a completion sees its prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

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
        pieces: list[range] = []
        blocks: list[Block] = []
        masks = _Masks(self.visibility(window, device), device)
        for prompt, *completions in self._trees():
            first, lengths = len(pieces), (len(prompt), *map(len, completions))
            if self.causal and completions and _dense_pays(lengths):
                pieces.append(range(prompt.start, completions[-1].stop))
                blocks.append(Block(first, (first,), masks.of(pieces[-1:], lengths), False))
                continue
            plain = window is None or len(prompt) <= window
            mask = None if plain or not self.causal else masks.of([prompt], lengths[:1])
            blocks.append(Block(first, (first,), mask, self.causal and plain))
            for number, completion in enumerate(completions, first + 1):
                mask = masks.of([prompt, completion], (len(prompt), len(completion))) if self.causal else None
                blocks.append(Block(number, (first, number), mask, False))
            pieces += [prompt, *completions]
        return [len(piece) for piece in pieces], blocks

    def _trees(self) -> Iterator[list[range]]:
        """Tokens of the parts of each tree, the prompt's first."""
        parts = [range(stop - length, stop) for length, stop in zip(self.lengths, accumulate(self.lengths))]
        starts = [part for part, prefix in enumerate(self.prefixes) if prefix < 0]
        for first, last in pairwise([*starts, len(parts)]):
            yield parts[first:last]


class _Masks:
    """Masks by their shape, each made once: the rule is the same wherever in the row a tree stands."""

    def __init__(self, seen: Visibility, device: torch.device) -> None:
        self._seen, self._device = seen, device
        self._made: dict[tuple[int, ...], Tensor] = {}

    def of(self, pieces: list[range], lengths: tuple[int, ...]) -> Tensor:
        """What queries of the last piece see of all pieces, (tokens of the last, tokens); `lengths` of their parts."""
        key = (len(pieces), *lengths)
        if key not in self._made:
            tokens = [torch.arange(piece.start, piece.stop, device=self._device) for piece in pieces]
            self._made[key] = self._seen(None, None, tokens[-1].unsqueeze(1), torch.cat(tokens))
        return self._made[key]


def _dense_pays(lengths: tuple[int, ...]) -> bool:
    prompt, *completions = lengths
    needed = prompt**2 / 2 + sum(length * (prompt + length) for length in completions)
    return sum(lengths) <= DENSE_LENGTH and sum(lengths) ** 2 <= DENSE_WASTE * needed


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
