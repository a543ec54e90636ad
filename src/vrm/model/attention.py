"""Attention over packed rows (`vrm.model.packing`), as an implementation that `transformers` dispatches to.

Parts of a packed row must not see each other, except that a completion sees its prompt. Each tree is attended to
alone, by `scaled_dot_product_attention`; on CUDA one FlexAttention kernel takes the whole row. Nothing else of a
backbone changes: projections, norms and MLPs work on single tokens, and rotary or learned positions are passed in.
Without `segments`, the implementation is the library's `sdpa`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._triton import has_triton
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from vrm.errors import ConfigError

PACKED_ATTENTION = "vrm_packed"
"""Name of the implementation in `transformers`' registry."""

DENSE_WASTE = 2.5
"""A tree is attended to in one call, masked, if that computes at most this many times the scores it needs.

Measured for pairs on a CPU in bfloat16: one call a tree takes 0.85 of the time of one call a part.
"""

DENSE_LENGTH = 1024
"""Longest tree whose mask is written out."""

_UNSUPPORTED = ("softcap", "s_aux", "position_bias", "head_mask")


@dataclass(frozen=True, slots=True)
class _Block:
    """Queries of one piece of the row, keys of one or two; seen are those of a mask, those before, or all."""

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

    def plan(self, window: int | None, device: torch.device) -> tuple[list[int], list[_Block]]:
        """Sizes into which the row is cut, and the calls over these pieces; the same for every layer."""
        key = (window, device)
        if key not in self._plans:
            self._plans[key] = self._make_plan(window, device)
        return self._plans[key]

    def _make_plan(self, window: int | None, device: torch.device) -> tuple[list[int], list[_Block]]:
        sizes: list[int] = []
        blocks: list[_Block] = []
        masks = _Masks(window, device)
        for first, last in self._trees():
            lengths = self.lengths[first:last]
            if self.causal and len(lengths) > 1 and _dense_pays(lengths):
                blocks.append(_Block(len(sizes), (len(sizes),), masks.tree(tuple(lengths)), False))
                sizes.append(sum(lengths))
                continue
            prompt = len(sizes)
            for part, length in enumerate(lengths):
                here = len(sizes)
                before = lengths[0] if part else 0
                plain = not before and (window is None or length <= window)
                mask = masks.causal(length, before) if self.causal and not plain else None
                blocks.append(_Block(here, (prompt, here) if before else (here,), mask, self.causal and plain))
                sizes.append(length)
        return sizes, blocks

    def _trees(self) -> Iterator[tuple[int, int]]:
        starts = [part for part, prefix in enumerate(self.prefixes) if prefix < 0]
        yield from zip(starts, [*starts[1:], len(self.prefixes)], strict=True)

    def block_mask(self, window: int | None, device: torch.device) -> Any:
        """FlexAttention's mask of the whole row."""
        key = ("flex", window, device)
        if key not in self._plans:
            self._plans[key] = _flex_mask(self, window, device)
        return self._plans[key]


def _dense_pays(lengths: list[int]) -> bool:
    prompt, *completions = lengths
    needed = prompt**2 / 2 + sum(length * (prompt + length) for length in completions)
    return sum(lengths) <= DENSE_LENGTH and sum(lengths) ** 2 <= DENSE_WASTE * needed


class _Masks:
    """Boolean masks by shape, each made once; a token sees at most `window` tokens, itself among them."""

    def __init__(self, window: int | None, device: torch.device) -> None:
        self._window, self._device = window, device
        self._made: dict[tuple[int, ...], Tensor] = {}

    def causal(self, length: int, before: int) -> Tensor:
        """(length, before + length): what comes before a token, and itself."""
        if (length, before) not in self._made:
            query = torch.arange(before, before + length, device=self._device).unsqueeze(1)
            key = torch.arange(before + length, device=self._device)
            self._made[length, before] = (key <= query) & self._near(query, key)
        return self._made[length, before]

    def tree(self, lengths: tuple[int, ...]) -> Tensor:
        """(tokens, tokens) of a prompt and its completions."""
        if (-1, *lengths) not in self._made:
            sizes = torch.tensor(lengths, device=self._device)
            part = torch.repeat_interleave(torch.arange(len(lengths), device=self._device), sizes)
            index = torch.arange(len(part), device=self._device)
            position = index - (torch.cumsum(sizes, 0) - sizes)[part] + torch.where(part > 0, lengths[0], 0)
            seen = (index.unsqueeze(1) >= index) & ((part.unsqueeze(1) == part) | (part == 0))
            self._made[-1, *lengths] = seen & self._near(position.unsqueeze(1), position)
        return self._made[-1, *lengths]

    def _near(self, query: Tensor, key: Tensor) -> Tensor:
        return query - key < (self._window or sys.maxsize)


