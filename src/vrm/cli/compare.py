"""`vrm compare`: two models on the same judgments or benchmarks, paired."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vrm.choices import OnBadRows, OnOverlong, Precision
from vrm.cli import options
from vrm.cli.checks import check_arguments
from vrm.cli.console import Meter, check_results_have_a_place, note, results, warn_of_rows, write_json

if TYPE_CHECKING:
    from vrm.benchmarks import Outcomes
    from vrm.cli.evaluate import Input
    from vrm.evaluate.collect import Collected
    from vrm.inference.engine import RewardEngine
    from vrm.metrics import ResampleOptions
    from vrm.results import BenchmarkComparison, Comparison, ComparisonDocument, MeasuredModel


def compare(
    first: Annotated[str, typer.Argument(metavar="MODEL_A", callback=options.home, help=options.A_MODEL)],
    second: Annotated[str, typer.Argument(metavar="MODEL_B", callback=options.home, help="The other one.")],
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE_OR_BENCHMARK...",
            help="Judgments in the row schema, any format; or a benchmark, NAME or NAME=PATH, as in vrm evaluate.",
        ),
    ],
    json_file: options.JsonFileOption = None,
    overwrite: options.OverwriteOption = False,
    recipe: options.RecipeOption = None,
    column: options.ColumnOption = None,
    on_bad_rows: options.BadRowsOption = OnBadRows.ERROR,
    on_overlong: options.OverlongOption = OnOverlong.TRUNCATE,
    precision: options.PrecisionOption = Precision.FLOAT32,
    cache: options.CacheOption = None,
    resamples: options.ResamplesOption = 1000,
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
) -> None:
    """Compare two models on the same judgments, pair by pair.

    Differences with intervals over prompts, tests, and in words what they let one conclude. Ties count in NLL only.
    One model is in memory at a time.
    """
    check_results_have_a_place(json_file, overwrite)
    check_arguments(first, second, device=device)
    rows = options.RowOptions(recipe, options.columns(column), on_bad_rows)
    material = _load(targets, rows)
    from vrm.metrics import ResampleOptions
    from vrm.results.header import measured_model

    settings: dict[str, Any] = {"device": device, "precision": precision, "on_overlong": on_overlong}
    judged: list[dict[str, Any]] = []
    models = []
    for label, model in (("A", first), ("B", second)):
        note(f"judging with {label}: {model}")
        engine = options.load_engine(model, **settings, cache=cache, on_bad_rows=on_bad_rows)
        judged.append({target: _judge(engine, given) for target, given in material.items()})
        models.append(measured_model(model, engine))
        del engine
    resampling = ResampleOptions(resamples=resamples)
    with Meter("comparing") as meter:
        compared = {}
        for target in material:
            meter.update(target)
            compared[target] = _compare(judged[0][target][0], judged[1][target][0], resampling)
    if json_file is not None:
        settings |= {"resamples": resamples, "recipe": recipe, "columns": rows.columns}
        settings["on_bad_rows"] = on_bad_rows
        overlong = {target: {"a": judged[0][target][1], "b": judged[1][target][1]} for target in material}
        write_json(json_file, _document(models, settings, material, overlong, compared))
    if str(json_file) != "-":
        _print(models, compared, judged)


def _load(targets: list[str], rows: options.RowOptions) -> dict[str, Input]:
    """Everything that is to be judged, by its argument, read before a model is loaded."""
    from vrm.cli.evaluate import check_rows, configure_best_of_n, find_input

    twice = sorted({target for target in targets if targets.count(target) > 1})
    if twice:
        raise typer.BadParameter(f"{', '.join(twice)}: given twice", param_hint="FILE_OR_BENCHMARK")
    material = {target: find_input(target) for target in targets}
    check_rows(material.values(), rows)
    configure_best_of_n(material.values(), None, None, rows)
    for given in material.values():
        given.load(rows)
    return material


def _judge(engine: RewardEngine, given: Input) -> tuple[Collected | Outcomes, str]:
    """What one model says, and what happened to rows over its limit."""
    from vrm.cli.evaluate import judged as judgments_done
    from vrm.evaluate.collect import collect

    engine.reset_report()
    loaded: Any = given.loaded
    judged: Collected | Outcomes
    if given.benchmark is None:
        with Meter(given.name) as meter:
            judged = collect(engine, loaded.judgments, judgments_done(meter, len(loaded.judgments)))
    else:
        judged = given.benchmark.outcomes(loaded.examples, given.score(engine))
    warn_of_rows(given.name, engine.report)
    return judged, engine.report.render()


def _compare(first: Any, second: Any, resampling: ResampleOptions) -> Comparison | BenchmarkComparison:
    from vrm.benchmarks.compare import compare_outcomes
    from vrm.evaluate.collect import Collected
    from vrm.evaluate.compare import compare_collected

    if isinstance(first, Collected):
        return compare_collected(first, second, resampling)
    return compare_outcomes(first, second, resampling)


def _document(
    models: list[MeasuredModel],
    settings: dict[str, Any],
    material: dict[str, Input],
    overlong: dict[str, dict[str, str]],
    compared: dict[str, Comparison | BenchmarkComparison],
) -> ComparisonDocument:
    from vrm.evaluate.compare_words import conclusions
    from vrm.metrics import field_values
    from vrm.results import BenchmarkComparisonEntry, Comparison, ComparisonDocument, FileComparison
    from vrm.results.base import versions

    files, benchmarks = {}, {}
    for target, comparison in compared.items():
        loaded: Any = material[target].loaded
        fields = field_values(comparison) | {"overlong": overlong[target]}
        if isinstance(comparison, Comparison):
            files[target] = FileComparison(
                data=loaded.report.to_dict(), conclusions=tuple(conclusions(comparison)), **fields
            )
        else:
            benchmarks[target] = BenchmarkComparisonEntry(data=loaded.to_dict(), **fields)
    return ComparisonDocument(
        model=models[0].model,
        model_b=models[1].model,
        models={"a": models[0], "b": models[1]},
        versions=versions(),
        settings=settings,
        files=files,
        benchmarks=benchmarks,
    )


def _print(models: list[MeasuredModel], compared: dict[str, Any], judged: list[dict[str, Any]]) -> None:
    from vrm.cli.compare_tables import print_benchmark_comparison, print_comparison
    from vrm.evaluate.compare_words import ABOUT_SEEDS
    from vrm.results import Comparison

    console = results()
    for label, model in zip("AB", models, strict=True):
        console.print(f"{label}: {model.model}  (head {model.head})", markup=False, soft_wrap=True)
    for target, comparison in compared.items():
        console.print()
        show = print_comparison if isinstance(comparison, Comparison) else print_benchmark_comparison
        show(console, comparison, target)
        reports = [by_target[target][1] for by_target in judged]
        if reports[0] == reports[1]:
            console.print(reports[0], markup=False)
        else:
            for label, words in zip("AB", reports, strict=True):
                console.print(f"{label}: {words}", markup=False)
    console.print()
    console.print(ABOUT_SEEDS, markup=False)
