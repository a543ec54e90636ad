"""`vrm doctor`: what is wrong with preference data."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from vrm.choices import OnBadRows, SplitBy
from vrm.cli import options
from vrm.cli.checks import check_arguments, check_directory_name
from vrm.cli.console import Meter, check_results_have_a_place, quiet_libraries, results, write_json

if TYPE_CHECKING:
    from vrm.doctor import DoctorReport, Reading
    from vrm.inference.engine import RewardEngine
    from vrm.results import DoctorDocument

FilesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...", help="Judgments in the row schema, any format; several are taken as the parts of a split."
    ),
]
AllowOption = Annotated[
    list[str] | None, typer.Option("--allow", metavar="NAME", help="Make this error a warning; may be repeated.")
]
ExamplesOption = Annotated[
    int, typer.Option("--examples", min=0, metavar="N", help="Places (file:line) to name for each finding.")
]
SplitByOption = Annotated[SplitBy, typer.Option("--split-by", help="category: files must not share categories either.")]
TokenizerOption = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="NAME",
        callback=options.home,
        help="Directory, Hub name, embedded or embedded-decoder, whose tokens are counted.",
    ),
]
LimitOption = Annotated[
    int | None, typer.Option("--max-input-tokens", min=1, help="Limit of a row; by default the model's, else 512.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        callback=options.home,
        help="Its tokenizer and limit, and what it says against the labels.",
    ),
]
ModelRowsOption = Annotated[
    int, typer.Option("--model-rows", min=0, metavar="N", help="Rows of a file the model judges; 0 for all.")
]
SampleOption = Annotated[
    int,
    typer.Option(
        "--sample", min=0, metavar="N", help="Rows of a file to tokenize, prompts to tell the language of; 0: all."
    ),
]


def doctor(
    files: FilesArgument,
    json_file: options.JsonFileOption = None,
    overwrite: options.OverwriteOption = False,
    allow: AllowOption = None,
    examples: ExamplesOption = 3,
    split_by: SplitByOption = SplitBy.PROMPT,
    recipe: options.RecipeOption = None,
    column: options.ColumnOption = None,
    tokenizer: TokenizerOption = None,
    max_input_tokens: LimitOption = None,
    model: ModelOption = None,
    model_rows: ModelRowsOption = 2_000,
    sample: SampleOption = 10_000,
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
) -> None:
    """Look for what is wrong with preference data: leaks, duplicates, contradictions, noise, lengths, languages.

    Exits with 1 if something would invalidate training or evaluation.
    """
    check_results_have_a_place(json_file, overwrite)
    if model is not None and tokenizer is not None:
        raise typer.BadParameter("a model has its own tokenizer; give one of the two", param_hint="--tokenizer")
    from vrm.doctor import DoctorSettings, diagnose
    from vrm.doctor.view import print_report

    settings = DoctorSettings(
        allow=tuple(allow or ()), examples=examples, split_by=split_by, sample=sample, model_rows=model_rows
    )
    rows = options.RowOptions(recipe, options.columns(column))
    sources = [rows.source(file) for file in files]
    check_arguments(*([] if model is None else [model]), sources=files, device=device)
    if tokenizer is not None:
        check_directory_name(tokenizer, "--tokenizer")
    reading, engine = _reading(model, tokenizer, max_input_tokens, device)
    with Meter("doctor") as meter:
        report = diagnose(
            sources,
            settings=settings,
            reading=reading,
            engine=engine,
            progress=meter.update,
        )
    if json_file is not None:
        write_json(json_file, _document(report, files, model))
    if str(json_file) != "-":
        print_report(results(), report)
    if report.invalid:
        raise typer.Exit(1)


def _reading(
    model: str | None, tokenizer: str | None, limit: int | None, device: str
) -> tuple[Reading | None, RewardEngine | None]:
    from vrm.doctor.lengths import default_reading, load_reading, model_reading

    if model is not None:
        engine = options.load_engine(model, device=device, on_bad_rows=OnBadRows.SKIP)
        return model_reading(engine, model, limit), engine
    quiet_libraries()
    if tokenizer is not None:
        return load_reading(tokenizer, limit), None
    reading = default_reading(limit)
    # Without one, `diagnose` says why.
    return (None if isinstance(reading, str) else reading), None


def _document(report: DoctorReport, files: list[str], model: str | None) -> DoctorDocument:
    from vrm.metrics import field_values
    from vrm.results import DoctorDocument
    from vrm.results.base import versions

    beside = {name: version(name) for name in ("datasketch", "py3langid")}
    fields = {name: value for name, value in field_values(report).items() if name != "invalid"}
    return DoctorDocument(model=model, versions=versions() | beside, paths=tuple(files), **fields)
