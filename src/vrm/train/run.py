"""One training run from a configuration: read, tokenize, train, keep the best, save the model and what it cost."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, PreTrainedTokenizerBase, PrinterCallback, ProgressCallback

from vrm.choices import LossName, Tuning
from vrm.config import RunConfig
from vrm.core.losses import LossWeights
from vrm.data.row_tables import RowTable
from vrm.data.shared_cache import ROWS
from vrm.files import new_folder, write_text
from vrm.labels import multipliers
from vrm.model.checkpoint import save_model
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.results import to_text
from vrm.results.base import versions
from vrm.results.formats import FEW_PROMPTS, scale_rows
from vrm.results.header import overlong_counts
from vrm.results.run import RowCounts, RunDocument, SecondStage
from vrm.train.adapters import check_adapters, with_adapters
from vrm.train.arguments import training_arguments
from vrm.train.callbacks import HistoryWriter, ProgressBar, say_kept
from vrm.train.checkpoints import BestOfThisFolder, whole_checkpoint
from vrm.train.closed_form import check_closed_form, fit_in_closed_form
from vrm.train.compilation import compile_backbone, compiles
from vrm.train.familiarity import keep_familiar_texts
from vrm.train.inputs import compare_inputs, run_inputs
from vrm.train.loss import DEFAULT_SAMPLES, TrainingLoss
from vrm.train.output import (
    HISTORY,
    MODEL,
    SUMMARY,
    alone,
    begin_output,
    check_output,
    finished_run,
)
from vrm.train.parallel import parallel_of
from vrm.train.passes import FeatureDataset
from vrm.train.prepare import PreparedRows, prepare_rows, say_unused
from vrm.train.processes import among_others, is_main_process, say, training_device
from vrm.train.reading import Reader
from vrm.train.second_stage import (
    add_second_stage,
    check_held_out,
    check_stages,
    describe_second_stage,
)
from vrm.train.setup import RunData, build_model, check_backbone, load_data
from vrm.train.trainer import VRMTrainer


@dataclass(frozen=True)
class TrainResult:
    """What a run left behind.

    Attributes:
        model_dir: directory of the trained model.
        metrics: metrics of the best checkpoint on the rows that chose it; empty without such rows.
        summary: what `run.json` holds.
    """

    model_dir: Path
    metrics: dict[str, float]
    summary: RunDocument


def run_training(
    config: RunConfig, resume: bool = False, data: RunData | None = None, overwrite: bool = False
) -> TrainResult:
    """Train as configured; writes `<output_dir>/model`, `run.json`, `history.jsonl` and checkpoints.

    Args:
        config: the run.
        resume: go on from the last whole checkpoint in `output_dir`; the weights are those of an uninterrupted run.
            Nothing is done where the run is finished.
        data: rows to use in place of those that `config.data` names (built-in corpora).
        overwrite: replace a run that is in `output_dir`, finished or not.

    Raises:
        ConfigError, DataError: before anything is trained; ConfigError too where `output_dir` holds another run,
            another process trains into it, or its inputs are not those that the run to be resumed was started with.
        NumericsError: if the loss is not finite; the batch is saved.
        LostProcessError: another process of the run has ended.
        OutputError: if the disk is full, say.

    Example:
        >>> from vrm import load_config, run_training
        >>> result = run_training(load_config("run.yaml", ["output_dir=runs/new"]))
        >>> result.model_dir.as_posix()
        'runs/new/model'
    """
    output = Path(config.output_dir)
    with alone(output) if is_main_process() else nullcontext():
        check_output(output, resume, overwrite)
        return _run(config, output, resume, data)


def _run(config: RunConfig, output: Path, resume: bool, data: RunData | None) -> TrainResult:
    started = time.perf_counter()
    summary = finished_run(config) if resume else None
    if summary is not None:
        say(f"the run in {output} is finished: nothing is left to do")
        return TrainResult(output / MODEL, summary.metrics, summary)
    checkpoint = _starting_point(config, resume)
    check_adapters(config.model)
    data = _rows(config, data)
    model, tokenizer = build_model(config, data)
    backbone_sha256 = _begin(config, data, model, tokenizer, resume)
    trained, prepared, compiled = _prepared(config, data, model, tokenizer, resume, backbone_sha256)
    trainer = _trainer(config, trained, prepared)
    judgments = trainer.args.train_batch_size * trainer.args.world_size * trainer.args.gradient_accumulation_steps
    if config.train.batch_size is None and not model.score.fits_in_closed_form:
        say(f"a step takes {judgments:,} judgments (train.batch_size)")
    train_seconds = _train(trainer, checkpoint, model, prepared)
    say_kept(trainer.args, trainer.state)
    metrics = trainer.evaluate() if prepared.eval is not None else {}
    metrics = {name.removeprefix("eval_"): value for name, value in metrics.items()}
    final = trainer.accelerator.unwrap_model(trained)
    final = trainer.parallel.merged(final) if config.model.tuning == Tuning.LORA else final
    stage = _second_stage(config, final, trainer, prepared)
    _keep_of_rows(final, trainer, prepared)
    summary = _summary(config, final, prepared, metrics)
    seconds = {"train": train_seconds, "total": time.perf_counter() - started}
    summary = replace(
        summary,
        source_rows=data.source_rows,
        batch_size=judgments,
        compiled=compiled,
        second_stage=stage,
        seconds=seconds,
    )
    whole = trainer.parallel.whole(final)
    if trainer.is_world_process_zero():
        with new_folder(output / MODEL) as folder:
            save_model(whole, tokenizer, folder)
        write_text(output / SUMMARY, to_text(summary))
    return TrainResult(output / MODEL, metrics, summary)


def _rows(config: RunConfig, data: RunData | None) -> RunData:
    """The rows of the run, read unless they are given."""
    data = data or load_data(config.data, config.seed)
    say(data.report)
    if isinstance(data.train, RowTable):
        say(f"rows and tokens are kept in {ROWS.directory()}, where later runs find them (data.storage)")
    check_held_out(config, data)
    return data


def _starting_point(config: RunConfig, resume: bool) -> Path | None:
    """The checkpoint to go on from; None for a new run."""
    check_closed_form(config.model)
    check_stages(config)
    check_backbone(config.model)
    parallel_of(config)
    if not resume:
        return None
    checkpoint, note = whole_checkpoint(Path(config.output_dir))
    if note:
        say(note)
    return checkpoint


def _begin(
    config: RunConfig,
    data: RunData,
    model: VRMForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    resume: bool,
) -> str | None:
    """Begin the output, or compare it with what is to be gone on with; the backbone's hash, where that tells it."""
    if not is_main_process():
        return None
    inputs = run_inputs(config, data, model, tokenizer)
    if resume:
        compare_inputs(Path(config.output_dir), inputs)
    else:
        begin_output(config, inputs)
    backbone: str | None = inputs["backbone"]
    return backbone


