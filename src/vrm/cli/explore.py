"""`vrm explore`: a page that shows why a model prefers what it prefers, and what changes that."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vrm.choices import LogLevel, Precision
from vrm.cli import options
from vrm.cli.checks import check_arguments, check_server_installed
from vrm.cli.console import Meter, note
from vrm.errors import DataError
from vrm.model_files import ADAPTER, CONFIG
from vrm.user_files import at_home

if TYPE_CHECKING:
    from vrm.data.schema import Judgment
    from vrm.inference.engine import RewardEngine
    from vrm.serve.browsing import Browsed
    from vrm.serve.service import Service

_Others = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL] [FILE]",
        callback=lambda values: [at_home(value) for value in values or []],
        help="A second model's directory, to be set beside the first; a source of rows, to be browsed.",
    ),
]
_Limit = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="Rows of FILE that are read, at most.")]
_Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")]
_Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Whether to open the page in a browser.")]


def explore(
    model: options.ModelArgument,
    others: _Others = None,
    limit: _Limit = 1000,
    port: _Port = 5000,
    browser: _Browser = True,
    recipe: options.RecipeOption = None,
    column: options.ColumnOption = None,
    precision: options.PrecisionOption = Precision.FLOAT32,
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
) -> None:
    """Open a page in the browser that shows why a model prefers what it prefers, and change it.

    Type a prompt and completions, or browse the rows of FILE. The page shows objective weights, contributions, the
    ranking, probabilities and where uncertainty comes from. Sliders emphasize objectives, boxes leave them out, and
    sentences are shaded by what they do to the reward. With two models the page shows both side by side. Only this
    machine reaches the page, and it stores nothing. Ctrl-C ends it.
    """
    check_server_installed("vrm explore")
    arguments = _Arguments.of(model, others or [])
    sources = [] if arguments.file is None else [arguments.file]
    check_arguments(*arguments.models, sources=sources, device=device)
    rows = options.RowOptions(recipe, options.columns(column))
    from vrm.serve.run import listen, serve_forever, url_of

    bound = listen("127.0.0.1", port)  # a taken port is found before the model is loaded
    engines = [options.load_engine(name, device=device, precision=precision) for name in arguments.models]
    services = [_service(name, engine) for name, engine in zip(arguments.models, engines, strict=True)]
    browsed = _browsed(rows, arguments.file, limit, engines)
    from vrm.serve.explorer import Explored

    url = f"{url_of(bound)}/explore"
    names = " and ".join(service.settings.name for service in services)
    note(f"exploring {names} on {url}; Ctrl-C ends it")
    serve_forever(
        services[0],
        bound,
        LogLevel.WARNING,
        Explored(browsed, services[1] if len(services) > 1 else None),
        when_ready=(lambda: webbrowser.open(url)) if browser else None,
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


def _service(model: str, engine: RewardEngine) -> Service:
    from vrm.serve.service import Service
    from vrm.serve.settings import ServeSettings

    service = Service(engine, ServeSettings(name=options.short_name(model), source=model))
    service.try_model()
    return service


def _browsed(rows: options.RowOptions, file: str | None, limit: int, engines: list[RewardEngine]) -> Browsed:
    from vrm.serve.browsing import Browsed, summaries_of

    if file is None:
        return Browsed()
    judgments, words = _read(rows, file, limit)
    with Meter("judging") as meter:
        other = engines[1] if len(engines) > 1 else None
        of = f"of {len(judgments):,} rows"
        summaries = summaries_of(engines[0], judgments, other, lambda done: meter.update(f"{done:,} {of}"))
    for engine in engines:
        engine.reset_report()
    return Browsed(file, judgments, summaries, words)


def _read(rows: options.RowOptions, file: str, limit: int) -> tuple[list[Judgment], str]:
    """Rows that can be judged, and in words what is left out; DataError where there is none."""
    from vrm.inference.score import read_scoring_rows

    judgments, bad = [], []
    more = False
    with Meter(f"reading {file}"):
        for row in read_scoring_rows(rows.source(file)):
            more = len(judgments) == limit
            if more:
                break
            if row.judgment is None:
                bad.append(row.error)
            else:
                judgments.append(row.judgment)
    if not judgments:
        raise DataError(f"{file}: no row can be judged; the first says: {bad[0]}")
    words = []
    if more:
        words.append(f"The first {limit:,} rows; --limit reads more.")
    if bad:
        note(f"{file}: {len(bad):,} rows left out; the first: {bad[0]}")
        words.append(f"{len(bad):,} rows could not be read and are left out; the terminal has the first of them.")
    return judgments, " ".join(words)
