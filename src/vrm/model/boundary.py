"""Where a row's prompt ends and its completion begins."""

from __future__ import annotations

import torch
from torch import Tensor

from vrm.errors import BoundaryError


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
