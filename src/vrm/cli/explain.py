"""`vrm explain`: why a model prefers one completion of a prompt to another."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from vrm.choices import OnOverlong, Precision
from vrm.cli import options
from vrm.cli.checks import check_arguments
from vrm.cli.console import print_json, results
from vrm.cli.streams import require_stdout
from vrm.wire.explanation import THE_CHOSEN

if TYPE_CHECKING:
    from vrm.data.load import Source
    from vrm.data.schema import Judgment

_Input = Annotated[
    str | None, typer.Argument(metavar="INPUT", help="A source as for `vrm score`, of which one row is explained.")
]
_Prompt = Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="In place of INPUT: the prompt.")]
_Completion = Annotated[
    list[str] | None, typer.Option("--completion", metavar="TEXT", help="A completion of that prompt; may be repeated.")
]
_Line = Annotated[
    int | None, typer.Option("--line", min=1, metavar="N", help="Line (or row) of INPUT; default: its first.")
]

_Sentences = Annotated[
    bool, typer.Option("--sentences", help="Also judge each completion without each of its sentences: which did it?")
]


def explain(
    model: options.ModelArgument,
    source: _Input = None,
    prompt: _Prompt = None,
    completion: _Completion = None,
    line: _Line = None,
    emphasize: options.EmphasizeOption = None,
    without: options.WithoutOption = None,
    rater: options.RaterOption = None,
    recipe: options.RecipeOption = None,
    column: options.ColumnOption = None,
    sentences: _Sentences = False,
    as_json: options.JsonFlag = False,
    on_overlong: options.OverlongOption = OnOverlong.TRUNCATE,
    precision: options.PrecisionOption = Precision.FLOAT32,
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
) -> None:
    """Show why a model prefers one completion of a prompt to another.

    Prints the objective weights that the prompt calls for, what each completion scores on them, and rewards with
    intervals. Then come the probability that one completion beats another, the largest reasons for it, where the
    uncertainty comes from, and what can be read into the weights. `vrm explore` shows the same in a browser, where
    sliders change it.
    """
    require_stdout("send it to a file")
    _check_arguments(source, prompt, completion, line)
    check_arguments(model, sources=[] if source is None else [source], device=device)
    options.check_steering(emphasize, without, model, rater)
    rows = options.RowOptions(recipe, options.columns(column))
    judgment, notes = _typed(prompt, completion) if source is None else _row(rows.source(source), line)
    engine = options.load_engine(
        model,
        device=device,
        precision=precision,
        on_overlong=on_overlong,
        steering=options.steering(emphasize, without, rater),
    )
    from vrm.cli.explanation_view import print_explanation
    from vrm.inference.explain import explain as explain_judgment
    from vrm.inference.sentences import explain_with_sentences

    explanation = explain_with_sentences(engine, judgment) if sentences else explain_judgment(engine, judgment)
    explanation = replace(explanation, notes=(*notes, *explanation.notes))
    if as_json:
        print_json(json.dumps(explanation.to_dict(), ensure_ascii=False, allow_nan=False, indent=2))
    else:
        print_explanation(results(), explanation)


def _check_arguments(source: str | None, prompt: str | None, completions: list[str] | None, line: int | None) -> None:
    if source is not None and (prompt is not None or completions):
        raise typer.BadParameter("give either INPUT, or --prompt and --completion", param_hint="INPUT")
    if source is None and (prompt is None or not completions):
        raise typer.BadParameter("give INPUT, or --prompt with at least one --completion", param_hint="INPUT")
    if source is None and line is not None:
        raise typer.BadParameter("there are no lines without INPUT", param_hint="--line")


def _typed(prompt: str | None, completions: list[str] | None) -> tuple[Judgment, tuple[str, ...]]:
    from vrm.data.parse import parse_scoring_row

    row = {"prompt": prompt, "completions": completions}
    return parse_scoring_row(row, file="<command line>", line=1), ()


def _row(source: Source, line: int | None) -> tuple[Judgment, tuple[str, ...]]:
    from vrm.data.load import check_mapped
    from vrm.errors import DataError

    check_mapped(source)
    from vrm.inference.score import read_scoring_rows

    for row in read_scoring_rows(source):
        if line is not None and row.line < line:
            continue
        if line is not None and row.line > line:
            break
        if row.judgment is None:
            assert row.error is not None
            raise row.error
        return row.judgment, (THE_CHOSEN,) if row.is_pair(source.mapping) else ()
    raise DataError(f"{source.path}: there is no row at line {line}" if line else f"{source.path}: there is no row")
