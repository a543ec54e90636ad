"""`vrm audit`: edits that must not pay, and how the reward goes with length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vrm.choices import OnBadRows, OnOverlong, Precision
from vrm.cli import options
from vrm.cli.checks import check_arguments
from vrm.cli.console import Meter, check_results_have_a_place, results, warn_of_rows, write_json

if TYPE_CHECKING:
    from vrm.audit import AuditReport, Edit
    from vrm.results import AuditDocument


def _list_edits(wanted: bool) -> None:
    if wanted:
        from vrm.audit import print_edits

        print_edits(results())
        raise typer.Exit


_Edit = Annotated[list[str] | None, typer.Option("--edit", metavar="NAME", help="Try this edit only; may be repeated.")]
_ListEdits = Annotated[
    bool, typer.Option("--list-edits", callback=_list_edits, is_eager=True, help="Print the edits and exit.")
]
_Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Read the first N rows only.")]


def audit(
    model: options.ModelArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Judgments in the row schema, any format.")],
    json_file: options.JsonFileOption = None,
    overwrite: options.OverwriteOption = False,
    edit: _Edit = None,
    list_edits: _ListEdits = False,
    limit: _Limit = None,
    recipe: options.RecipeOption = None,
    column: options.ColumnOption = None,
    emphasize: options.EmphasizeOption = None,
    without: options.WithoutOption = None,
    kappa: Annotated[
        float, typer.Option("--kappa", min=0.0, help="Audit the pessimistic reward E[r] - kappa sqrt(Var[r]).")
    ] = 0.0,
    risk: options.RiskOption = None,
    beta: options.BetaOption = None,
    on_bad_rows: options.BadRowsOption = OnBadRows.ERROR,
    on_overlong: options.OverlongOption = OnOverlong.TRUNCATE,
    precision: options.PrecisionOption = Precision.FLOAT32,
    cache: options.CacheOption = None,
    resamples: options.ResamplesOption = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Of the edits and of the bootstrap.")] = 0,
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
) -> None:
    """Try edits of completions that should not pay, and see whether the reward falls for them.

    Padding, repetition, headings, bold, bullets, flattery, confidence, emoji and 'as an expert' must not raise a
    reward; shuffled sentences, a missing middle and a completion for another prompt must lower it. Prints what each
    does, the worst first, and the correlation of rewards and labels with length.
    """
    check_results_have_a_place(json_file, overwrite)
    check_arguments(model, sources=[file], device=device)
    options.check_steering(emphasize, without, model)
    from vrm.inference.reward_choice import RewardChoice

    RewardChoice(kappa=kappa or None, risk=risk, beta=beta)  # wrong ones are found before the model is loaded
    rows, edits = options.RowOptions(recipe, options.columns(column), on_bad_rows), _edits(edit)
    loaded = rows.load(file, limit)
    settings: dict[str, Any] = {"device": device, "precision": precision, "on_overlong": on_overlong}
    steering = options.steering(emphasize, without)
    engine = options.load_engine(model, **settings, steering=steering, cache=cache, on_bad_rows=on_bad_rows)
    from vrm.audit import print_audit

    report = _audited(engine, loaded.judgments, edits, kappa=kappa, beta=beta, resamples=resamples, seed=seed)
    warn_of_rows(file, engine.report)
    if json_file is not None:
        settings |= {"steering": {"emphasis": emphasize, "without": without}, "recipe": recipe, "limit": limit}
        settings["columns"] = rows.columns
        write_json(json_file, _document(model, file, engine, settings, loaded.report, report))
    if str(json_file) != "-":
        print_audit(results(), report, file)


def _audited(engine: Any, judgments: Any, edits: Any, *, resamples: int, seed: int, **reward: Any) -> AuditReport:
    from vrm.audit import audit as audit_model
    from vrm.metrics import ResampleOptions

    options = ResampleOptions(resamples=resamples, seed=seed)
    with Meter("auditing") as meter:

        def show(done: int, total: int) -> None:
            meter.update(f"{done} of {total} rows")

        return audit_model(engine, judgments, edits, **reward, options=options, seed=seed, progress=show)


def _edits(names: list[str] | None) -> dict[str, Edit]:
    from vrm.audit import select_edits
    from vrm.errors import ConfigError

    try:
        return select_edits(names)
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--edit") from None


def _document(model: str, file: str, engine: Any, settings: dict[str, Any], data: Any, report: Any) -> AuditDocument:
    from vrm.metrics import field_values
    from vrm.results import AuditDocument
    from vrm.results.header import model_header

    header = model_header(model, engine, settings)
    return AuditDocument(**header, file=file, data=data.to_dict(), **field_values(report))
