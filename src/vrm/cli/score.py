"""`vrm score`: rewards for a file of prompts and completions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from vrm.choices import OnBadRows, OnOverlong, Precision, RewardScale
from vrm.cli import options
from vrm.cli.checks import check_arguments
from vrm.cli.console import LOADING_LOG_SECONDS, LOG_EVERY_SECONDS, Meter, note
from vrm.cli.streams import require_stdout
from vrm.data.validation import RecipeCounts
from vrm.errors import ConfigError
from vrm.files import holds_something

if TYPE_CHECKING:
    from vrm.data.load import Source
    from vrm.data.tokenized import OverlongReport
    from vrm.inference.score import Input, ScoreCounts, ScoreOptions
    from vrm.inference.score_output import ScoreSink


class RowScorer(Protocol):
    """`vrm.inference.Scorer`, or what stands in its place."""

    counts: ScoreCounts

    @property
    def report(self) -> OverlongReport:
        """Counts of the rows over the limit of tokens."""

    def windows(self, source: Source, skip: int = 0, recipe: RecipeCounts | None = None) -> Iterator[list[dict]]:
        """Output rows of a source, in lists."""

    def each(self, inputs: Sequence[Input]) -> Iterator[Iterator[list[dict]]]:
        """The same of several sources, to be taken one after the other."""


_Input = Annotated[
    str,
    typer.Argument(
        metavar="INPUT",
        help="JSONL, JSON, CSV or Parquet file (.gz too), `datasets` directory, Hub name, or - for stdin.",
    ),
]
_Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        callback=options.home,
        help="JSONL, compressed if .gz; or DIRECTORY/, a file for each of the input directory's. Default: stdout.",
    ),
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Start anew if the output exists.")]
_Scale = Annotated[
    RewardScale | None,
    typer.Option(
        "--reward-scale",
        help="Standardized: by mean and spread of rewards on the held-out rows. Default: as the model is set.",
    ),
]
_Kappa = Annotated[
    float | None,
    typer.Option("--kappa", min=0.0, metavar="K", help="Add `pessimistic_rewards`: mean minus K standard deviations."),
]
_Keep = Annotated[
    list[str] | None,
    typer.Option("--keep", metavar="COLUMN", help="Copy a column of the input, or `all`; may be repeated."),
]
_BadRows = Annotated[
    OnBadRows, typer.Option("--on-bad-rows", help="Stop at a row that cannot be read, or write its error in its place.")
]
_Budget = Annotated[
    int, typer.Option("--token-budget", min=1, metavar="N", help="Token positions of one batch, padding included.")
]
_Ray = Annotated[str | None, options.ray_option("Let the workers of a Ray cluster score")]
_Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, metavar="N", help="Of --ray. Default: one a GPU, or one for --threads cores."),
]


def score(
    model: options.ModelArgument,
    source: _Input,
    output: _Output = None,
    overwrite: _Overwrite = False,
    reward_scale: _Scale = None,
    kappa: _Kappa = None,
    risk: options.RiskOption = None,
    beta: options.BetaOption = None,
    emphasize: options.EmphasizeOption = None,
    without: options.WithoutOption = None,
    rater: options.RaterOption = None,
    keep: _Keep = None,
    recipe: options.RecipeOption = None,
    column: options.ColumnOption = None,
    on_bad_rows: _BadRows = OnBadRows.ERROR,
    on_overlong: options.OverlongOption = OnOverlong.TRUNCATE,
    precision: options.PrecisionOption = Precision.FLOAT32,
    token_budget: _Budget = 8192,
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
    ray: _Ray = None,
    workers: _Workers = None,
) -> None:
    """Write rewards for a file of prompts and completions: one JSON row for each input row, in order.

    Input rows have `prompt` and `completion` or `completions`, or `chosen` and `rejected`. Output rows have `rewards`
    and `reward_std` (one number a completion), `objective_weights`, `total_concentration` and `objective_scores`; rows
    that could not be scored have `error`. An interrupted run goes on where it stopped when the same command is run
    again. A directory of data files can be scored into a directory: Parquet parts become Parquet parts, others JSONL.
    With a recipe, `line` is the published row's number, of which it may make several rows or none.
    """
    if output is None or output == "-":
        require_stdout("give -o FILE")
    rows = options.RowOptions(recipe, options.columns(column)).source(source)
    check_arguments(model, sources=[source], device=device)
    options.check_steering(emphasize, without, model, rater)
    _check_output(source, output, overwrite)
    from vrm.data.load import check_mapped

    check_mapped(rows)
    from vrm.inference.score import ScoreOptions

    wanted = ScoreOptions(reward_scale, kappa, tuple(keep or ()), on_bad_rows, risk=risk, beta=beta)
    how: dict[str, Any] = {"precision": precision, "on_overlong": on_overlong, "token_budget": token_budget}
    how["steering"] = options.steering(emphasize, without, rater)
    if ray is not None:
        _score_on_cluster(Cluster(ray, workers, threads, device), model, how, wanted, (rows, output, overwrite))
        return
    if workers is not None:
        raise typer.BadParameter("workers are of a Ray cluster; give --ray too", param_hint="--workers")
    from vrm.inference.score import Scorer
    from vrm.inference.score_output import reward_settings

    scorer = Scorer(options.load_engine(model, device=device, **how), wanted)
    _write(scorer, lambda: reward_settings(scorer), rows, output, overwrite)


def _scores_parts(source: str, output: str | None) -> bool:
    """Whether a directory of data files is scored into a directory: the output is one, or ends like one."""
    from vrm.data.readers import locate

    if output is None or not Path(source).is_dir() or locate(source).format != "hub":
        return False
    return output.endswith("/") or Path(output).is_dir()


def _write_parts(scorer: RowScorer, settings: Mapping[str, Any], rows: Source, output: str, overwrite: bool) -> None:
    """Score a directory into a directory, part by part, and say on stderr what was done."""
    from vrm.inference.score_parts import ScoredParts

    parts = ScoredParts(settings, rows, Path(output), overwrite)
    left, total = parts.left(), len(parts.parts)
    if len(left) < total:
        note(f"continuing {output} after {total - len(left):,} of its {_count(total, 'part')}")
    run = _Run(scorer, None, output)
    with Meter("scoring", LOG_EVERY_SECONDS) as meter:
        try:
            for number, (part, windows) in enumerate(zip(left, scorer.each(parts.inputs(left)), strict=True), 1):
                words = f"part {total - len(left) + number} of {total}, "
                parts.write(part, windows, lambda words=words: meter.update(words + run.rate()))  # type: ignore[misc]
            parts.complete()
        except BaseException:
            note(f"stopped after {total - len(parts.left())} of {total} parts; the same command continues there")
            raise
        finally:
            parts.close()
    note(run.summary())


def _write(
    scorer: RowScorer, settings: Callable[[], Mapping[str, Any]], rows: Source, output: str | None, overwrite: bool
) -> None:
    """Score the rows into the output, and say on stderr what was done."""
    from vrm.inference.score_output import open_sink, scoring_settings, write_scores

    if output is not None and _scores_parts(str(rows.path), output):
        _write_parts(scorer, scoring_settings(settings(), rows), rows, output, overwrite)
        return
    sink = open_sink(output, lambda: scoring_settings(settings(), rows), overwrite)
    if sink.rows_done:
        note(f"continuing {output} after its {sink.rows_done:,} rows")
    run = _Run(scorer, sink, output)
    with Meter("scoring", LOG_EVERY_SECONDS) as meter:
        try:
            windows = scorer.windows(rows, sink.rows_done, run.recipe)
            write_scores(windows, sink, lambda: meter.update(run.rate()))
        except BaseException:
            run.explain_stop()
            raise
    note(run.summary())


@dataclass(frozen=True)
class Cluster:
    """`--ray`, `--workers`, `--threads` and `--device`."""

    address: str
    workers: int | None
    threads: int | None
    device: str


def _score_on_cluster(
    cluster: Cluster,
    model: str,
    how: Mapping[str, Any],
    wanted: ScoreOptions,
    task: tuple[Source, str | None, bool],
) -> None:
    from vrm.integrations.ray import RayScorer, WorkerSettings, ray_workers
    from vrm.integrations.ray.scoring import check_readable

    check_readable(task[0])
    with ray_workers(cluster.address, cluster.workers, cluster.threads, cluster.device) as workers:
        with Meter("loading", LOADING_LOG_SECONDS) as meter:
            meter.update(model)
            scorer = RayScorer(workers, WorkerSettings(model, **how), wanted)
        note(f"scoring with {_count(workers.count, 'worker')} on {workers.device}")
        _write(scorer, lambda: scorer.settings, *task)


class _Run:
    """What a run says about itself on stderr."""

    def __init__(self, scorer: RowScorer, sink: ScoreSink | None, output: str | None) -> None:
        self._scorer, self._sink, self._output = scorer, sink, output
        self._earlier = sink.rows_done if sink is not None else 0
        self._start = time.monotonic()
        self.recipe = RecipeCounts()

    def rate(self) -> str:
        """Rows and texts so far, and how fast."""
        counts = self._scorer.counts
        speed = counts.texts / max(time.monotonic() - self._start, 1e-6)
        return f"{_count(counts.rows, 'row')}, {_count(counts.texts, 'text')}, {speed:,.0f} texts/s"

    def summary(self) -> str:
        """The last words of a run that came to its end."""
        counts, report = self._scorer.counts, self._scorer.report
        lines = [f"wrote {self.rate()}" + (f" -> {self._output}" if self._output else "")]
        if self._earlier:
            lines[0] += f" ({_count(self._earlier, 'row')} were there before)"
        if self.recipe.read:
            lines += self.recipe.lines()
        if counts.truncated:
            lines.append(
                f"  {_count(counts.truncated, 'row')} cut to {report.limit} tokens: {report.prompt_truncated:,} at the "
                f"start of the prompt, {report.completion_truncated:,} at the end of completions"
            )
        if counts.dropped:
            lines.append(f"  {_count(counts.dropped, 'row')} over {report.limit} tokens dropped (`error` says so)")
        if counts.unreadable:
            lines.append(f"  {_count(counts.unreadable, 'row')} could not be read (`error` says why)")
        lines += [f"  {line}" for line in report.warnings()]
        return "\n".join(lines)

    def explain_stop(self) -> None:
        """What an interruption leaves behind."""
        if self._sink is not None and Path(f"{self._output}.progress.json").exists():
            done = _count(self._sink.rows_done, "row")
            note(f"stopped after {done}, which {self._output} holds; the same command continues there")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _check_output(source: str, output: str | None, overwrite: bool) -> None:
    """Refuse an output that is the input, a directory or complete, which `open_sink` would find out later."""
    if output is None or not Path(output).exists():
        return
    if Path(source).exists() and Path(output).samefile(source):
        raise typer.BadParameter("the output is the input", param_hint="--output")
    if Path(output).is_dir() and not _scores_parts(source, output):
        message = f"{output} is a directory, and the input is no directory of data files; give the name of a file in it"
        raise typer.BadParameter(message, param_hint="--output")
    if holds_something(output) and not overwrite and not Path(f"{output}.progress.json").exists():
        raise ConfigError(f"{output} exists already and is complete. Choose another name, or pass --overwrite")
