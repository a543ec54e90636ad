"""What every metric checks of its input: shape, finiteness, range, length.

Values that do not fit raise `DataError`, settings `ConfigError`; the message names the argument and the first such row.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vrm.errors import ConfigError, DataError

Array: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]
Groups: TypeAlias = Iterable[Hashable] | ArrayLike | None
"""Labels, one a row, equal for rows that depend on each other, such as those of one prompt; None: each row alone."""

ROUNDING = 1e-5
"""How far a probability may leave [0, 1], or a distribution's sum 1: what float32 arithmetic leaves behind."""


def numbers(name: str, values: ArrayLike) -> Array:
    """`values` as a float64 array of any shape, NaN and infinities included; tensors on any device are taken too."""
    given: Any = values
    if hasattr(given, "detach"):  # a torch tensor: numpy knows neither bfloat16 nor other devices
        given = given.detach().cpu().double().numpy()
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise DataError(f"'{name}' is ragged: {error}. Give one number a row.") from None
    if array.size and array.dtype.kind not in "biuf":
        raise DataError(f"'{name}' must hold real numbers, got {array.dtype} (such as {array.flat[0]!r}).")
    return array.astype(np.float64)


def finite(name: str, array: Array) -> Array:
    """The array itself, if it holds no NaN and no infinity."""
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        where = np.unravel_index(int(bad[0]), array.shape)
        place = int(where[0]) if array.ndim == 1 else tuple(int(index) for index in where)
        raise DataError(
            f"'{name}' must be finite, got {array[where]} at row {place} ({bad.size} such of {array.size}). "
            "Find out why it is not finite, or leave those rows out."
        )
    return array


def vector(name: str, values: ArrayLike, *, allow_empty: bool = False, allow_infinite: bool = False) -> Array:
    """`values` as a finite float64 array of shape (n,), n > 0."""
    array = numbers(name, values)
    if array.ndim != 1:
        raise DataError(f"'{name}' must have one dimension, got shape {array.shape}. Flatten it or pick a column.")
    if not array.size and not allow_empty:
        raise DataError(f"'{name}' is empty; at least one row is needed.")
    if allow_infinite and not np.isnan(array).any():
        return array
    return finite(name, array)


def probabilities(name: str, values: ArrayLike) -> Array:
    """`values` as a vector in [0, 1]; what leaves it by at most `ROUNDING` is set to the bound."""
    array = vector(name, values)
    bad = np.flatnonzero((array < -ROUNDING) | (array > 1.0 + ROUNDING))
    if bad.size:
        raise DataError(f"'{name}' must lie in [0, 1], got {array[bad[0]]} at row {bad[0]} ({bad.size} such rows).")
    return array.clip(0.0, 1.0)


def log_probabilities(name: str, values: ArrayLike) -> Array:
    """`values` as a vector of log-probabilities in nats; minus infinity is allowed, up to `ROUNDING` above 0 is 0."""
    array = vector(name, values, allow_infinite=True)
    bad = np.flatnonzero(array > ROUNDING)
    if bad.size:
        raise DataError(
            f"'{name}' must hold log-probabilities, at most 0, got {array[bad[0]]} at row {bad[0]} ({bad.size} such "
            "rows). Probabilities themselves go by another argument."
        )
    return np.minimum(array, 0.0)


def lengths(name: str, values: ArrayLike) -> Array:
    """`values` as a vector of lengths, each at least 0, in any unit."""
    array = vector(name, values)
    if (array < 0).any():
        row = int(np.argmax(array < 0))
        raise DataError(f"'{name}' must hold lengths, at least 0, got {array[row]} at row {row}.")
    return array


def matrix(name: str, values: ArrayLike, columns: str = "objectives") -> Array:
    """`values` as a finite float64 array (n, K), n and K at least 1; `columns` is what a message calls the K."""
    array = numbers(name, values)
    if array.ndim != 2 or not array.size:
        raise DataError(f"'{name}' must have shape (rows, {columns}), none of them 0, got {array.shape}.")
    return finite(name, array)


def same_length(**arrays: Array) -> None:
    """Check that all arrays have as many rows as the first."""
    rows = {name: len(array) for name, array in arrays.items()}
    if len(set(rows.values())) > 1:
        listed = ", ".join(f"'{name}' {length}" for name, length in rows.items())
        raise DataError(f"Arrays must have the same number of rows, got {listed}.")


def group_codes(groups: Groups, rows: int) -> Indices:
    """Group labels as numbers 0, 1, ... in order of first appearance, shape (rows,); None makes each row a group."""
    if groups is None:
        return np.arange(rows, dtype=np.intp)
    labels: Any = groups.tolist() if hasattr(groups, "tolist") else groups
    known: dict[Hashable, int] = {}
    try:
        codes = [known.setdefault(label, len(known)) for label in labels]
    except TypeError as error:
        raise DataError(f"'groups' must hold hashable labels, such as the text of the prompt: {error}.") from None
    if len(codes) != rows:
        raise DataError(f"'groups' must hold one label a row, got {len(codes)} labels for {rows} rows.")
    return np.asarray(codes, dtype=np.intp)


def whole_number(name: str, value: int, lowest: int, highest: int | None = None) -> int:
    """`value` itself, if it is an integer in [lowest, highest]."""
    fits = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not fits or value < lowest or (highest is not None and value > highest):
        limit = f"at least {lowest}" if highest is None else f"from {lowest} to {highest}"
        raise ConfigError(f"'{name}' must be a whole number, {limit}, got {value!r}.")
    return int(value)


def fraction(name: str, value: float, *, include_one: bool = False) -> float:
    """`value` itself, if it lies in (0, 1), or in (0, 1] with `include_one`."""
    if not (0.0 < value < 1.0 or (include_one and value == 1.0)) or math.isnan(value):
        raise ConfigError(f"'{name}' must lie in (0, 1{']' if include_one else ')'}, got {value!r}.")
    return float(value)


def tied_groups(values: Array) -> Indices:
    """Codes of equal values in ascending order of the value, shape (n,): the largest value has the largest code."""
    codes: Indices = np.unique(values, return_inverse=True)[1].reshape(-1)
    return codes


def tied_means(codes: Indices, values: Array) -> Array:
    """Each value replaced by the mean over its tied group: what a random order within the ties gives on average."""
    return (np.bincount(codes, weights=values) / np.bincount(codes))[codes]
