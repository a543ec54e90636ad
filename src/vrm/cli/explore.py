"""`vrm explore`: a page that shows why a model prefers what it prefers, and what changes that."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vrm.choices import LogLevel, Precision
from vrm.cli import options
from vrm.cli.checks import check_arguments, check_server_installed
from vrm.cli.console import Meter, note
from vrm.errors import DataError, VrmError
from vrm.model_files import ADAPTER, CONFIG
from vrm.user_files import at_home

if TYPE_CHECKING:
    from vrm.data.load import Source
    from vrm.data.schema import Judgment
    from vrm.inference.engine import RewardEngine
    from vrm.serve.browsing import Browsed
    from vrm.serve.service import Service
    from vrm.serve.settings import ServeSettings

_GALLERY = 100
"""Rows that stand for a FILE where none is named."""

_Others = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL] [FILE]",
        callback=lambda values: [at_home(value) for value in values or []],
        help="A second model's directory, to be set beside the first; a source of rows, to be browsed.",
    ),
]
_Limit = Annotated[
    int, typer.Option("--limit", min=1, metavar="N", help="Rows of FILE that are read, at most; beside --line.")
]
_Line = Annotated[
    int | None,
    typer.Option("--line", min=1, metavar="N", help="Line (or row) of FILE to begin with; default: its first."),
]
_Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")]
_Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Whether to open the page in a browser.")]


def explore(
    model: options.ModelArgument,
    others: _Others = None,
    limit: _Limit = 1000,
    port: _Port = 5000,
    line: _Line = None,
    browser: _Browser = True,
    allowed_host: options.AllowedHostOption = None,
    recipe: options.RecipeOption = None,
    column: options.ColumnOption = None,
    precision: options.PrecisionOption = Precision.FLOAT32,
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
) -> None:
    """Open a page in the browser that shows why a model prefers what it prefers, and change it.

    Type a prompt and completions, or browse the rows of FILE (by default some that training held out). The page shows
    objective weights, contributions, the ranking, probabilities and where uncertainty comes from. Sliders emphasize
    objectives, boxes leave them out, and sentences are shaded by what they do to the reward. With two models the page
    shows both side by side. Only this machine reaches the page, and it stores nothing. Ctrl-C ends it.
    """
    check_server_installed("vrm explore")
    arguments = _Arguments.of(model, others or [])
    sources = [] if arguments.file is None else [arguments.file]
    check_arguments(*arguments.models, sources=sources, device=device)
    if line is not None and arguments.file is None:
        raise typer.BadParameter("there are no lines without FILE", param_hint="--line")
    rows = options.RowOptions(recipe, options.columns(column))
    from vrm.serve.run import listen, serve_forever, url_of
    from vrm.serve.settings import ServeSettings

    settings = [
        ServeSettings(name=options.short_name(name), source=name, allowed_hosts=tuple(allowed_host or ()))
        for name in arguments.models
    ]
    bound = listen("127.0.0.1", port)  # a taken port is found before the model is loaded
    found = _rows(rows, arguments, limit, line)
    engines = [options.load_engine(name, device=device, precision=precision) for name in arguments.models]
    services = [_service(*parts) for parts in zip(engines, settings, strict=True)]
    browsed = _browsed(found, engines)
    from vrm.serve.explorer import Explored

    url = f"{url_of(bound)}/explore"
    names = " and ".join(service.settings.name for service in services)

    def when_ready() -> None:
        note(f"exploring {names} on {url}; Ctrl-C ends it")
        if browser:
            webbrowser.open(url)

    serve_forever(
        services[0],
        bound,
        LogLevel.WARNING,
        Explored(browsed, services[1] if len(services) > 1 else None),
        when_ready=when_ready,
    )
    note("stopped")


@dataclass(frozen=True)
class _Arguments:
    models: tuple[str, ...]
    file: str | None

    @classmethod
    def of(cls, model: str, others: list[str]) -> _Arguments:
        """The models, and the source of rows, in the order given.

        Raises:
            typer.BadParameter: for more than a second model and a source.
        """
        models = [other for other in others if any((Path(other) / name).is_file() for name in (CONFIG, ADAPTER))]
        files = [other for other in others if other not in models]
        if len(models) > 1 or len(files) > 1:
            raise typer.BadParameter(
                f"at most a second model and one source of rows, got {', '.join(others)}. A model is a directory with "
                f"a {CONFIG}",
                param_hint="[MODEL] [FILE]",
            )
        return cls((model, *models), files[0] if files else None)


def _service(engine: RewardEngine, settings: ServeSettings) -> Service:
    from vrm.serve.service import Service

    service = Service(engine, settings)
    service.try_model()
    return service


def _browsed(found: _Rows, engines: list[RewardEngine]) -> Browsed:
    from vrm.serve.browsing import Browsed, summaries_of

    if not found.judgments:
        return Browsed()
    with Meter("judging") as meter:
        other = engines[1] if len(engines) > 1 else None
        of = f"of {len(found.judgments):,} rows"
        summaries = summaries_of(engines[0], found.judgments, other, lambda done: meter.update(f"{done:,} {of}"))
    for engine in engines:
        engine.reset_report()
    flagged = zip(summaries, found.pairs, strict=True)
    summaries = [summary.model_copy(update={"has_chosen": pair}) for summary, pair in flagged]
    return Browsed(found.file, found.judgments, summaries, found.words, found.first)


@dataclass(frozen=True)
class _Rows:
    """Rows to browse.

    Attributes:
        file: that they are of.
        judgments: one a row.
        pairs: whether each is a pair, whose first completion is the chosen one.
        words: what is not among them.
        first: the place of the one to begin with.
    """

    file: str | None = None
    judgments: Sequence[Judgment] = ()
    pairs: Sequence[bool] = ()
    words: str = ""
    first: int = 0


def _rows(rows: options.RowOptions, arguments: _Arguments, limit: int, line: int | None) -> _Rows:
    """The rows of FILE; without one those of the file that chose the first model's checkpoint, if it is there."""
    if arguments.file is not None:
        return _read(rows.source(arguments.file), limit, line)
    source = _held_out(arguments.models[0])
    if source is None:
        return _Rows()
    try:
        found = _read(source, min(limit, _GALLERY), None)
    except VrmError as error:
        note(f"{source.path}, on which the model was measured in training, is left out: {error}")
        return _Rows()
    return replace(found, words=f"No file was named: these are rows that chose the model's checkpoint. {found.words}")