def _prepared(
    config: RunConfig,
    data: RunData,
    model: VRMForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    resume: bool,
    backbone_sha256: str | None,
) -> tuple[Any, PreparedRows, bool]:
    """The model as it is trained, its rows, and whether its backbone is compiled."""
    parameters = model.backbone.num_parameters(exclude_embeddings=True)
    compiled, notice = compiles(config, len(data.train), parameters, training_device().type)
    prepared = prepare_rows(config, data, model, tokenizer, resume, backbone_sha256)
    say("\n".join([f"training and evaluation rows: {prepared.overlong.render()}", *prepared.overlong.warnings()]))
    say_unused(model.config, data)
    trainable: Any = with_adapters(model, config.model.lora) if config.model.tuning == Tuning.LORA else model
    if config.model.gradient_checkpointing:
        # Newer versions of transformers have another name for it, and warn of the older one.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable()
    if compiled:
        problem = compile_backbone(model.backbone, config.model.compile)
        compiled, notice = problem is None, problem or notice
    if notice:
        say(notice)
    return trainable, prepared, compiled


def _train(
    trainer: VRMTrainer, checkpoint: Path | None, model: VRMForSequenceClassification, data: PreparedRows
) -> float:
    """Train from the start or a checkpoint, or fit in closed form; how many seconds that took."""
    started = time.perf_counter()
    if model.score.fits_in_closed_form:
        assert isinstance(data.train, FeatureDataset)
        fitted = fit_in_closed_form(model.score, data.train, trainer.training_loss.weights, trainer.args.seed)
        say(fitted.render())
        trainer.log({"log_evidence": fitted.log_evidence})
        HistoryWriter(Path(trainer.args.output_dir) / HISTORY).write(trainer.state)
        return time.perf_counter() - started
    try:
        with among_others():
            trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    finally:
        trainer.pop_callback(ProgressBar).close()
    return time.perf_counter() - started


