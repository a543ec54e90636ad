"""`vrm evaluate`: a model on published benchmarks and on files of judgments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vrm.choices import OnBadRows, OnOverlong, Precision
from vrm.cli import options
from vrm.cli.checks import check_arguments
from vrm.cli.console import Meter, check_results_have_a_place, note, results, warn_of_rows, write_json
from vrm.errors import ConfigError, DataError

MISTAKES = 10
"""Most confident mistakes that a JSON document explains."""

if TYPE_CHECKING:
    from vrm.benchmarks import Benchmark, ExampleRewards, LoadedBenchmark
    from vrm.data.load import LoadResult
    from vrm.inference.engine import RewardEngine
    from vrm.results import EvaluationDocument


def _print_list(wanted: bool) -> None:
    if wanted:
        from vrm.benchmarks import benchmark_names, get_benchmark

        faults = []
        for name in benchmark_names():
            try:
                benchmark = get_benchmark(name)
            except ConfigError as error:
                # One wrong file must not keep the names of all others from people.
                faults.append(error)
                continue
            typer.echo(f"{benchmark.name:<16}{benchmark.title}: {benchmark.description}")
        if faults:
            raise ConfigError("\n".join(map(str, faults)))
        raise typer.Exit


InputsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="BENCHMARK[=PATH]|FILE...",
        help="Benchmarks by name, with the place of their files (else from the Hub), and files of judgments.",
    ),
]
ListOption = Annotated[
    bool, typer.Option("--list", callback=_print_list, is_eager=True, help="Print the benchmarks' names and exit.")
]
JsonOption = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Also write everything as JSON; - prints it alone. For files of judgments it holds the texts (cut to "
        "600 characters) of the ten most confident mistakes.",
    ),
]
RewardsOption = Annotated[
    Path | None,
    typer.Option(
        "--rewards",
        metavar="DIR",
        help="Write each benchmark example's rewards to NAME.rewards.jsonl here [default: beside the JSON file].",
    ),
]
BadRowsOption = Annotated[
    OnBadRows,
    typer.Option(
        "--on-bad-rows",
        help="Of files and bon: stop at rows with faults, or skip and count. Other benchmarks always count them.",
    ),
]
KappaOption = Annotated[
    list[float] | None,
    typer.Option(
        "--kappa",
        metavar="K",
        help="Of bon: standard deviations that a pessimistic pick subtracts, repeatable [default: 0.5, 1, 2, 4].",
    ),
]
MaxNOption = Annotated[
    int | None,
    typer.Option(
        "--max-n",
        min=2,
        help="Of bon: end of the curves; rows with fewer completions are left out and counted [default: the fewest "
        "completions of any row].",
    ),
]


def evaluate(
    model: options.ModelArgument,
    files: InputsArgument,
    list_benchmarks: ListOption = False,
    json_file: JsonOption = None,
    rewards: RewardsOption = None,
    overwrite: options.OverwriteOption = False,
    recipe: options.RecipeOption = None,
    column: options.ColumnOption = None,
    emphasize: options.EmphasizeOption = None,
    without: options.WithoutOption = None,
    rater: options.RaterOption = None,
    on_bad_rows: BadRowsOption = OnBadRows.ERROR,
    on_overlong: options.OverlongOption = OnOverlong.TRUNCATE,
    precision: options.PrecisionOption = Precision.FLOAT32,
    cache: options.CacheOption = None,
    resamples: options.ResamplesOption = 1000,
    kappas: KappaOption = None,
    max_n: MaxNOption = None,
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
) -> None:
    """Measure a model on benchmarks, and on judged pairs, ratings and votes of your own.

    `vrm evaluate MODEL rm-bench=DIR judgebench=FILE mine.jsonl`; `vrm evaluate --list` names the benchmarks.
    In files of judgments ties count in NLL and Brier only. Nothing is trained or tuned here.
    """
    check_results_have_a_place(json_file, overwrite)
    check_arguments(model, device=device)
    options.check_steering(emphasize, without, model, rater)
    inputs = [find_input(argument) for argument in files]
    places = [_rewards_path(item, rewards, json_file) for item in inputs]
    check_results_have_a_place(json_file, overwrite, *places)
    rows = options.RowOptions(recipe, options.columns(column), on_bad_rows)
    _check(inputs, rows, rewards)
    configure_best_of_n(inputs, kappas, max_n, rows)
    for item in inputs:
        item.load(rows)
    settings: dict[str, Any] = {"device": device, "precision": precision, "on_overlong": on_overlong}
    steering = options.steering(emphasize, without, rater)
    engine = options.load_engine(model, **settings, steering=steering, cache=cache, on_bad_rows=on_bad_rows)
    for item, place in zip(inputs, places, strict=True):
        engine.reset_report()
        mistakes = 0 if json_file is None else MISTAKES
        item.measure(engine, resamples, mistakes, place)
        warn_of_rows(item.name, engine.report)
    if json_file is not None:
        whose = {} if rater is None else {"rater": [rater]}
        settings |= {"steering": {"emphasis": emphasize, "without": without, **whose}, "resamples": resamples}
        settings |= {"recipe": recipe, "columns": rows.columns}
        write_json(json_file, _document(model, engine, settings, inputs))
    if str(json_file) != "-":
        for item in inputs:
            item.print()


@dataclass
class Input:
    """One argument of the command: a benchmark, or a file of judgments if `benchmark` is None."""

    name: str
    path: str | None = None
    benchmark: Benchmark | None = None
    loaded: LoadedBenchmark | LoadResult | None = None
    entry: Any = None
    print: Callable[[], None] = lambda: None

    def load(self, rows: options.RowOptions) -> None:
        """Read it, before a model is loaded."""
        if self.benchmark is None:
            self.loaded = rows.load(self.name)
            return
        with Meter(f"reading {self.name}"):
            self.loaded = self.benchmark.load(self.path)

    def measure(self, engine: RewardEngine, resamples: int, mistakes: int, rewards: Path | None) -> None:
        """Compute what is printed and written, and write the rewards of a benchmark's examples to `rewards`."""
        if self.benchmark is None:
            self._measure_file(engine, resamples, mistakes)
        else:
            self._measure_benchmark(self.benchmark, engine, resamples, rewards)

    def _measure_file(self, engine: RewardEngine, resamples: int, mistakes: int) -> None:
        from vrm.evaluate.preferences import evaluate_judgments
        from vrm.evaluate.tables import print_evaluation
        from vrm.metrics import ResampleOptions, field_values
        from vrm.results import FileEvaluation

        result: Any = self.loaded
        options = ResampleOptions(resamples=resamples)
        with Meter(self.name) as meter:
            evaluation = evaluate_judgments(
                engine,
                result.judgments,
                options,
                mistakes=mistakes,
                progress=judged(meter, len(result.judgments)),
            )
        self.entry = FileEvaluation(data=result.report.to_dict(), **field_values(evaluation))
        self.print = lambda: print_evaluation(results(), evaluation, self.name)

    def _measure_benchmark(
        self, benchmark: Benchmark, engine: RewardEngine, resamples: int, rewards: Path | None
    ) -> None:
        from vrm.benchmarks.document import benchmark_entry, reward_rows, write_rows
        from vrm.metrics import ResampleOptions
        from vrm.results.header import overlong_counts

        loaded: Any = self.loaded
        given = self.score(engine)
        report = engine.report
        with Meter(f"{self.name} intervals"):
            summary = benchmark.summarize(loaded.examples, given, ResampleOptions(resamples=resamples))
        if rewards is not None:
            write_rows(rewards, reward_rows(loaded.examples, given, benchmark.outcomes(loaded.examples, given)))
            note(f"wrote {rewards}")
        entry = benchmark_entry(loaded, summary, overlong_counts(report), self.path)
        self.entry = replace(entry, rewards_file=None if rewards is None else str(rewards))

        def show() -> None:
            console = results()
            summary.print(console, loaded)
            console.print(report.render(), markup=False)

        self.print = show

    def score(self, engine: RewardEngine) -> list[ExampleRewards | None]:
        """Rewards of a benchmark's examples, with progress on stderr."""
        from vrm.benchmarks.scoring import score_examples

        loaded: Any = self.loaded
        with Meter(self.name) as meter:

            def show(done: int, total: int) -> None:
                meter.update(f"{done} of {total} examples scored")

            policy = OnBadRows.SKIP if self.benchmark is None else self.benchmark.on_bad_rows
            return score_examples(engine, loaded.examples, show, policy)


