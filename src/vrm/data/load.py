"""From sources to checked judgments, with a report on what was read and what was not; recipes convert rows first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vrm.choices import OnBadRows, Storage
from vrm.data.columns import check_mapping, unknown_columns
from vrm.data.parse import parse_row
from vrm.data.problems import InvalidRowError, OnError, one_problem
from vrm.data.raters import by_raters
from vrm.data.read_text import Rows
from vrm.data.readers import Location, locate, read_location
from vrm.data.schema import Judgment
from vrm.data.shared_cache import ROWS
from vrm.data.splits import check_weight, mix
from vrm.data.storage import keeps_on_disk
from vrm.data.validation import InvalidDataError, RecipeCounts, ValidationReport
from vrm.errors import ConfigError, DataError, RowError, check_choice

if TYPE_CHECKING:
    from vrm.data.recipes import Recipe

_NOT_THERE = "missing column"


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from and how they are read.

    Attributes:
        path: file, directory, `-` for standard input, or Hub name (see `vrm.data.readers.locate`).
        weight: how often a row is seen in an epoch, > 0 (see `vrm.data.splits.mix`).
        recipe: name of the recipe that turns a published dataset's rows into the schema's.
        mapping: {schema's column: the file's column}, where they differ; not together with `recipe`.
        split: split of a directory or Hub dataset.
        limit: read at most this many rows, those that cannot be read at all not counted.
        name: what reports and weights call it; also the `source` of rows that have none. Default: the file's stem.

    Raises:
        ConfigError: a value is not allowed.
    """

    path: str | Path
    weight: float = 1.0
    recipe: str | None = None
    mapping: Mapping[str, str] | None = None
    split: str | None = None
    limit: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        check_weight(self.weight, str(self.path))
        check_mapping(self.mapping)
        if self.recipe is not None and self.mapping:
            raise ConfigError(f"source '{self.path}': a recipe knows the columns itself; give 'recipe' or 'mapping'.")
        if self.limit is not None and (isinstance(self.limit, bool) or self.limit < 1):
            raise ConfigError(f"source '{self.path}': limit is {self.limit!r}; it must be at least 1, or left out.")


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What was read.

    Attributes:
        judgments: the rows of all sources, repeated or thinned by the sources' weights; not shuffled.
        report: what was read, ignored and refused.
        by_source: {source: its rows, each once}, to be split before `mix` repeats them.
        weights: {source: weight}.

    The rows are in a list, or on the disk, from where each is read as it is asked for.
    """

    judgments: Sequence[Judgment]
    report: ValidationReport
    by_source: Mapping[str, Sequence[Judgment]] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)


def load_judgments(
    sources: Source | str | Path | Iterable[Source | str | Path],
    *,
    objectives: Collection[str] | None = None,
    on_bad_rows: str = "error",
    seed: int = 0,
    group_raters: bool = True,
    how_to_skip: str = "on_bad_rows: skip",
    storage: str = "memory",
) -> LoadResult:
    """Read and check all rows of all sources.

    Args:
        sources: one or more of `Source` or paths.
        objectives: allowed names of objectives in ratings and votes; None allows every name.
        on_bad_rows: `error` checks everything and then raises if anything was wrong; `skip` leaves bad rows out and
            counts them in the report.
        seed: chooses the prompts that fractional weights take.
        group_raters: whether rows of one pair by several annotators become one row with `judgments` (15).
        how_to_skip: what the error says is to be given for `on_bad_rows`.
        storage: one of `vrm.choices.Storage`: where the rows are kept.

    Raises:
        ConfigError: an argument is not allowed.
        DataError: a source does not exist or is of no known format; nothing has been read then.
        InvalidDataError: rows are bad and `on_bad_rows` is `error`, or there is no good row; the message is the report.

    Example:
        >>> from vrm import load_judgments
        >>> loaded = load_judgments("pairs.jsonl")
        >>> loaded.report.ok, loaded.judgments[0].is_comparison
        (True, True)
    """
    check_choice("on_bad_rows", on_bad_rows, OnBadRows)
    check_choice("storage", storage, Storage)
    located = locate_sources(sources)
    report = ValidationReport()
    named = None if objectives is None else [*objectives]
    reads = {name: partial(_judgments, source, name, named) for name, (source, _) in located.items()}
    by_source: dict[str, Sequence[Judgment]] = {}
    on_disk = keeps_on_disk(storage, [location for _, location in located.values()])
    for name, (source, location) in located.items():
        if on_disk:
            by_source[name] = _stored(source, location, name, reads[name], group_raters, report)
        else:
            by_source[name] = _grouped(reads[name](location, report), name, group_raters, report)
    if on_bad_rows == OnBadRows.ERROR and not report.ok:
        raise InvalidDataError(f"The data has faults; repair it, or skip bad rows ({how_to_skip}).", report)
    if not any(by_source.values()):
        raise InvalidDataError("There is not a single usable row.", report)
    weights = {name: source.weight for name, (source, _) in located.items()}
    return LoadResult(mix(by_source, weights, seed), report, by_source, weights)


def locate_sources(sources: Source | str | Path | Iterable[Source | str | Path]) -> dict[str, tuple[Source, Location]]:
    """Sources by name, all of them located before the first is read; equal names are numbered.

    Raises:
        ConfigError: there is no source.
        DataError: a source does not exist or is of no known format.
    """
    listed = [sources] if isinstance(sources, Source | str | Path) else list(sources)
    if not listed:
        raise ConfigError("no source is given; name at least one file, directory or Hub dataset.")
    located: dict[str, tuple[Source, Location]] = {}
    for entry in listed:
        source = entry if isinstance(entry, Source) else Source(entry)
        location = locate(source.path, source.split)
        name = source.name or location.stem
        count = sum(other == name or other.startswith(f"{name}#") for other in located)
        located[f"{name}#{count + 1}" if count else name] = (source, location)
    return located


def _judgments(
    source: Source, name: str, objectives: Collection[str] | None, location: Location, report: ValidationReport
) -> Iterator[Judgment]:
    def refuse(error: InvalidRowError) -> None:
        report.add_bad(error, name)

    counts = None if source.recipe is None else report.recipes.setdefault(name, RecipeCounts())
    for line, row in source_rows(source, location, refuse, counts):
        report.ignored.update(unknown_columns(row, source.mapping))
        try:
            judgment = parse_row(row, file=location.label, line=line, objectives=objectives, mapping=source.mapping)
        except InvalidRowError as error:
            refuse(error)
            continue
        if judgment.source is None:
            judgment = replace(judgment, source=name)
        report.add_good(judgment, name)
        yield judgment


def _stored(
    source: Source,
    location: Location,
    name: str,
    read: partial[Iterator[Judgment]],
    group_raters: bool,
    report: ValidationReport,
) -> Sequence[Judgment]:
    """The rows of a source in a table on the disk; what the table's own report says is added to the report."""
    from vrm.data.stored.reading import Plan, stored_rows

    settings = {
        "name": name,
        "recipe": source.recipe,
        "mapping": dict(source.mapping or {}),
        "limit": source.limit,
        "objectives": read.args[-1],
        "group_raters": group_raters,
    }
    # A recipe may join rows, a limit counts them, and a mapping is at fault if no row at all has a column.
    whole = bool(source.recipe or source.mapping or source.limit)
    cache = ROWS.directory()
    assert cache is not None
    rows, own = stored_rows(location, name, read, settings, Plan(cache, whole, group_raters))
    report.merge(own)
    return rows


