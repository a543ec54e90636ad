"""One training run from a configuration: read, tokenize, train, keep the best, save the model and what it cost."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, PrinterCallback, ProgressCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

from vrm.choices import Tuning
from vrm.config import RunConfig, with_new_keys
from vrm.core.losses import LossWeights
from vrm.errors import ConfigError
from vrm.files import new_folder, write_text
from vrm.labels import multipliers
from vrm.model.checkpoint import save_model
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.results import to_text
from vrm.results.base import versions
from vrm.results.header import overlong_counts
from vrm.results.run import RowCounts, RunDocument
from vrm.train.arguments import training_arguments
from vrm.train.callbacks import HistoryWriter, ProgressBar
from vrm.train.compilation import compile_backbone, compiles
from vrm.train.loss import DEFAULT_SAMPLES, TrainingLoss
from vrm.train.passes import flat, passes_of
from vrm.train.prepare import PreparedRows, prepare_rows, say_unused
from vrm.train.processes import is_main_process, say, training_device
from vrm.train.setup import RunData, build_model, load_data, with_adapters
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


def run_training(config: RunConfig, resume: bool = False, data: RunData | None = None) -> TrainResult:
    """Train as configured; writes `<output_dir>/model`, `run.json`, `history.jsonl` and checkpoints.

    Args:
        config: the run.
        resume: go on from the last checkpoint in `output_dir`; the weights are those of an uninterrupted run.
        data: rows to use in place of those that `config.data` names (built-in corpora).

    Raises:
        ConfigError, DataError: before anything is trained.
        NumericsError: if the loss is not finite; the batch is saved.

    Example:
        >>> from vrm import load_config, run_training
        >>> result = run_training(load_config("run.yaml", ["output_dir=runs/new"]))
        >>> result.model_dir.as_posix()
        'runs/new/model'
    """
    started = time.perf_counter()
    output = Path(config.output_dir)
    _check_output(output, resume)
    _keep_configuration(config, resume)
    data = data or load_data(config.data, config.seed)
    say(data.report)
    model, tokenizer = build_model(config, data)
    parameters = model.backbone.num_parameters(exclude_embeddings=True)
    compiled, notice = compiles(config, len(data.train), parameters, training_device().type)
    prepared = prepare_rows(config, data, model, tokenizer, resume)
    say("\n".join([f"training and evaluation rows: {prepared.overlong.render()}", *prepared.overlong.warnings()]))
    say_unused(model.config, data)
    trainable: Any = with_adapters(model, config.model.lora) if config.model.tuning == Tuning.LORA else model
    if config.model.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if compiled:
        problem = compile_backbone(model.backbone, config.model.compile)
        compiled, notice = problem is None, problem or notice
    if notice:
        say(notice)
    trainer = _trainer(config, trainable, prepared)
    trained_from = time.perf_counter()
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(output)) if resume else None)
    train_seconds = time.perf_counter() - trained_from
    metrics = trainer.evaluate() if prepared.eval is not None else {}
    metrics = {name.removeprefix("eval_"): value for name, value in metrics.items()}
    final = trainer.accelerator.unwrap_model(trainable)
    final = final.merge_and_unload() if config.model.tuning == Tuning.LORA else final
    _store_reward_scale(final, trainer, prepared)
    summary = _summary(config, final, prepared, metrics)
    seconds = {"train": train_seconds, "total": time.perf_counter() - started}
    summary = replace(summary, compiled=compiled, seconds=seconds)
    if trainer.is_world_process_zero():
        with new_folder(output / "model") as folder:
            save_model(final, tokenizer, folder)
        write_text(output / "run.json", to_text(summary))
    return TrainResult(output / "model", metrics, summary)


def _check_output(output: Path, resume: bool) -> None:
    last = get_last_checkpoint(str(output)) if output.is_dir() else None
    if resume and last is None:
        raise ConfigError(f"--resume: there is no checkpoint in {output}")
    finished = output / "run.json"
    if not resume and last is not None and is_main_process():
        if not finished.exists():
            raise ConfigError(
                f"{output} holds an unfinished run: continue it with --resume, or choose another output_dir"
            )
        # A finished run is replaced; its checkpoints would be what --resume goes on from if this one is interrupted.
        finished.unlink()
        for checkpoint in output.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
            shutil.rmtree(checkpoint)
    output.mkdir(parents=True, exist_ok=True)


def _trainer(config: RunConfig, model: Any, data: PreparedRows) -> VRMTrainer:
    loss = config.loss
    training_loss = TrainingLoss(
        loss.name,
        LossWeights(multipliers(loss), loss.beta_weights, loss.beta_features),
        loss.num_samples or DEFAULT_SAMPLES[loss.name],
        loss.num_nodes,
        loss.kl_warmup,
    )
    callbacks = [ProgressBar(), HistoryWriter(Path(config.output_dir) / "history.jsonl")]
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


@torch.no_grad()
def _store_reward_scale(model: VRMForSequenceClassification, trainer: VRMTrainer, data: PreparedRows) -> None:
    """Mean and spread of the rewards of evaluation completions (of training ones if there are none)."""
    rows = data.eval if data.eval is not None else data.train
    rewards = []
    model.eval()
    # Not the trainer's own loader, which gives every process its share alone.
    for batch in DataLoader(rows, trainer.args.per_device_eval_batch_size, collate_fn=data.collator):
        for part in passes_of(batch):
            inputs = trainer._prepare_inputs(part)
            # In the precision of training and evaluation.
            with trainer.compute_loss_context_manager():
                rewards.append(model(**inputs).logits[inputs["mask"]].float().cpu())
    values = torch.cat(rewards)
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


FILE = "config.json"
FREE = ("output_dir", "train.logging_steps", "train.report_to", "features.cache", "features.token_budget")
"""Keys that may change between start and `--resume`: the weights do not depend on them."""


def _keep_configuration(config: RunConfig, resume: bool) -> None:
    """Write the configuration into `output_dir`, or on `--resume` compare it with the one written there.

    Raises:
        ConfigError: naming every key that is another than when the run was started.
    """
    path = Path(config.output_dir) / FILE
    now = json.loads(config.model_dump_json())
    if resume and path.exists():
        stored, _ = with_new_keys(json.loads(path.read_text(encoding="utf-8")))
        before, after = flat(stored), flat(now)
        changed = [key for key in {**before, **after} if key not in FREE and before.get(key) != after.get(key)]
        if changed:
            lines = "\n".join(f"  {key}: {after.get(key)!r} now, {before.get(key)!r} before" for key in changed)
            raise ConfigError(
                f"--resume: the run in {config.output_dir} was started with another configuration\n{lines}\n"
                "Give the same one, or choose another output_dir"
            )
    elif is_main_process():
        write_text(path, json.dumps(now, indent=2) + "\n")
