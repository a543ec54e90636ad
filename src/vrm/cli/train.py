"""`vrm train`: a run from a YAML file."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vrm.cli import options
from vrm.cli.checks import check_directory_name, check_sources
from vrm.cli.console import LOADING_LOG_SECONDS, Meter, note, print_json, quiet_libraries, results
from vrm.config import load_config

if TYPE_CHECKING:
    from vrm.results.run import RunDocument


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Configuration of the run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Replace a key of the configuration; may be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of output_dir.")] = False,
    overwrite: options.OverwriteOption = False,
    as_json: options.JsonFlag = False,
    threads: options.ThreadsOption = None,
) -> None:
    """Train a reward model from a configuration file.

    Writes OUTPUT_DIR/model (weights, tokenizer, chat template), run.json, history.jsonl and checkpoints. A run that is
    there already is kept, unless --overwrite replaces it.
    """
    if resume and overwrite:
        raise typer.BadParameter("a run is continued or replaced, not both", param_hint="--resume")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run_config = load_config(config, overrides)
    for warning in caught:
        note(f"warning: {warning.message}")
    check_sources(source.path for source in (*run_config.data.train, *run_config.data.eval))
    check_directory_name(run_config.model.backbone, "model.backbone")
    from vrm.train.output import MODEL, check_output, finished_run

    output = Path(run_config.output_dir)
    check_output(output, resume, overwrite)
    finished = finished_run(run_config) if resume else None
    if finished is not None:
        if os.environ.get("RANK", "0") == "0":  # of several processes the first speaks
            note(f"the run in {output} is finished: nothing is left to do")
            _print(finished, output / MODEL, as_json)
        return
    with Meter("loading libraries", LOADING_LOG_SECONDS):
        quiet_libraries()
        from vrm.train.processes import is_main_process
        from vrm.train.run import run_training

    result = run_training(run_config, resume=resume, overwrite=overwrite)
    if not is_main_process():
        return
    _print(result.summary, result.model_dir, as_json)
    seconds = result.summary.seconds
    if not as_json:
        note(f"trained in {seconds['train']:.0f} s, {seconds['total']:.0f} s in all")


def _print(summary: RunDocument, model: Path, as_json: bool) -> None:
    """What came of a run, without the time that it took."""
    from vrm.metrics import json_ready
    from vrm.results import to_text
    from vrm.results.formats import few_words, held_out_accuracy, kept_words

    if as_json:
        print_json(to_text({"model": str(model), **json_ready(summary)}))
        return
    console, metrics = results(), summary.metrics
    for name in ("accuracy", "nll", "calibration_error", "kl_to_prior", "active_units"):
        if name in metrics:
            value = held_out_accuracy(metrics) if name == "accuracy" else f"{metrics[name]:.4g}"
            console.print(f"{name:<18} {value}", markup=False)
    few = few_words(int(metrics["pairs"]), "held-out pair") if "pairs" in metrics else ""
    if few:
        note(few)
    if summary.second_stage is not None:
        console.print(f"{'second_stage':<18} {kept_words(summary.second_stage)}", soft_wrap=True)
    console.print(f"{'model':<18} {model}", soft_wrap=True)
