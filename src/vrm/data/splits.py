"""Held-out rows that share no prompt with the rest."""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from vrm.data.columns import suggestion
from vrm.data.row_tables import RowTable, joined, pick
from vrm.data.schema import Judgment
from vrm.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ONE_GROUP = (
    "all rows have the same {by}, so no part of them can be held out; add rows of another {by}. A training run needs "
    "none where data.eval names other rows, or data.held_out is 0."
)


def prompt_key(judgment: Judgment) -> str:
    """A stable hash of the prompt's words: Unicode form, case, white space and roles do not count.

    A prompt as text and the same prompt as one user message have one key, so that sources of different formats compare.
    """
    if isinstance(judgment.prompt, str):
        parts = [judgment.prompt]
    else:
        parts = [
            str(entry["content"])
            + (json.dumps(entry["tool_calls"], default=repr, sort_keys=True) if entry.get("tool_calls") else "")
            for entry in judgment.prompt
        ]
    words = unicodedata.normalize("NFKC", " ".join(parts)).casefold().split()
    return hashlib.blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def uniform_hash(key: str, seed: int, purpose: str) -> float:
    """A number in [0, 1) that depends on the arguments alone; different purposes choose independently."""
    digest = hashlib.blake2b(f"{purpose}:{seed}:{key}".encode("utf-8", "surrogatepass"), digest_size=7).digest()
    return int.from_bytes(digest, "big") / 2**56


def split_by_prompt(
    judgments: Iterable[Judgment], held_out: float = 0.1, seed: int = 0, by: str = "prompt"
) -> tuple[Sequence[Judgment], Sequence[Judgment]]:
    """Split rows so that no prompt stands on both sides, whatever the order of the rows.

    `by="prompt"` holds a prompt out if its seeded hash is below `held_out`, so the share is met on average, a prompt
    stays on its side when rows are added, and sources that are split apart agree. If that leaves a side empty, the
    prompt with the lowest (or highest) hash goes there. `by="category"` holds whole categories out, those with the
    lowest hashes, until the share of rows is reached; categories that share a prompt stay together.

    Args:
        judgments: rows; prompts are compared by `prompt_key`.
        held_out: share to hold out, in [0, 1); 0 holds nothing out.
        seed: chooses which.
        by: `prompt` or `category`.

    Returns:
        the rows to keep and the rows held out, both in the order given.

    Raises:
        ConfigError: `held_out` or `by` is not allowed.
        DataError: there are not two groups to split, or `by="category"` and a row has no category.
    """
    import numpy as np

    rows = judgments if isinstance(judgments, RowTable) else list(judgments)
    chosen = held_out_rows(rows, held_out, seed, by)
    return pick(rows, np.flatnonzero(~chosen)), pick(rows, np.flatnonzero(chosen))


def held_out_rows(
    rows: Sequence[Judgment], held_out: float = 0.1, seed: int = 0, by: str = "prompt"
) -> NDArray[np.bool_]:
    """(rows,) whether each row is held out; see `split_by_prompt`."""
    import numpy as np

    if isinstance(held_out, bool) or not 0.0 <= held_out < 1.0:
        raise ConfigError(f"held_out is {held_out!r}; it must be in [0, 1), e.g. 0.1 for a tenth of the prompts.")
    if by not in ("prompt", "category"):
        raise ConfigError(f"by is {by!r}; it must be 'prompt' or 'category'.")
    if held_out == 0.0 or not rows:
        return np.zeros(len(rows), dtype=bool)
    if by == "prompt":
        return _below(rows, held_out, seed)
    groups = _category_groups(rows)
    if len(set(groups)) < 2:
        raise DataError(_ONE_GROUP.format(by="category"))
    chosen = _lowest(groups, held_out, seed)
    return np.array([group in chosen for group in groups])