def _flex_mask(segments: Segments, window: int | None, device: torch.device) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    sizes = torch.tensor(segments.lengths, device=device)
    part = torch.repeat_interleave(torch.arange(len(sizes), device=device), sizes)
    prefix = torch.tensor(segments.prefixes, device=device)[part]
    starts = torch.cumsum(sizes, 0) - sizes
    index = torch.arange(len(part), device=device)
    position = index - starts[part] + torch.where(prefix >= 0, sizes[prefix.clamp_min(0)], 0)

    def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        visible = (part[query] == part[key]) | (prefix[query] == part[key])
        if segments.causal:
            visible = visible & (key <= query)
        return visible if window is None else visible & (position[query] - position[key] < window)

    return create_block_mask(seen, None, None, len(part), len(part), device=device)


@lru_cache(maxsize=1)
def _flex_kernel() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    # Uncompiled, it writes out all scores. Lengths change with every batch.
    return torch.compile(flex_attention, dynamic=True)


def flex_packed_attention(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, scaling: float | None, window: int | None
) -> Tensor:
    """The whole row in one kernel, (1, heads, tokens, width); keys and values may have fewer heads (GQA)."""
    from torch.nn.attention.flex_attention import flex_attention

    kernel = _flex_kernel() if query.is_cuda else flex_attention
    mask = segments.block_mask(window, query.device)
    # Autocast casts for the library's own attention, but not for this one.
    autocast = torch.is_autocast_enabled(query.device.type)
    dtype = torch.get_autocast_dtype(query.device.type) if autocast else value.dtype
    query, key, value = (states.to(dtype) for states in (query, key, value))
    return kernel(query, key, value, block_mask=mask, scale=scaling, enable_gqa=key.shape[1] != query.shape[1])


def sdpa_packed_attention(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, *, dropout: float = 0.0,
    scaling: float | None = None, window: int | None = None,
) -> Tensor:  # fmt: skip
    """Tree by tree, (1, heads, tokens, width)."""
    repeats = query.shape[1] // key.shape[1]
    sizes, blocks = segments.plan(window, query.device)
    # One split: the gradient of a slice is as large as the whole row.
    queries = query.split(sizes, 2)
    keys, values = (repeat_kv(states, repeats).split(sizes, 2) for states in (key, value))
    outputs = [
        nn.functional.scaled_dot_product_attention(
            queries[block.queries],
            _joined(keys, block.keys),
            _joined(values, block.keys),
            attn_mask=block.mask,
            dropout_p=dropout,
            is_causal=block.causal,
            scale=scaling,
        )
        for block in blocks
    ]
    return torch.cat(outputs, 2)


def _joined(pieces: tuple[Tensor, ...], which: tuple[int, ...]) -> Tensor:
    return pieces[which[0]] if len(which) == 1 else torch.cat([pieces[index] for index in which], 2)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    segments: Segments | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """`transformers`' interface: states (1, heads, tokens, width) to (1, tokens, heads, width).

    Raises:
        ConfigError: if the layer asks for something that packed rows do not have (see `packing_problem`).
    """
    if segments is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    asked = [name for name in _UNSUPPORTED if kwargs.get(name) is not None]
    window = kwargs.get("sliding_window")
    if not segments.causal and window is not None:
        asked.append("sliding_window of an encoder")
    if asked:
        raise ConfigError(f"packed rows do not support attention with {', '.join(asked)}")
    segments.calls += 1
    dropout, scaling = kwargs.get("dropout", 0.0), kwargs.get("scaling")
    if query.is_cuda and not dropout and has_triton():
        output = flex_packed_attention(query, key, value, segments, scaling, window)
    else:
        output = sdpa_packed_attention(
            query, key, value, segments, dropout=dropout, scaling=scaling, window=window
        )  # fmt: skip
    return output.transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(PACKED_ATTENTION, packed_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(PACKED_ATTENTION, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def use_packed_attention(backbone: Any) -> None:
    """Let a backbone that runs on `sdpa` attend to packed rows too; any other is left as it is."""
    if getattr(backbone.config, "_attn_implementation", None) == "sdpa" and backbone._can_set_attn_implementation():
        backbone.set_attn_implementation(PACKED_ATTENTION)
