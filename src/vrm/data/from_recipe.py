"""Rows of published datasets, turned into rows of the schema by their recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vrm.data.problems import InvalidRowError, OnError, one_problem
from vrm.data.read_text import Rows
from vrm.data.readers import Location, locate, read_location
from vrm.data.validation import RecipeCounts
from vrm.errors import DataError, RowError

if TYPE_CHECKING:
    from vrm.data.recipes import Recipe


def recipe_rows(
    location: Location, name: str, limit: int | None, counts: RecipeCounts, on_error: OnError
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of the schema with the numbers of the published rows they were made from.

    Where the recipe joins rows or tables first, the numbers count joined rows. A recipe of several tables takes the Hub
    dataset that has them as configurations, or a directory with one file a table, named as the table.

    Args:
        location: where the published rows are.
        name: name of the recipe.
        limit: convert at most this many published (or joined) rows.
        counts: filled while reading.
        on_error: called with each row that cannot be read or converted.

    Raises:
        ConfigError: there is no such recipe.
        DataError: a table is missing.
    """
    from vrm.data.recipes import get_recipe

    recipe = get_recipe(name)
    for number, row in islice(_published(recipe, location, on_error), limit):
        counts.read += 1
        try:
            converted = recipe.convert(row)
        except RowError as error:
            on_error(_placed(error, location.label, number))
            continue
        counts.made += len(converted.rows)
        counts.left_out.update(Counter(converted.skipped))
        yield from ((number, made) for made in converted.rows)


def _published(recipe: Recipe, location: Location, on_error: OnError) -> Rows:
    tables = [read_location(table, on_error=on_error) for table in _tables(recipe, location)]
    if not recipe.needs_join:
        yield from tables[0]
        return
    joined = enumerate(recipe.join(*map(_without_numbers, tables)), start=1)
    try:
        yield from joined
    except RowError as error:
        # A join cannot go on past a row without its key.
        on_error(_placed(error, location.label, 0))


def _tables(recipe: Recipe, location: Location) -> list[Location]:
    on_hub = location.format == "hub" and not Path(location.path).is_dir()
    if on_hub and recipe.tables:
        return [replace(location, config=table) for table in recipe.tables]
    if on_hub and location.path == recipe.hub_id and location.config is None:
        return [replace(location, config=recipe.hub_config, data_dir=recipe.hub_data_dir)]
    return [_table_file(Path(location.path), table) for table in recipe.tables] or [location]


def _table_file(directory: Path, table: str) -> Location:
    files = sorted(directory.glob(f"{table}.*")) if directory.is_dir() else []
    if len(files) != 1:
        what = f"{len(files)} files named '{table}.*' in it" if directory.is_dir() else "it is no directory"
        raise DataError(
            f"{directory}: the recipe joins tables and needs a directory with one file '{table}.*'; {what}."
        )
    return locate(files[0])


def _without_numbers(rows: Rows) -> Iterable[dict[str, Any]]:
    return (row for _, row in rows)


def _placed(error: RowError, file: str, line: int) -> InvalidRowError:
    return one_problem(file, line, error.field, "recipe failed", error.reason)