def halves_by_prompt(judgments: Sequence[Judgment], seed: int = 0) -> tuple[Sequence[Judgment], Sequence[Judgment]]:
    """Two parts of equally many prompts (the second has the odd one), independent of `split_by_prompt`.

    Args:
        judgments: rows; prompts are compared by `prompt_key`.
        seed: chooses which.

    Raises:
        DataError: all rows have the same prompt.
    """
    keys = prompt_keys(judgments)
    ranked = _ranked(keys, seed, "halves")
    if len(ranked) < 2:
        raise DataError("all rows have the same prompt, and two halves must not share one; more prompts are needed.")
    chosen = {key for _, key in ranked[: len(ranked) // 2]}
    first, second = ([place for place, key in enumerate(keys) if (key in chosen) is side] for side in (True, False))
    return pick(judgments, first), pick(judgments, second)


def shared_prompts(first: Iterable[Judgment], second: Iterable[Judgment]) -> int:
    """Number of different prompts that occur on both sides; 0 means that nothing leaks."""
    return len(set(_prompt_keys(first)) & set(_prompt_keys(second)))


def prompt_keys(rows: Iterable[Judgment]) -> list[str]:
    """`prompt_key` of every row."""
    return list(_prompt_keys(rows))


def _prompt_keys(rows: Iterable[Judgment]) -> Iterator[str]:
    return rows.prompt_keys() if isinstance(rows, RowTable) else map(prompt_key, rows)


def _ranked(groups: Sequence[str], seed: int, purpose: str = "split") -> list[tuple[float, str]]:
    return sorted((uniform_hash(group, seed, purpose), group) for group in set(groups))


def _below(rows: Sequence[Judgment], held_out: float, seed: int) -> NDArray[np.bool_]:
    """Rows of prompts with hashes below; of numbers alone, since the keys of millions of rows take gigabytes."""
    import numpy as np

    hashes = np.fromiter((uniform_hash(key, seed, "split") for key in _prompt_keys(rows)), np.float64, len(rows))
    lowest, highest = hashes.min(), hashes.max()
    if lowest == highest:
        raise DataError(_ONE_GROUP.format(by="prompt"))
    below: NDArray[np.bool_] = hashes < held_out
    if not below.any():
        return hashes == lowest
    return hashes < highest if below.all() else below


def _lowest(groups: Sequence[str], held_out: float, seed: int) -> set[str]:
    chosen: set[str] = set()
    ranked, taken, sizes = _ranked(groups, seed), 0, Counter(groups)
    for _, group in ranked[:-1]:
        if taken >= held_out * len(groups):
            break
        chosen.add(group)
        taken += sizes[group]
    return chosen


def _category_groups(rows: Sequence[Judgment]) -> list[str]:
    """One name a row: the first (by name) of the categories that its category is tied to by shared prompts."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    first: dict[str, str] = {}
    for row in rows:
        if row.category is None:
            raise DataError(f"{row.file}:{row.line}: the row has no 'category', so it cannot be split by category.")
        one, other = root(row.category), root(first.setdefault(prompt_key(row), row.category))
        parent[max(one, other)] = min(one, other)
    return [root(row.category or "") for row in rows]


def check_weight(weight: float, name: str) -> None:
    """Raise `ConfigError` unless the weight is a finite number above 0."""
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not (number and math.isfinite(weight) and weight > 0):
        raise ConfigError(
            f"the weight of '{name}' is {weight!r}; it must be a number > 0: how often a row is seen an epoch."
        )


def mix(
    judgments_by_source: Mapping[str, Sequence[Judgment]], weights: Mapping[str, float] | None = None, seed: int = 0
) -> Sequence[Judgment]:
    """Repeat or thin the rows of each source: a weight is how many times a row is seen in an epoch.

    Weight 2.5 takes all rows twice and the rows of half of the prompts once more; 0.5 takes the rows of half of the
    prompts. Which prompts depends on the seed and on the prompts alone; their number is rounded to the nearest integer.

    Args:
        judgments_by_source: {source: rows}.
        weights: {source: number > 0}; sources that are not named have 1.
        seed: chooses the prompts of the fractional parts.

    Returns:
        the rows, source by source, not shuffled.

    Raises:
        ConfigError: a weight is not allowed, or is for a source that does not exist.
    """
    import numpy as np

    for name, weight in (weights or {}).items():
        check_weight(weight, name)
        if name not in judgments_by_source:
            hint = suggestion(name, judgments_by_source)
            raise ConfigError(f"no source is named '{name}'.{hint} There are: {', '.join(judgments_by_source)}.")
    mixed = []
    for name, rows in judgments_by_source.items():
        whole, share = divmod((weights or {}).get(name, 1.0), 1.0)
        places = np.tile(np.arange(len(rows)), int(whole))
        mixed.append(pick(rows, np.concatenate([places, _thinned(rows, share, seed)])))
    return joined(mixed)


def _thinned(rows: Sequence[Judgment], share: float, seed: int) -> NDArray[np.int64]:
    """Places of the rows of a share of the prompts."""
    import numpy as np

    if share == 0.0:
        return np.empty(0, dtype=np.int64)
    keys = prompt_keys(rows)
    ranked = sorted(set(keys), key=lambda key: (uniform_hash(key, seed, "mixture"), key))
    taken = set(ranked[: math.floor(share * len(ranked) + 0.5)])
    return np.flatnonzero([key in taken for key in keys])
