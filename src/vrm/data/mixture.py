"""How often the rows of each source are seen in an epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from vrm.data.columns import suggestion
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key, uniform_hash
from vrm.errors import ConfigError


def check_weight(weight: float, name: str) -> None:
    """Raise `ConfigError` unless the weight is a finite number above 0."""
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not (number and math.isfinite(weight) and weight > 0):
        raise ConfigError(
            f"the weight of '{name}' is {weight!r}; it must be a number > 0: how often a row is seen an epoch."
        )


def mix(
    judgments_by_source: Mapping[str, Sequence[Judgment]], weights: Mapping[str, float] | None = None, seed: int = 0
) -> list[Judgment]:
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
    for name, weight in (weights or {}).items():
        check_weight(weight, name)
        if name not in judgments_by_source:
            hint = suggestion(name, judgments_by_source)
            raise ConfigError(f"no source is named '{name}'.{hint} There are: {', '.join(judgments_by_source)}.")
    mixed: list[Judgment] = []
    for name, rows in judgments_by_source.items():
        whole, share = divmod((weights or {}).get(name, 1.0), 1.0)
        mixed.extend(list(rows) * int(whole))
        mixed.extend(_thinned(rows, share, seed))
    return mixed


def _thinned(rows: Sequence[Judgment], share: float, seed: int) -> list[Judgment]:
    if share == 0.0:
        return []
    keys = [prompt_key(row) for row in rows]
    ranked = sorted(set(keys), key=lambda key: (uniform_hash(key, seed, "mixture"), key))
    taken = set(ranked[: math.floor(share * len(ranked) + 0.5)])
    return [row for row, key in zip(rows, keys, strict=True) if key in taken]