def judged(meter: Meter, total: int) -> Callable[[int], None]:
    """What shows on a meter how many of a file's judgments are done."""

    def show(done: int) -> None:
        meter.update(f"{done} of {total} rows" if done < total else "metrics and intervals")

    show(0)
    return show


def find_input(argument: str) -> Input:
    """What an argument names: an existing file before a benchmark, a benchmark before anything else.

    Raises:
        DataError: it is neither, nor the name of a data set.
    """
    from vrm.benchmarks import benchmark_names, get_benchmark
    from vrm.data.columns import suggestion
    from vrm.data.readers import locate

    names = benchmark_names()
    name, equals, path = argument.partition("=")
    if not Path(argument).exists() and name in names:
        if equals and not path:
            raise typer.BadParameter(f"{argument!r}: nothing stands after the '='", param_hint="BENCHMARK[=PATH]")
        return Input(name, path or None, get_benchmark(name))
    try:
        locate(argument)
    except DataError as error:
        hint = suggestion(name, names) if equals or "." not in argument else ""
        raise DataError(f"{error}{hint} Benchmarks by name: {', '.join(names)}.") from None
    return Input(argument)


def _check(inputs: list[Input], rows: options.RowOptions, rewards: Path | None) -> None:
    """Refuse what would be ignored, or would overwrite itself."""
    names = [item.name for item in inputs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise typer.BadParameter(f"{', '.join(twice)}: given twice", param_hint="BENCHMARK[=PATH]|FILE")
    check_rows(inputs, rows)
    if rewards is not None and not any(item.benchmark for item in inputs):
        raise typer.BadParameter("rewards are written of benchmarks, and none is given", param_hint="--rewards")


def check_rows(inputs: Iterable[Input], rows: options.RowOptions) -> None:
    """Refuse a recipe or columns that nothing would use."""
    if any(item.benchmark is None for item in inputs):
        return
    if rows.recipe is not None:
        raise typer.BadParameter("recipes are for files of judgments, and none is given", param_hint="--recipe")
    if rows.columns and all(item.name != "bon" for item in inputs):
        raise typer.BadParameter("it is of files of judgments and bon, and none is given", param_hint="--column")


def configure_best_of_n(
    inputs: Iterable[Input], kappas: list[float] | None, max_n: int | None, rows: options.RowOptions
) -> None:
    """Give the benchmark `bon` its options, which no other input has."""
    best_of_n = [item for item in inputs if item.benchmark is not None and item.name == "bon"]
    given = {"--kappa": kappas, "--max-n": max_n}
    unused = [name for name, value in given.items() if value is not None and not best_of_n]
    if unused:
        raise typer.BadParameter("it is of bon=FILE, which is not among the inputs", param_hint=unused[0])
    for item in best_of_n:
        from vrm.benchmarks.best_of_n import KAPPAS, BestOfNBenchmark

        item.benchmark = BestOfNBenchmark(
            kappas=tuple(kappas) if kappas else KAPPAS, max_n=max_n, on_bad_rows=rows.on_bad_rows, mapping=rows.columns
        )


def _rewards_path(item: Input, rewards: Path | None, json_file: Path | None) -> Path | None:
    """In the folder asked for; else beside the JSON file and named after it, so that two models' do not meet."""
    if item.benchmark is None:
        return None
    if rewards is not None:
        return rewards / f"{item.name}.rewards.jsonl"
    if json_file is None or str(json_file) == "-":
        return None
    return json_file.with_name(f"{json_file.stem}.{item.name}.rewards.jsonl")


def _document(model: str, engine: Any, settings: dict[str, Any], inputs: list[Input]) -> EvaluationDocument:
    from vrm.results import EvaluationDocument
    from vrm.results.header import model_header

    return EvaluationDocument(
        **model_header(model, engine, settings),
        files={item.name: item.entry for item in inputs if item.benchmark is None},
        benchmarks={item.name: item.entry for item in inputs if item.benchmark is not None},
    )
