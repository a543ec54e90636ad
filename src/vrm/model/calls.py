"""Few large calls of attention for a packed row: rows of like length, padded together, each call a batch of them.

A call opens and closes a parallel region and waits for its slowest thread. Where cores are shared that thread is often
not running, so many small calls cost more than the padding of a few large ones (`docs/performance.md`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Visibility = Callable[[Any, Any, Tensor, Tensor], Tensor]
"""FlexAttention's `mask_mod`: of (batch, head, query, key), numbers of tokens, whether the query sees the key."""

COPY = 8
"""Scores that take as long as one more copy of a token's keys and values."""

CALL = 4096
"""Scores that take as long as one more call."""

PADDING = 0.1
"""Share of a call's scores that may be those of padding."""

MASK = 2**24
"""Numbers of a call's mask at most, unless a single row has more."""

Numbers = NDArray[np.int64]


class Row(NamedTuple):
    """A row of a call: tokens that look at themselves, and at a prompt before them.

    Attributes:
        start: number of the first token that looks.
        length: tokens that look, one behind the other.
        prompt: number of the prompt's first token.
        prompt_length: its tokens; 0 where the looking tokens include it, or there is none.
        whole: whether a token sees the whole row, or of a decoder all that comes before.
    """

    start: int
    length: int
    prompt: int
    prompt_length: int
    whole: bool

    @property
    def plain(self) -> bool:
        """Whether no mask is needed, but for padding."""
        return self.whole and not self.prompt_length

    @property
    def keys(self) -> int:
        """Tokens that are looked at."""
        return self.prompt_length + self.length

    @property
    def cost(self) -> int:
        """Scores to compute."""
        return self.length * self.keys


@dataclass(frozen=True, slots=True)
class Call:
    """A batch of rows.

    Attributes:
        rows: number of them.
        queries: padded length of a row.
        keys: the same of what it looks at.
        mask: (rows, 1, queries or 1, keys), 0 where a token is seen, else the dtype's lowest number; None: everything
            is seen, or with `causal` what comes before, and the token itself.
        causal: whether that is so.
    """

    rows: int
    queries: int
    keys: int
    mask: Tensor | None
    causal: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the rows of all calls are found, one call behind the other, and the calls.

    Attributes:
        queries: numbers of the tokens that look; None: all, as they stand.
        keys: numbers of the tokens that are looked at; None: all, as they stand.
        outputs: of each token, where its output stands; None: where the token does.
        calls: at least one.
    """

    queries: Tensor | None
    keys: Tensor | None
    outputs: Tensor | None
    calls: list[Call]


def decoder_rows(trees: Iterable[Sequence[range]], window: int | None) -> Iterator[Row]:
    """Rows of trees whose tokens see what comes before: the prompt with its first completion, then the others.

    Short completions of a tree are taken together, where computing what they do not see costs less than one more
    copy of the prompt.

    Args:
        trees: tokens of the prompt of each, and of its completions.
        window: tokens that one sees at most.
    """
    for prompt, *completions in trees:
        size = len(prompt)
        groups: list[tuple[int, int]] = [(size, 0)]
        for completion in completions:
            (length, count), more = groups[-1], len(completion)
            first = len(groups) == 1
            together = _cost(size, length + more, count + 1, first)
            if together <= _cost(size, length, count, first) + _cost(size, more, 1, False):
                groups[-1] = (length + more, count + 1)
            else:
                groups.append((more, 1))
        start = prompt.start
        for number, (length, count) in enumerate(groups):
            whole = count <= 1 and (window is None or length + (size if number else 0) <= window)
            yield Row(start, length, prompt.start, size if number else 0, whole)
            start += length


def _cost(prompt: int, length: int, completions: int, with_prompt: bool) -> float:
    """Scores of a row of completions, its copies of the prompt among them; `length` holds the prompt `with_prompt`."""
    if with_prompt:
        return length**2 if completions > 1 else length**2 / 2
    return (length + COPY) * (prompt + length)


def encoder_rows(trees: Iterable[Sequence[range]]) -> Iterator[Row]:
    """Rows of parts whose tokens see all of their part."""
    for parts in trees:
        for part in parts:
            yield Row(part.start, len(part), part.start, 0, True)


def plan_calls(rows: Iterable[Row], seen: Visibility, causal: bool, device: torch.device, dtype: torch.dtype) -> Plan:
    """Rows batched by length.

    Args:
        rows: every token looks once.
        seen: which token sees which, see `Segments.visibility`.
        causal: whether a token sees only those before it.
        device: of the plan.
        dtype: of the masks, that of the states.
    """
    calls: list[Call] = []
    indices: list[tuple[Numbers, Numbers]] = []
    places: list[Numbers] = []
    rows = list(rows)
    first, nobody = 0, sum(row.length for row in rows)
    for batch in _alike(rows):
        numbers = np.array([row[:4] for row in batch], dtype=np.int64)
        queries, keys, real = _tokens(numbers)
        mask = None
        if not batch[0].plain or not (causal or real.all()):
            visible = _keys_before if causal and all(row.whole for row in batch) else seen
            # Of a part that sees both directions, every token sees the same.
            looking, looked_at = queries if causal else queries[:, :1], np.where(real, keys, nobody)
            mask = _mask(looking, looked_at, visible, device, dtype)
        calls.append(Call(*queries.shape, keys.shape[1], mask, causal and mask is None))
        indices.append((queries.ravel(), keys.ravel()))
        places.append(first + np.flatnonzero(np.arange(queries.shape[1]) < numbers[:, 1:2]))
        first += queries.size
    queries, keys = (np.concatenate(part) for part in zip(*indices, strict=True))
    where = np.concatenate(places)
    outputs = np.empty_like(where)
    outputs[queries[where]] = where
    looking = _numbers(queries, device)
    looked_at = looking if np.array_equal(queries, keys) else _numbers(keys, device)
    return Plan(looking, looked_at, None if looking is None else torch.from_numpy(outputs).to(device), calls)


def _keys_before(batch: Any, head: Any, query: Tensor, key: Tensor) -> Tensor:
    """What tokens see of a row that they see whole: numbers of tokens grow along a row, and padding's is above all."""
    return key <= query


