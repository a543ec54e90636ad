"""Readers of columnar data: Parquet files, `datasets` directories and datasets of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from vrm.data.json_text import DUPLICATE_KEY
from vrm.data.problems import InvalidRowError, OnError, Problem, one_problem
from vrm.data.read_text import Rows
from vrm.data.spans import Span
from vrm.errors import DataError, in_one_line

_BATCH_ROWS = 1024


def read_parquet(path: str, on_error: OnError, span: Span | None = None) -> Rows:
    """The rows of a Parquet file, batch by batch; a damaged file is one error, after the rows before the damage.

    A span is of row groups.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        reason = f"not readable as Parquet: {error}. Fetch or write the file again."
        on_error(one_problem(path, 0, "", "unreadable", reason))
        return
    with table:
        number = 0 if span is None else span.before
        groups = None if span is None else range(span.start, span.end)
        try:
            for batch in table.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups):
                yield from _batch_rows(batch, number, path, on_error)
                number += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            on_error(one_problem(path, number + 1, "", "unreadable", f"the data cannot be read further: {error}."))


def _batch_rows(batch: Any, offset: int, file: str, on_error: OnError) -> Rows:
    import pyarrow as pa

    try:
        rows: Iterable[dict[str, Any]] = batch.to_pylist(maps_as_pydicts="strict")
    except (pa.ArrowException, ValueError, KeyError, OverflowError):
        # Arrow checks neither that its text is UTF-8 nor that Python has such a date; a second look tells the row.
        yield from _rows_one_by_one(batch, offset, file, on_error)
        return
    yield from enumerate(rows, start=offset + 1)


def _rows_one_by_one(batch: Any, offset: int, file: str, on_error: OnError) -> Rows:
    import pyarrow as pa

    for index in range(batch.num_rows):
        row: dict[str, Any] = {}
        problems = []
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                row[name] = column[index].as_py(maps_as_pydicts="strict")
            except (pa.ArrowException, ValueError, KeyError, OverflowError) as error:
                problems.append(Problem(file, offset + index + 1, name, *_cell_problem(error)))
        if problems:
            on_error(InvalidRowError(problems))
        else:
            yield offset + index + 1, row


def _cell_problem(error: Exception) -> tuple[str, str]:
    """Kind and reason of a value that Arrow has and Python has not."""
    if isinstance(error, UnicodeDecodeError):
        byte = f"byte {error.start + 1} is 0x{error.object[error.start]:02x} ({error.reason})"
        return "not UTF-8", f"{byte}; text must be UTF-8."
    if isinstance(error, KeyError):
        return DUPLICATE_KEY, "the map gives a key more than once; keep one of them."
    return (
        "no such value",
        f"the value cannot be read ({in_one_line(error)}); leave the column out, or write it as text.",
    )


def saved_dataset(path: str, split: str | None) -> Any:
    """The `datasets.Dataset` of a directory that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote.

    Raises:
        DataError: the directory cannot be loaded, or the split is missing or has to be named.
    """
    import datasets

    try:
        loaded = datasets.load_from_disk(path)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not readable as a saved dataset: {error}") from error
    return _select_split(loaded, path, split)


def hub_dataset(name: str, config: str | None, data_dir: str | None, split: str | None) -> Any:
    """The `datasets.Dataset` of the Hub, or of a directory of data files, as `datasets.load_dataset` finds it.

    Raises:
        DataError: the dataset cannot be loaded, or the split is missing or has to be named.
    """
    import datasets

    try:
        loaded = datasets.load_dataset(name, config, data_dir=data_dir)
    except (OSError, ValueError, RuntimeError, KeyError, datasets.exceptions.DatasetsError) as error:
        hint = "Check the name ('hub:OWNER/NAME', 'hub:OWNER/NAME/CONFIG'), the network, and your access to it."
        raise DataError(
            f"hub:{name}: `datasets.load_dataset` failed: {type(error).__name__}: {error} {hint}"
        ) from error
    return _select_split(loaded, name, split)


def _select_split(loaded: Any, path: str, split: str | None) -> Any:
    if not isinstance(loaded, dict):  # a DatasetDict is one
        if split is not None:
            raise DataError(f"{path}: the dataset has no splits, so there is no '{split}'; leave the split out.")
        return loaded
    names = ", ".join(map(str, loaded))
    if split is None and len(loaded) == 1:
        return next(iter(loaded.values()))
    if split is None:
        raise DataError(
            f"{path}: the dataset has the splits {names}; choose one: '{path}:{next(iter(loaded), 'train')}'."
        )
    if split not in loaded:
        raise DataError(f"{path}: the dataset has no split '{split}'; it has {names}.")
    return loaded[split]


def numbered_rows(dataset: Any, span: Span | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a dataset with their numbers; a span is of rows."""
    # A stored format (torch, numpy) would give tensors in place of numbers.
    rows = dataset.with_format(None)
    if span is not None:
        rows = rows.select(range(span.start, span.end))
    yield from enumerate(rows, start=1 if span is None else span.before + 1)
