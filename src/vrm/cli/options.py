"""Arguments and options that commands share, and what they are turned into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vrm.choices import NO_CACHE, OnBadRows, OnOverlong, Precision, Risk
from vrm.cli.checks import check_model, check_objectives, check_rater
from vrm.threads import use_threads
from vrm.user_files import at_home

if TYPE_CHECKING:
    from vrm.data.load import LoadResult, Source
    from vrm.inference.engine import RewardEngine
    from vrm.inference.steering import Steering


def home(value: str | None) -> str | None:
    """Callback of arguments that are a path or a name: `~` becomes the home directory."""
    return None if value is None else at_home(value)


def computing(threads: int | None) -> int | None:
    """Callback of `--threads`, which acts before torch is loaded."""
    use_threads(threads)
    return threads


A_MODEL = "Directory written by save_pretrained, or a Hub name."
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", callback=home, help=A_MODEL)]
EmphasizeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--emphasize", metavar="NAME=COUNT", help="Add COUNT (>= 0) to an objective's concentration; may be repeated."
    ),
]
WithoutOption = Annotated[
    list[str] | None, typer.Option("--without", metavar="NAME", help="Leave an objective out; may be repeated.")
]
RaterOption = Annotated[
    str | None,
    typer.Option("--rater", metavar="NAME", help="Judge as this rater or group, which vrm adapt has made known."),
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="NAME=COLUMN",
        help="The input's name of a column, such as completion=response; may be repeated.",
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision", help="Of the backbone's matrix products. Only in float32 do rewards not depend on batching."
    ),
]
OverlongOption = Annotated[
    OnOverlong, typer.Option("--on-overlong", help="What to do with rows over the model's limit of tokens.")
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps; auto takes a GPU if there is one.")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        metavar="N",
        callback=computing,
        help="Threads on the CPU. Default: OMP_NUM_THREADS, or the cores that this process may use.",
    ),
]
AllowedHostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-host",
        metavar="NAME",
        help="Answer under this name too, such as reward.example.org, *.example.org, or * for all; may be repeated. "
        "Addresses and localhost are answered anyway.",
    ),
]
RecipeOption = Annotated[
    str | None, typer.Option("--recipe", help="Recipe that maps a published dataset's rows to the schema.")
]
JsonFileOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Also write everything as JSON; - prints it alone.")
]
BadRowsOption = Annotated[OnBadRows, typer.Option("--on-bad-rows", help="Stop at rows with faults, or skip and count.")]
CacheOption = Annotated[
    str | None,
    typer.Option(
        "--feature-cache",
        metavar="DIR",
        callback=home,
        help="Where features of the backbone are kept and found again; none keeps none. By default runs and commands "
        "share ~/.cache/vrm/features.",
    ),
]
ResamplesOption = Annotated[int, typer.Option("--resamples", min=1, help="Bootstrap resamples of an interval.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]
RiskOption = Annotated[
    Risk | None,
    typer.Option(
        "--risk",
        help="How uncertainty lowers the reward: pessimistic (--kappa), or exponential (--beta), the certain reward "
        "worth as much: -B log E exp(-r / B).",
    ),
]
BetaOption = Annotated[
    float | None,
    typer.Option(
        "--beta", metavar="B", help="Of --risk exponential, in units of the reward: small is wary, large near the mean."
    ),
]
LicenseOption = Annotated[
    str | None, typer.Option("--license", metavar="ID", help="Licence of the weights for the card, such as apache-2.0.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")]
ReplaceModelOption = Annotated[bool, typer.Option("--overwrite", help="Replace a model that is in DIR.")]


def ray_option(what: str) -> Any:
    """`--ray ADDRESS`; `what` says what a cluster does for the command."""
    where = "`local` for processes on this machine, `auto` for the cluster that it is a node of, or HOST:PORT."
    return typer.Option("--ray", metavar="ADDRESS", help=f"{what}: {where}")


def pairs(values: Sequence[str] | None, option: str, form: str) -> dict[str, str]:
    """Arguments of a repeatable option, whose help calls them `form`, such as NAME=COLUMN.

    Raises:
        typer.BadParameter: for a value without `=` or with nothing on one of its sides, or a repeated name.
    """
    given: dict[str, str] = {}
    for value in values or []:
        name, _, right = (part.strip() for part in value.partition("="))
        if not name or not right:
            raise typer.BadParameter(f"{value!r} is not of the form {form}", param_hint=option)
        if name in given:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=option)
        given[name] = right
    return given


def columns(values: Sequence[str] | None) -> dict[str, str]:
    """{schema's column: the input's column} from `--column`.

    Raises:
        typer.BadParameter: for values that are not of the form NAME=COLUMN.
        ConfigError: for a NAME that is not a column of the schema, or a COLUMN that two of them take.
    """
    from vrm.data.columns import check_mapping

    mapping = pairs(values, "--column", "NAME=COLUMN")
    check_mapping(mapping)
    return mapping


@dataclass(frozen=True, slots=True)
class RowOptions:
    """How a command reads files of judgments.

    Attributes:
        recipe: of `--recipe`.
        columns: of `--column`, {schema's column: the file's column}.
        on_bad_rows: of `--on-bad-rows`.
    """

    recipe: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    on_bad_rows: str = OnBadRows.ERROR

    def source(self, file: str, limit: int | None = None) -> Source:
        """A file of judgments; raises ConfigError where recipe and columns are both given."""
        from vrm.data.load import Source
        from vrm.data.recipes import get_recipe

        if self.recipe is not None:
            get_recipe(self.recipe)
        return Source(file, recipe=self.recipe, mapping=self.columns, limit=limit)

    def load(self, file: str, limit: int | None = None, *, group_raters: bool = True) -> LoadResult:
        """Its rows, before a model is loaded; what was wrong with those that are skipped goes to stderr."""
        from vrm.cli.console import Meter, note
        from vrm.data.load import load_judgments

        source = self.source(file, limit)
        with Meter(f"reading {file}"):
            loaded = load_judgments(
                source, on_bad_rows=self.on_bad_rows, group_raters=group_raters, how_to_skip="--on-bad-rows skip"
            )
        if not loaded.report.ok:
            note(loaded.report.render())
        return loaded


def counts(values: Sequence[str] | None, option: str = "--emphasize") -> dict[str, float]:
    """NAME=COUNT arguments; raises typer.BadParameter for a count that is no number."""
    given: dict[str, float] = {}
    for name, text in pairs(values, option, "NAME=COUNT").items():
        try:
            given[name] = float(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} (of {name}) is not a number", param_hint=option) from None
    return given


def check_steering(
    emphasize: Sequence[str] | None,
    without: Sequence[str] | None,
    model: str | None = None,
    rater: str | None = None,
) -> dict[str, float]:
    """The counts of `--emphasize`, checked with `--without` and `--rater` before torch is imported.

    `model` is a directory whose files have to know the names.

    Raises:
        typer.BadParameter: for values that are not of their form, or an objective that is in both.
        CannotFollowError: the model has no such objective or rater.
    """
    added = counts(emphasize)
    both = sorted(set(added) & set(without or []))
    if both:
        raise typer.BadParameter(f"{', '.join(both)} cannot be left out and emphasized", param_hint="--without")
    if model is not None:
        check_objectives(model, added, without or ())
        check_rater(model, rater)
    return added


def steering(
    emphasize: Sequence[str] | None, without: Sequence[str] | None, rater: str | None = None
) -> Steering | None:
    """Steering from `--emphasize`, `--without` (13) and `--rater` (16); None if none is given. Imports torch.

    Raises:
        typer.BadParameter: as of `check_steering`.
    """
    from vrm.inference.steering import Steering

    if not emphasize and not without and rater is None:
        return None
    return Steering(check_steering(emphasize, without), tuple(dict.fromkeys(without or [])), rater)


def load_engine(
    model: str,
    *,
    device: str,
    precision: str = Precision.FLOAT32,
    on_overlong: str = OnOverlong.TRUNCATE,
    steering: Steering | None = None,
    cache: str | None = NO_CACHE,
    token_budget: int = 8192,
    on_bad_rows: str = OnBadRows.ERROR,
) -> RewardEngine:
    """The engine for a MODEL argument; libraries are kept quiet. Imports torch and transformers.

    `cache` is a directory, by None the shared one.

    Raises:
        CheckpointError: if it is no reward model.
        ConfigError: for steering that it cannot follow, or a device that is not there.
    """
    from vrm.cli.console import LOADING_LOG_SECONDS, Meter, note, quiet_libraries

    check_model(model)
    with Meter("loading", LOADING_LOG_SECONDS) as meter:
        quiet_libraries()
        from vrm.inference.devices import resolve_device
        from vrm.inference.engine import RewardEngine
        from vrm.inference.extraction import ExtractionOptions

        meter.update(model)
        options = ExtractionOptions(precision, token_budget).with_cache(cache)
        notice = options.notice
        engine = RewardEngine.from_pretrained(
            model,
            device=resolve_device(device),
            options=options,
            on_overlong=on_overlong,
            steering=steering,
            on_bad_rows=on_bad_rows,
        )
    if notice:
        note(notice)
    return engine


def short_name(model: str) -> str:
    """A Hub name as it is, and of a path the end alone: `run/model`, without where it lies on this machine."""
    path = Path(model)
    return "/".join(part.strip("/") for part in path.resolve().parts[-2:]) if path.exists() else model