def _numbers(values: Numbers, device: torch.device) -> Tensor | None:
    """As a tensor, or None where they only count up."""
    return None if np.array_equal(values, np.arange(len(values))) else torch.from_numpy(values).to(device)


def _alike(rows: list[Row]) -> Iterator[list[Row]]:
    """Batches of rows of like length: few of the scores of each are padding's, or fewer than a call costs."""
    # Lengths of what looks by steps of a quarter: a batch has two lengths, and both should be alike.
    order = sorted(rows, key=lambda row: (row.plain, round(math.log(row.length, 1.25)), row.keys), reverse=True)
    batch: list[Row] = []
    needed = queries = keys = 0
    for row in order:
        needed, queries, keys = needed + row.cost, max(queries, row.length), max(keys, row.keys)
        padded = (len(batch) + 1) * queries * keys
        wasteful = padded - needed > CALL + PADDING * needed or padded > MASK
        if batch and (wasteful or batch[0].plain != row.plain):
            yield batch
            batch, needed, queries, keys = [], row.cost, row.length, row.keys
        batch.append(row)
    if batch:
        yield batch


def _tokens(rows: Numbers) -> tuple[Numbers, Numbers, NDArray[np.bool_]]:
    """Numbers of the tokens that look, (rows, queries), of those that are looked at, (rows, keys), and which are real.

    Padding repeats a row's last token, so that it sees what that one sees; nothing sees padding.
    """
    start, length, prompt, prompt_length = (rows[:, column : column + 1] for column in range(4))
    queries = start + np.minimum(np.arange(length.max()), length - 1)
    place = np.arange((prompt_length + length).max())
    own = start + np.minimum(place - prompt_length, length - 1)
    keys = np.where(place < prompt_length, prompt + place, own)
    return queries, keys, place < prompt_length + length


def _mask(queries: Numbers, keys: Numbers, seen: Visibility, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What each row's queries see of its keys, (rows, 1, queries, keys), as `Call.mask` has it."""
    looking, looked_at = (torch.from_numpy(part.astype(np.int32)).to(device) for part in (queries, keys))
    visible = seen(None, None, looking.unsqueeze(2), looked_at.unsqueeze(1))
    # Computed, because choosing between two numbers takes several times as long, as does reading bool.
    return visible.view(torch.uint8).to(dtype).sub_(1).mul_(torch.finfo(dtype).max).unsqueeze(1)
