"""`vrm adapt`: how raters or groups judge otherwise, from a few comparisons each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vrm.choices import OnBadRows, OnOverlong, Precision
from vrm.cli import options
from vrm.cli.checks import check_arguments
from vrm.cli.console import Meter, check_results_have_a_place, note, results, warn_of_rows, write_json
from vrm.data.columns import JUDGE_COLUMNS
from vrm.errors import ConfigError
from vrm.model_files import RATERS, RATERS_NAMES

if TYPE_CHECKING:
    from rich.console import Console

    from vrm.inference.engine import RewardEngine
    from vrm.results import AdaptationDocument, FittedRater, HeldOutVotes
    from vrm.train.adapt import Adaptation

_Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", callback=options.home, help="Directory written by save_pretrained; the raters are kept in it."
    ),
]
_File = Annotated[str, typer.Argument(metavar="FILE", help="Judgments in the row schema, any format.")]
_By = Annotated[
    str,
    typer.Option(
        "--by", metavar="COLUMN", help="What names who judged: annotator, source, category, or another column of FILE."
    ),
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the raters that the model knows, and results.")]

SHOWN = 20
"""Raters that the table has, those with most comparisons."""

TOLD = 3
"""Objectives of a rater that the table names."""


def adapt(
    model: _Model,
    file: _File,
    by: _By = "annotator",
    json_file: options.JsonFileOption = None,
    overwrite: _Overwrite = False,
    recipe: options.RecipeOption = None,
    column: options.ColumnOption = None,
    resamples: options.ResamplesOption = 1000,
    on_bad_rows: options.BadRowsOption = OnBadRows.ERROR,
    on_overlong: options.OverlongOption = OnOverlong.TRUNCATE,
    precision: options.PrecisionOption = Precision.FLOAT32,
    cache: options.CacheOption = None,
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
) -> None:
    """Learn from a few comparisons how raters or groups judge otherwise than the population.

    Each gets a signed tilt of every objective's weight, and a threshold under which they call a tie. Both are pooled:
    who has few comparisons stays near the population. They are kept in MODEL/raters, and `--rater NAME` applies one in
    `vrm score`, `vrm explain` and `vrm evaluate`. The model itself is not changed.
    """
    check_results_have_a_place(json_file, overwrite)
    check_arguments(model, sources=[file], device=device)
    _check_place(model, overwrite)
    rows = options.RowOptions(recipe, _columns(by, column, recipe), on_bad_rows)
    # Rows of one pair by different groups are not one pair's raters.
    loaded = rows.load(file, group_raters=by in JUDGE_COLUMNS)
    settings: dict[str, Any] = {"device": device, "precision": precision, "on_overlong": on_overlong}
    engine = options.load_engine(model, **settings, cache=cache, on_bad_rows=on_bad_rows)
    from vrm.metrics import ResampleOptions
    from vrm.train.adapt import adapt as fit

    with Meter("adapting") as meter:
        fitted = fit(engine, loaded.judgments, by, ResampleOptions(resamples=resamples), meter.update)
    warn_of_rows(file, engine.report)
    folder = fitted.raters.save(engine.model, model)
    settings |= {"recipe": recipe, "columns": rows.columns, "resamples": resamples}
    document = _document(model, engine, settings, fitted)
    document = replace(document, file=file, folder=str(folder), data=loaded.report.to_dict())
    if json_file is not None:
        write_json(json_file, document)
    if str(json_file) != "-":
        print_adaptation(results(), document)
    note(f"wrote {folder}: use --rater NAME in vrm score, explain and evaluate")


def _check_place(model: str, overwrite: bool) -> None:
    """Refuse a model that is no directory, and raters that are there."""
    if not Path(model).is_dir():
        raise ConfigError(f"{model} is no directory, and raters are kept in the model's: copy the model here first")
    if (Path(model) / RATERS / RATERS_NAMES).exists() and not overwrite:
        raise ConfigError(f"{model} knows raters already ({RATERS}/): replace them with --overwrite")


def _columns(by: str, column: Sequence[str] | None, recipe: str | None) -> dict[str, str]:
    """Columns of the file by the schema's names; a column that the schema does not have is read as `annotator`."""
    columns = options.columns(column)
    if by in JUDGE_COLUMNS:
        return columns
    if recipe is not None:
        raise typer.BadParameter(f"with a recipe it is one of {', '.join(JUDGE_COLUMNS)}", param_hint="--by")
    if "annotator" in columns:
        raise typer.BadParameter("--column annotator=... and --by COLUMN both say who judged", param_hint="--by")
    return {**columns, "annotator": by}


