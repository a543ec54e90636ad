"""`vrm evaluate`: a model on files of judgments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vrm.cli.console import note, results
from vrm.cli.options import (
    ON_BAD_ROWS,
    DeviceOption,
    EmphasizeOption,
    ModelArgument,
    OverlongOption,
    PrecisionOption,
    WithoutOption,
    load_engine,
    one_of,
    steering,
)

MISTAKES = 10
"""Most confident mistakes that a JSON document explains."""


def evaluate(
    model: ModelArgument,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Judgments in the row schema, any format.", show_default=False),
    ],
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Also write everything as JSON; - prints it alone. It holds the texts (cut to 600 characters) of the "
            "ten most confident mistakes.",
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Recipe that maps a published dataset's rows to the schema.")
    ] = None,
    emphasize: EmphasizeOption = None,
    without: WithoutOption = None,
    on_bad_rows: Annotated[
        str, typer.Option("--on-bad-rows", **one_of(ON_BAD_ROWS), help="Stop at rows with faults, or skip and count.")
    ] = "error",
    on_overlong: OverlongOption = "truncate",
    precision: PrecisionOption = "float32",
    cache: Annotated[
        Path | None, typer.Option("--feature-cache", metavar="DIR", help="Keep and reuse features of the backbone.")
    ] = None,
    resamples: Annotated[int, typer.Option("--resamples", min=1, help="Bootstrap resamples of an interval.")] = 1000,
    device: DeviceOption = "auto",
) -> None:
    """Measure a model on judged pairs, ratings and votes, file by file.

    Ties count in NLL and Brier only. Nothing is trained or tuned here.
    """
    from vrm.data.load import Source, load_judgments

    loaded = {}
    for file in files:
        result = load_judgments(Source(file, recipe=recipe), on_bad_rows=on_bad_rows)
        loaded[file] = result
        if not result.report.ok:
            note(result.report.render())
    settings: dict[str, Any] = {"device": device, "precision": precision, "on_overlong": on_overlong}
    engine = load_engine(model, **settings, steering=steering(emphasize, without), cache=cache)
    from vrm.evaluate.preferences import evaluate_judgments
    from vrm.evaluate.tables import print_evaluation

    evaluations = {}
    for file, result in loaded.items():
        engine.reset_report()
        evaluations[file] = evaluate_judgments(
            engine, result.judgments, resamples=resamples, mistakes=0 if json_file is None else MISTAKES
        )
    if json_file is not None:
        settings |= {"steering": {"emphasis": emphasize, "without": without}, "resamples": resamples, "recipe": recipe}
        _write_json(json_file, model, engine, settings, loaded, evaluations)
    if str(json_file) != "-":
        console = results()
        for file, evaluation in evaluations.items():
            print_evaluation(console, evaluation, file)


def _write_json(
    path: Path, model: str, engine: Any, settings: dict[str, Any], loaded: dict[str, Any], evaluations: dict[str, Any]
) -> None:
    from vrm.inference.extraction import backbone_fingerprint
    from vrm.train.run import versions

    document = {
        "model": model,
        "head": engine.model.config.head,
        "backbone_sha256": backbone_fingerprint(engine.model),
        "settings": settings,
        "versions": versions(),
        "files": {
            file: {"data": loaded[file].report.to_dict(), **evaluation.to_dict()}
            for file, evaluation in evaluations.items()
        },
    }
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    if str(path) == "-":
        print(text, end="")
    else:
        path.write_text(text, encoding="utf-8")
        note(f"wrote {path}")
