"""`vrm train`: a run from a YAML file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from vrm.cli import options
from vrm.cli.checks import check_directory_name, check_sources
from vrm.cli.console import LOADING_LOG_SECONDS, Meter, note, print_json, quiet_libraries, results
from vrm.config import load_config


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
    from vrm.train.output import check_output

    check_output(Path(run_config.output_dir), resume, overwrite)
    with Meter("loading libraries", LOADING_LOG_SECONDS):
        quiet_libraries()
        from vrm.metrics import json_ready
        from vrm.results import to_text
        from vrm.results.formats import few_words, held_out_accuracy
        from vrm.train.processes import is_main_process
        from vrm.train.run import run_training

    result = run_training(run_config, resume=resume, overwrite=overwrite)
    if not is_main_process():
        return
    if as_json:
        print_json(to_text({"model": str(result.model_dir), **json_ready(result.summary)}))
        return
    console = results()
    for name in ("accuracy", "nll", "calibration_error", "kl_to_prior", "active_units"):
        if name in result.metrics:
            value = held_out_accuracy(result.metrics) if name == "accuracy" else f"{result.metrics[name]:.4g}"
            console.print(f"{name:<18} {value}", markup=False)
    few = few_words(int(result.metrics["pairs"]), "held-out pair") if "pairs" in result.metrics else ""
    if few:
        note(few)
    seconds = result.summary.seconds
    note(f"trained in {seconds['train']:.0f} s, {seconds['total']:.0f} s in all")
    console.print(f"{'model':<18} {result.model_dir}", soft_wrap=True)
