"""Rows of token ids as rectangles: padded, moved to the left, cut to a limit, and where their completions begin."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from vrm.errors import BoundaryError


def pad_right(rows: Sequence[Sequence[int]], fill: int = 0, least: int = 1) -> tuple[Tensor, Tensor]:
    """Rows of whole numbers (token ids, indices) as one rectangle.

    Args:
        rows: of any lengths.
        fill: what stands after a row's end.
        least: columns of the rectangle, if no row is longer.

    Returns:
        values (rows, longest row), int64, and a bool mask of the same shape, true where a row has a value.
    """
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    mask = np.arange(lengths.max(initial=least)) < lengths[:, None]
    values = np.full(mask.shape, fill, dtype=np.int64)
    values[mask] = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
    return torch.from_numpy(values), torch.from_numpy(mask)


def align_left(input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move all padding to the right, so that positions count from the first real token whatever the caller did.

    Args:
        input_ids: (rows, length), padded on any side.
        attention_mask: of the same shape, true or 1 where there is a token.

    Returns:
        ids and bool mask (rows, longest row), and the offsets (rows,) by which rows moved to the left.
    """
    mask = attention_mask.bool()
    order = torch.argsort((~mask).to(torch.int8), dim=1, stable=True)
    longest = max(int(mask.sum(1).max()), 1)
    offsets = mask.to(torch.int8).argmax(1)
    return input_ids.gather(1, order)[:, :longest], mask.gather(1, order)[:, :longest], offsets


def shorten_rows(
    input_ids: Tensor, lengths: Tensor, start: Tensor, limit: int, opening_id: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of at most `limit` tokens, cut as `vrm.data.tokenized` cuts with `truncate`; for callers that cut nothing.

    Of a prompt the end remains, a quarter of the row at least, after `opening_id` if it begins with that; of a
    completion the beginning and the last token.

    Args:
        input_ids: (rows, length), right-padded.
        lengths: (rows,) number of real tokens.
        start: (rows,) index of the first completion token.
        limit: longest row.
        opening_id: special token that stays where it begins a row.

    Returns:
        ids (rows, at most `limit`), bool mask of the same shape, and start (rows,).
    """
    device = input_ids.device
    room = torch.maximum(limit - (lengths - start), start.clamp(max=limit // 4))
    kept_prompt = torch.minimum(start, room)
    kept = torch.minimum(lengths, kept_prompt + (lengths - start)).clamp(max=limit)
    positions = torch.arange(int(kept.max()), device=device).expand(len(kept), -1)
    source = positions + (start - kept_prompt).unsqueeze(1)
    if opening_id is not None:
        source = torch.where((positions == 0) & (input_ids[:, :1] == opening_id), 0, source)
    source = torch.where(positions == (kept - 1).unsqueeze(1), (lengths - 1).unsqueeze(1), source)
    mask = positions < kept.unsqueeze(1)
    return input_ids.gather(1, source.clamp(max=input_ids.shape[1] - 1)) * mask, mask, kept_prompt


def find_completion_start(
    input_ids: Tensor, lengths: Tensor, boundary_ids: list[int] | None, *, last: bool = False
) -> Tensor:
    """Index of the first token after the prompt, (rows,), by the pattern that ends a prompt.

    Only a match that leaves at least one token counts: the closing token of an encoder's row is no boundary.

    Args:
        input_ids: (rows, length), right-padded.
        lengths: (rows,) number of real tokens.
        boundary_ids: the pattern; None if the model has none.
        last: whether the last of several matches is the boundary, as where no text can spell the pattern; several
            are an error otherwise.

    Raises:
        BoundaryError: if there is no pattern, or a row has no match, or more than one where that is an error.
    """
    if not boundary_ids:
        raise BoundaryError(
            "this model has no prompt boundary pattern (its tokenizer has no chat template): "
            "pass completion_start, the index of the first completion token of every row"
        )
    pattern = torch.tensor(boundary_ids, device=input_ids.device)
    if input_ids.shape[1] <= len(boundary_ids):
        raise _boundary_error(0, 0)
    windows = input_ids.unfold(1, len(boundary_ids), 1)
    ends = torch.arange(windows.shape[1], device=input_ids.device) + len(boundary_ids)
    matches = (windows == pattern).all(-1) & (ends < lengths.unsqueeze(1))
    counts = matches.sum(1)
    wrong = counts < 1 if last else counts != 1
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise _boundary_error(row, int(counts[row]))
    return torch.where(matches, ends, 0).amax(1)


def checked_start(start: Tensor, lengths: Tensor) -> Tensor:
    """`start` (rows,), counted from the first real token, unchanged; it leaves every prompt at least one token.

    Raises:
        BoundaryError: if a completion would start at or before the first token, or beyond the end of its row.
    """
    wrong = (start < 1) | (start > lengths)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise BoundaryError(
            f"row {row}: completion_start is {int(start[row])} tokens after the row's first, but the row has "
            f"{int(lengths[row])} tokens; it must be 1 to {int(lengths[row])}: a prompt has at least one token"
        )
    return start


def _boundary_error(row: int, count: int) -> BoundaryError:
    return BoundaryError(
        f"row {row}: the pattern that ends a prompt was found {count} times, expected once. Format rows with "
        "the model's own chat template, or pass completion_start (required for prompts of several turns where "
        "guarded_template is false)"
    )