def _grouped(rows: Iterator[Judgment], name: str, group_raters: bool, report: ValidationReport) -> list[Judgment]:
    if not group_raters:
        return list(rows)
    return by_raters(rows, lambda group, judgment: report.add_group(group, judgment, name))


def source_rows(source: Source, location: Location, on_error: OnError, counts: RecipeCounts | None = None) -> Rows:
    """Rows as the source holds them, or as its recipe makes them, with the numbers of the rows that they are from.

    Args:
        source: what is read and how.
        location: where, of `locate`.
        on_error: called with every row that cannot be read, and after the last one with a mapping to a column that no
            row has.
        counts: what the recipe does is counted here.
    """
    seen = set[str]()
    rows: Rows
    if source.recipe is None:
        rows = islice(read_location(location, mapping=source.mapping, on_error=on_error), source.limit)
    else:
        rows = _recipe_rows(location, source.recipe, source.limit, counts or RecipeCounts(), on_error)
    for line, row in rows:
        seen.update(column for column, value in row.items() if value is not None)
        yield line, row
    _check_mapped(source, location.label, seen, on_error)


def check_mapped(source: Source) -> None:
    """Look for the columns of the mapping, before a model is loaded, and read no further than to the last of them.

    A source that comes once is not read here; `source_rows` tells at its end.

    Raises:
        DataError: there is no such source.
        InvalidRowError: no row has one of the columns.
    """
    location = locate(source.path, source.split)
    lacking = set((source.mapping or {}).values())
    if location.comes_once:
        return

    def refuse(error: InvalidRowError) -> None:
        # What else is wrong is told with the rows.
        if error.problems[0].kind == _NOT_THERE:
            raise error

    rows = source_rows(source, location, refuse)
    while lacking and (numbered := next(rows, None)) is not None:
        lacking -= {column for column, value in numbered[1].items() if value is not None}


def _check_mapped(source: Source, file: str, seen: set[str], on_error: OnError) -> None:
    for ours, theirs in (source.mapping or {}).items():
        if seen and theirs not in seen:
            reason = (
                f"the mapping takes '{ours}' from this column, but no row has it; there are: {', '.join(sorted(seen))}."
            )
            on_error(one_problem(file, 0, theirs, _NOT_THERE, reason))


def _recipe_rows(
    location: Location, name: str, limit: int | None, counts: RecipeCounts, on_error: OnError
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of the schema with the numbers of the published rows they were made from.

    Where the recipe joins rows or tables first, the numbers and the limit count joined rows. A recipe of several tables
    takes the Hub dataset that has them as configurations, or a directory with one file a table, named as the table.
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
    try:
        yield from enumerate(recipe.join(*((row for _, row in table) for table in tables)), start=1)
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


def _placed(error: RowError, file: str, line: int) -> InvalidRowError:
    return one_problem(file, line, error.field, "recipe failed", error.reason)
