"""Attention over packed rows (`vrm.model.packing`), as an implementation that `transformers` dispatches to.

Parts of a packed row must not see each other, except that a completion sees its prompt. Rows of like length are
attended to together, by `scaled_dot_product_attention`; on CUDA one FlexAttention kernel takes the whole row. Nothing
else of a backbone changes: projections, norms and MLPs work on single tokens, and rotary or learned positions are
passed in. Without `segments`, the implementation is the library's `sdpa`.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._triton import has_triton
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.logging import warning_once

from vrm.errors import ConfigError, in_one_line
from vrm.model.segments import Segments, flex_attend

logger = logging.getLogger(__name__)

PACKED_ATTENTION = "vrm_packed"
"""Name of the implementation in `transformers`' registry."""

FLEX_TOLERANCE = 2e-2
"""Relative difference of FlexAttention to SDPA, above which it is not used; a wrong mask is far above it."""

_UNSUPPORTED = ("softcap", "s_aux", "position_bias", "head_mask")


def flex_packed_attention(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, scaling: float | None, window: int | None
) -> Tensor:
    """The whole row in one kernel, (1, heads, tokens, width); keys and values may have fewer heads (GQA)."""
    # Autocast casts for the library's own attention, but not for this one.
    dtype = _computed_in(value)
    query, key, value = (states.to(dtype) for states in (query, key, value))
    return flex_attend(query, key, value, segments.block_mask(window, query.device), scaling)


def _computed_in(states: Tensor) -> torch.dtype:
    kind = states.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype


@lru_cache
def flex_problem(device: torch.device, dtype: torch.dtype, width: int, repeats: int) -> str | None:
    """Why FlexAttention does not work on a device, or None; it is tried once, forward and backward, beside SDPA.

    Args:
        device: of the states.
        dtype: in which attention is computed.
        width: of a head.
        repeats: query heads that share keys and values.
    """
    segments = Segments([200, 60, 40, 90, 30], [-1, 0, 0, -1, 3], causal=True)
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, heads, sum(segments.lengths), width) for heads in (repeats, 1, 1)]
    states = [torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes]
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            flex = _output_and_gradients(flex_packed_attention, states, segments)
            sdpa = _output_and_gradients(sdpa_packed_attention, states, segments)
    except Exception as error:  # a compiler or a kernel may fail in any way
        return in_one_line(error)
    error = max(float((one - other).norm() / other.norm()) for one, other in zip(flex, sdpa, strict=True))
    return None if error <= FLEX_TOLERANCE else f"its results differ by {error:.1e}"


def _output_and_gradients(attend: Any, states: list[Tensor], segments: Segments) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in states]
    output = attend(*leaves, segments, scaling=None, window=None)
    output.float().square().sum().backward()
    return [tensor.float() for tensor in (output.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None))]


def _flex_works(query: Tensor, key: Tensor, value: Tensor) -> bool:
    problem = flex_problem(query.device, _computed_in(value), query.shape[-1], query.shape[1] // key.shape[1])
    if problem is not None:
        warning_once(
            logger,
            "packed rows are attended to by scaled_dot_product_attention, FlexAttention does not work here: %s",
            problem,
        )
    return problem is None


def sdpa_packed_attention(
    query: Tensor, key: Tensor, value: Tensor, segments: Segments, *, dropout: float = 0.0,
    scaling: float | None = None, window: int | None = None,
) -> Tensor:  # fmt: skip
    """In few calls over rows of like length (`vrm.model.calls`), (1, heads, tokens, width)."""
    dtype = _computed_in(value)
    plan = segments.plan(window, query.device, dtype)
    looking = [call.rows * call.queries for call in plan.calls]
    looked_at = [call.rows * call.keys for call in plan.calls]
    # One split: the gradient of a slice is as large as the whole row.
    queries = _gathered(query, plan.queries, dtype).split(looking)
    keys, values = (_gathered(states, plan.keys, dtype).split(looked_at) for states in (key, value))
    outputs = [
        nn.functional.scaled_dot_product_attention(
            queries[number].unflatten(0, (call.rows, call.queries)).transpose(1, 2),
            keys[number].unflatten(0, (call.rows, call.keys)).transpose(1, 2),
            values[number].unflatten(0, (call.rows, call.keys)).transpose(1, 2),
            attn_mask=call.mask,
            dropout_p=dropout,
            is_causal=call.causal,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        .transpose(1, 2)
        .flatten(0, 1)
        for number, call in enumerate(plan.calls)
    ]
    output = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return _of_tokens(output, plan.outputs).transpose(0, 1).unsqueeze(0)


def _gathered(states: Tensor, numbers: Tensor | None, dtype: torch.dtype) -> Tensor:
    """States of some tokens, (1, heads, tokens, width) to (numbers, heads, width)."""
    return _of_tokens(states.to(dtype)[0].transpose(0, 1), numbers)


def _of_tokens(rows: Tensor, numbers: Tensor | None) -> Tensor:
    # Copied as whole rows, which is the fast path of `index_select`.
    return rows if numbers is None else rows.flatten(1).index_select(0, numbers).view(-1, *rows.shape[1:])


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
    if query.is_cuda and not dropout and has_triton() and _flex_works(query, key, value):
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