def _document(model: str, engine: RewardEngine, settings: dict[str, Any], fitted: Adaptation) -> AdaptationDocument:
    from vrm.inference.explain import rater_intervals
    from vrm.results import AdaptationDocument, FittedRater
    from vrm.results.header import model_header

    known, prior = fitted.raters, fitted.raters.fitted.prior
    threshold = prior.tie_threshold
    return AdaptationDocument(
        **model_header(model, engine, settings),
        by=known.by,
        file="",
        folder="",
        raters={
            name: FittedRater(rater.comparisons, *rater_intervals(rater, known.objectives))
            for name, rater in zip(known.names, map(known.of, known.names), strict=True)
        },
        spread=dict(zip(known.objectives, prior.tilt_variance.sqrt().tolist(), strict=True)),
        threshold_spread=None if threshold is None else float(prior.threshold_variance.sqrt()),
        tie_threshold=None if threshold is None else float(threshold),
        held_out=fitted.held_out,
        unnamed=fitted.unnamed,
    )


def print_adaptation(console: Console, document: AdaptationDocument) -> None:
    """Print the raters with most comparisons, how raters differ, and what knowing them is worth."""
    from rich.markup import escape
    from rich.table import Column

    from vrm.results.formats import number, plural, table
    from vrm.train.adapt import FEW

    shown = dict(list(document.raters.items())[:SHOWN])
    few = sum(rater.comparisons < FEW for rater in document.raters.values())
    words = f"{plural(few, 'rater')} with fewer than {FEW} comparisons: pooled towards zero. " if few else ""
    left = len(document.raters) - len(shown)
    more = f"{left:,} more; --json has all. " if left else ""
    caption = f"{words}{more}Tilts of weights whose 90 % interval leaves 0 out, at most {TOLD}."
    title = f"{plural(len(document.raters), 'rater')} by {escape(document.by)}"
    ties = [] if document.tie_threshold is None else ["ties below"]
    tilts = Column("weighs otherwise than the population", justify="left", overflow="fold")
    raters = table(title, ["rater", "judgments", *ties, tilts], caption)
    for name, rater in shown.items():
        threshold = [] if rater.tie_threshold is None else [number(rater.tie_threshold.mean, 2)]
        judgments = f"{rater.comparisons:,}{' (few)' if rater.comparisons < FEW else ''}"
        raters.add_row(escape(name), judgments, *threshold, _tilts_cell(rater))
    console.print(raters)
    largest = sorted(document.spread.items(), key=lambda entry: -entry[1])[:SHOWN]
    spread = ", ".join(f"{escape(name)} {number(value, 2)}" for name, value in largest)
    console.print(f"Standard deviation of the tilts among raters: {spread}.")
    if document.threshold_spread is not None and document.tie_threshold is not None:
        console.print(
            f"Ties below a margin of {document.tie_threshold:.2f} in the population; its logarithm has a standard "
            f"deviation of {document.threshold_spread:.2f} among raters."
        )
    if document.unnamed:
        console.print(f"{plural(document.unnamed, 'judgment')} of nobody named left out.")
    console.print(_worth(document.held_out))


def _tilts_cell(rater: FittedRater) -> str:
    from rich.markup import escape

    from vrm.results.formats import ends, signed

    told = [(name, tilt) for name, tilt in rater.tilts.items() if tilt.low > 0 or tilt.high < 0]
    return "\n".join(
        escape(f"{name} {signed(tilt.mean, 2)} {ends(tilt.low, tilt.high, partial(signed, digits=2))}")
        for name, tilt in told[:TOLD]
    )


def _worth(held_out: HeldOutVotes | None) -> str:
    """What knowing the raters is worth, in words."""
    from vrm.results.formats import number, plural, with_span

    if held_out is None:
        return "Too few prompts or judgments to tell what knowing raters is worth."
    lines = [
        f"On {plural(held_out.votes, 'held-out judgment')} of {plural(held_out.raters, 'known rater')} "
        f"(cross-validation over prompts) the population's NLL a judgment is {number(held_out.population)}."
    ]
    lines.append(f"One fit for all of them takes {with_span(held_out.together, number)} off it.")
    lines.append(f"Knowing which of them judges takes off {with_span(held_out.own, number)} more.")
    if not held_out.own.low > 0:
        lines.append("So these judgments do not show that knowing the rater predicts better.")
    return " ".join(lines)