def _held_out(model: str) -> Source | None:
    """The first file that the run of a model held out, if the run lies beside the model and the file is still there."""
    from vrm.data.load import Source
    from vrm.results import is_run, read_run

    run = Path(model).parent
    if not is_run(run):
        return None
    try:
        summary = read_run(run).summary
    except VrmError as error:
        note(f"{run} does not tell which rows the model was measured on: {error}")
        return None
    sources = [] if summary is None else (summary.config.get("data") or {}).get("eval") or []
    for source in sources:
        if Path(source["path"]).is_file():
            return Source(source["path"], recipe=source.get("recipe"), mapping=source.get("mapping"))
    return None


def _read(source: Source, limit: int, line: int | None) -> _Rows:
    """Rows that can be judged, and in words what is left out; DataError where there is none, or not the line."""
    from vrm.inference.score import read_scoring_rows

    judgments, pairs, bad = [], [], []
    more = False
    with Meter(f"reading {source.path}"):
        for row in read_scoring_rows(source):
            more = len(judgments) >= limit
            if more and (line is None or judgments[-1].line >= line):
                break
            if more and row.line != line:
                continue
            if row.judgment is None:
                bad.append(row.error)
            else:
                judgments.append(row.judgment)
                pairs.append(row.is_pair(source.mapping))
    if not judgments:
        raise DataError(f"{source.path}: no row can be judged; the first says: {bad[0]}")
    places = [place for place, judgment in enumerate(judgments) if judgment.line == line]
    if line is not None and not places:
        raise DataError(f"{source.path}: line {line} holds no row that can be judged")
    words = []
    if more:
        beside = f", and line {line}" if len(judgments) > limit else ""
        words.append(f"The first {limit:,} rows{beside}; --limit reads more.")
    if bad:
        count = "1 row" if len(bad) == 1 else f"{len(bad):,} rows"
        note(f"{source.path}: {count} left out; the first: {bad[0]}")
        words.append(f"Left out: {count} that could not be read; the terminal has the first reason.")
    return _Rows(str(source.path), judgments, pairs, " ".join(words), *places[:1])
