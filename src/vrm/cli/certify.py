"""`vrm certify`: how often at most the head of a run can be wrong on new prompts."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vrm.choices import NO_CACHE, LossName, Tuning
from vrm.cli import options
from vrm.cli.checks import check_directory_name, check_sources
from vrm.cli.console import (
    LOADING_LOG_SECONDS,
    Meter,
    check_results_have_a_place,
    note,
    quiet_libraries,
    results,
    write_json,
)

if TYPE_CHECKING:
    from vrm.config import RunConfig
    from vrm.data.schema import Judgment
    from vrm.inference.engine import RewardEngine
    from vrm.results import CertificateDocument
    from vrm.train.setup import RunData

BASELINE = "bt"
"""The head whose certificate stands beside that of the run's."""

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run, as `vrm train` writes it.")]
DeltaOption = Annotated[float, typer.Option("--delta", help="Probability in (0, 1) that a bound fails.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of the halves; the heads have the run's own.")]


def certify(
    run: RunArgument,
    json_file: options.JsonFileOption = None,
    overwrite: options.OverwriteOption = False,
    delta: DeltaOption = 0.05,
    seed: SeedOption = 0,
    threads: options.ThreadsOption = None,
) -> None:
    """Bound how often the head of a run can be wrong on new prompts, beside the head bt and a plain test set.

    Splits the run's training prompts in halves and trains its head and bt anew on the first, as the run was trained.
    On the second it fits a Gaussian over the decoder A and computes a PAC-Bayes bound. Nothing is written into RUN but
    cached features.
    """
    if not 0.0 < delta < 1.0:
        raise typer.BadParameter(f"{delta:g} is not between 0 and 1", param_hint="--delta")
    check_results_have_a_place(json_file, overwrite)
    from vrm.train.output import run_config

    config = run_config(run)
    check_sources(source.path for source in (*config.data.train, *config.data.eval))
    check_directory_name(config.model.backbone, "model.backbone")
    with Meter("loading libraries", LOADING_LOG_SECONDS):
        quiet_libraries()
        from vrm.certify import print_certificate
        from vrm.train.setup import load_data

    data, held_out = _halves(load_data(config.data, config.seed), seed)
    document = _certified(run, config, data, held_out, delta, seed)
    if json_file is not None:
        write_json(json_file, document)
    if str(json_file) != "-":
        print_certificate(results(), document)


def _halves(data: RunData, seed: int) -> tuple[RunData, list[Judgment]]:
    """What the heads are fitted to, and the rows of the bound; nothing of the first shares a prompt with the second."""
    from vrm.data.splits import halves_by_prompt, prompt_key
    from vrm.results.formats import plural

    first, second = halves_by_prompt(data.train, seed)
    keys = {prompt_key(row) for row in second}
    checkpoint = [row for row in data.eval if prompt_key(row) not in keys]
    report = f"first half: {plural(len(first), 'row')} to fit, {plural(len(checkpoint), 'row')} choose the checkpoint"
    once = list({id(row): row for row in second}.values())  # a weight of a source repeats its rows
    return replace(data, train=first, eval=checkpoint, report=report, source_rows={}), once


def _certified(
    run: Path, config: RunConfig, data: RunData, held_out: list[Judgment], delta: float, seed: int
) -> CertificateDocument:
    """Fit each head, one after the other, and bound its error."""
    from vrm.certify import certify_head
    from vrm.core.certificate import PRIOR_SCALES
    from vrm.results import CertificateDocument, CertifiedRows
    from vrm.results.base import versions

    certificates, prompts, pairs = [], 0, 0
    for head in dict.fromkeys((config.model.head, BASELINE)):
        note(f"head {head}")
        with tempfile.TemporaryDirectory(prefix="vrm-certify-") as folder:
            engine = _refitted(_refit_config(config, head, run, Path(folder)), data)
            with Meter(f"head {head},") as meter:
                bounds, judged = certify_head(engine, held_out, delta, meter.update)
        certificates += bounds
        prompts, pairs = len(judged.prompts.unique()), len(judged.prompts)
    return CertificateDocument(
        run=str(run),
        delta=delta,
        seed=seed,
        rows=CertifiedRows(len(data.train), len(data.eval), prompts, pairs),
        heads=tuple(certificates),
        settings={"prior_scales": list(PRIOR_SCALES), "run_seed": config.seed},
        versions=versions(),
    )


def _refit_config(config: RunConfig, head: str, run: Path, folder: Path) -> RunConfig:
    """The run's configuration with another head and place, but its own features."""
    kept = run / "features"
    cache = config.features.cache
    if cache == NO_CACHE or (cache is None and kept.exists()):
        cache = str(kept)
    loss = config.loss
    if head == BASELINE and loss.name == LossName.STAGED:
        # It has no spread for a second stage to find, and (7) is the first.
        loss = loss.model_copy(update={"name": LossName.VARIATIONAL})
    return config.model_copy(
        update={
            "output_dir": str(folder / "run"),
            "model": config.model.model_copy(update={"head": head}),
            "loss": loss,
            "train": config.train.model_copy(update={"report_to": []}),
            "features": config.features.model_copy(update={"cache": cache}),
        }
    )


def _refitted(config: RunConfig, data: RunData) -> RewardEngine:
    """The engine of a head that was trained on the first half."""
    from vrm.inference.devices import resolve_device
    from vrm.inference.engine import RewardEngine
    from vrm.inference.extraction import ExtractionOptions
    from vrm.train.run import run_training

    result = run_training(config, data=data)
    extraction = ExtractionOptions(config.train.precision, config.features.token_budget)
    # Nobody will ask for the features of a backbone that was tuned on half of the prompts again.
    cache = config.features.cache if config.model.tuning == Tuning.FROZEN else NO_CACHE
    return RewardEngine.from_pretrained(
        result.model_dir,
        device=resolve_device("auto"),
        options=extraction.with_cache(cache),
        on_overlong=config.data.on_overlong,
        on_bad_rows=config.data.on_bad_rows,
    )