def _trainer(config: RunConfig, model: Any, data: PreparedRows) -> VRMTrainer:
    loss = config.loss
    training_loss = TrainingLoss(
        loss.name,
        LossWeights(multipliers(loss), loss.beta_weights, loss.beta_features),
        loss.num_samples or DEFAULT_SAMPLES[loss.name],
        loss.num_nodes,
        loss.kl_warmup,
    )
    callbacks = [ProgressBar(), HistoryWriter(Path(config.output_dir) / HISTORY), BestOfThisFolder()]
    if config.train.early_stopping and data.eval is not None:
        callbacks.append(EarlyStoppingCallback(config.train.early_stopping))
    trainer = VRMTrainer(
        model=model,
        args=training_arguments(config, len(data.train), _best_by(data.eval)),
        train_dataset=data.train,
        eval_dataset=data.eval,
        data_collator=data.collator,
        callbacks=callbacks,
        loss=training_loss,
        save_backbone=config.model.tuning != Tuning.FROZEN,
        head_learning_rate=config.train.learning_rate,
        rater_metrics=data.nuisance is not None,
        parallel=parallel_of(config),
    )
    # Their progress goes to stdout, which belongs to results.
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    return trainer


def _best_by(evaluation: Any) -> str | None:
    """What chooses the checkpoint: NLL of comparisons, or the loss where the rows have none."""
    if evaluation is None:
        return None
    return "nll" if any(item.judgment.is_comparison for item in evaluation.items) else "loss"


def _second_stage(
    config: RunConfig, model: VRMForSequenceClassification, trainer: VRMTrainer, data: PreparedRows
) -> SecondStage | None:
    """Add to the trained means what held-out pairs ask for (19); None for runs of one stage."""
    if config.loss.name != LossName.STAGED:
        return None
    found = add_second_stage(Reader(model, trainer, data), config.seed)
    say(describe_second_stage(found))
    return found


def _keep_of_rows(model: VRMForSequenceClassification, trainer: VRMTrainer, data: PreparedRows) -> None:
    """What a model keeps of its rows: the scale of its rewards, and what its training texts are like."""
    reader = Reader(model, trainer, data)
    _store_reward_scale(reader)
    keep_familiar_texts(reader)


def _store_reward_scale(reader: Reader) -> None:
    """Mean and spread of the rewards of held-out completions (of training ones if there are none)."""
    model, data = reader.model, reader.data
    rows = data.eval if data.eval is not None else data.train
    values = torch.cat([read.rewards[read.inputs["mask"]].float().cpu() for read in reader.passes(rows)])
    kind, count = scale_rows(len(data.train), 0 if data.eval is None else len(data.eval))
    if count < FEW_PROMPTS:
        say(f"the scale of standardized rewards comes from only {count} {kind}: it is rough")
    if len(values) > 1:
        model.config.reward_mean = float(values.mean())
        model.config.reward_std = max(float(values.std()), 1e-6)


def _summary(
    config: RunConfig, model: VRMForSequenceClassification, data: PreparedRows, metrics: dict[str, float]
) -> RunDocument:
    return RunDocument(
        config=config.model_dump(),
        rows=RowCounts(len(data.train), 0 if data.eval is None else len(data.eval)),
        overlong=overlong_counts(data.overlong),
        objectives=tuple(model.config.objective_names),
        parameters={
            "head": sum(parameter.numel() for parameter in model.score.parameters()),
            "backbone": sum(parameter.numel() for parameter in model.backbone.parameters()),
        },
        nuisance=None if data.nuisance is None else data.nuisance.to_dict(),
        metrics=metrics,
        versions=versions(),
    )
