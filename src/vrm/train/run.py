"""One training run from a configuration: read, tokenize, train, keep the best, save the model and what it cost."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import (
    EarlyStoppingCallback,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

from vrm.config import RunConfig
from vrm.core.losses import LossWeights
from vrm.data.chat import ChatTokenizer
from vrm.data.collate import TargetEncoder
from vrm.data.schema import Judgment
from vrm.data.tokenized import JudgmentTokenizer, OverlongReport, TokenizedJudgment
from vrm.errors import ConfigError
from vrm.inference.extraction import ExtractionOptions, FeatureExtractor
from vrm.inference.targets import target_encoder
from vrm.labels import multipliers
from vrm.model.checkpoint import save_model
from vrm.model.configuration_vrm import VRMConfig
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.results.versions import versions
from vrm.train.adapters import with_adapters
from vrm.train.arguments import training_arguments, training_device
from vrm.train.callbacks import HistoryWriter, ProgressBar
from vrm.train.compilation import compile_backbone, compiles
from vrm.train.datasets import FeatureDataset, TokenizedDataset, collate_features
from vrm.train.nuisance import NuisanceFit, offset_of_run
from vrm.train.objective import DEFAULT_SAMPLES, Objective
from vrm.train.passes import PassCollator, passes_of
from vrm.train.same_run import keep_configuration
from vrm.train.setup import RunData, build_model, load_data
from vrm.train.trainer import VRMTrainer

INPUT_SAMPLE = 20_000
"""Judgments whose frozen features set the head's input standardization."""


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
    summary: dict[str, Any]


@dataclass(frozen=True)
class _Data:
    train: Any
    eval: Any
    collator: Any
    overlong: OverlongReport
    nuisance: NuisanceFit | None = None


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
    keep_configuration(config, resume)
    data = data or load_data(config.data, config.seed)
    _say(data.report)
    model, tokenizer = build_model(config, data)
    parameters = model.backbone.num_parameters(exclude_embeddings=True)
    compiled, told = compiles(config, len(data.train), parameters, training_device().type)
    prepared = _prepare(config, data, model, tokenizer, resume)
    _say(f"training and evaluation rows: {prepared.overlong.render()}")
    _say_unused(model.config, data)
    trainable: Any = with_adapters(model, config.model.lora) if config.model.tuning == "lora" else model
    if config.model.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if compiled:
        problem = compile_backbone(model.backbone, config.model.compile)
        compiled, told = problem is None, problem or told
    if told:
        _say(told)
    trainer = _trainer(config, trainable, prepared)
    trained_from = time.perf_counter()
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(output)) if resume else None)
    train_seconds = time.perf_counter() - trained_from
    metrics = trainer.evaluate() if prepared.eval is not None else {}
    metrics = {name.removeprefix("eval_"): value for name, value in metrics.items()}
    final = trainer.accelerator.unwrap_model(trainable)
    final = final.merge_and_unload() if config.model.tuning == "lora" else final
    _store_reward_scale(final, trainer, prepared)
    summary = _summary(config, final, prepared, metrics)
    summary["compiled"] = compiled
    summary["seconds"] = {"train": train_seconds, "total": time.perf_counter() - started}
    if trainer.is_world_process_zero():
        save_model(final, tokenizer, output / "model")
        (output / "run.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return TrainResult(output / "model", metrics, summary)


def _check_output(output: Path, resume: bool) -> None:
    last = get_last_checkpoint(str(output)) if output.is_dir() else None
    if resume and last is None:
        raise ConfigError(f"--resume: there is no checkpoint in {output}")
    finished = output / "run.json"
    if not resume and last is not None and _is_main():
        if not finished.exists():
            raise ConfigError(
                f"{output} holds an unfinished run: continue it with --resume, or choose another output_dir"
            )
        # A finished run is replaced; its checkpoints would be what --resume goes on from if this one is interrupted.
        finished.unlink()
        for checkpoint in output.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
            shutil.rmtree(checkpoint)
    output.mkdir(parents=True, exist_ok=True)


def _prepare(
    config: RunConfig,
    data: RunData,
    model: VRMForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    resume: bool = False,
) -> _Data:
    chat = ChatTokenizer(tokenizer)
    report = OverlongReport(model.config.max_input_tokens)
    tokenize = JudgmentTokenizer(chat, model.config.max_input_tokens, config.data.on_overlong, report)
    train = list(tokenize.many(_with_progress(data.train, "tokenize")))
    evaluation = list(tokenize.many(data.eval))
    train, evaluation = (_usable(rows, model.config) for rows in (train, evaluation))
    if not train:
        raise ConfigError(f"no training rows remain that head '{model.config.head}' can learn from: {report.render()}")
    pad = int(tokenizer.pad_token_id or 0)
    options = ExtractionOptions(
        config.train.precision, config.features.token_budget, config.features.cache or f"{config.output_dir}/features"
    )
    if config.model.tuning != "frozen":
        fit = offset_of_run(config, train, evaluation, lambda: _initial_extractor(model, pad, options), resume)
        targets = _targets(config, model.config, fit)
        collator = PassCollator.of(model, targets, pad, config.train.token_budget)
        held = TokenizedDataset(evaluation) if evaluation else None
        return _Data(TokenizedDataset(train), held, collator, report, fit)
    _to_training_device(model.backbone)
    extractor = FeatureExtractor(model, pad, options)
    table = _extract(extractor, train, "train features")
    held_table = _extract(extractor, evaluation, "eval features") if evaluation else None
    fit = offset_of_run(config, train, evaluation, lambda: extractor, resume)
    targets = _targets(config, model.config, fit)
    dataset = FeatureDataset(table, train, targets)
    held = FeatureDataset(held_table, evaluation, targets) if held_table is not None else None
    model.score.fit_inputs(*dataset.sample_features(INPUT_SAMPLE, config.seed))
    return _Data(dataset, held, collate_features, report, fit)


def _initial_extractor(model: VRMForSequenceClassification, pad: int, options: ExtractionOptions) -> FeatureExtractor:
    """Features of a backbone that is yet to be tuned, on the device it will be tuned on."""
    _to_training_device(model)
    return FeatureExtractor(model, pad, options)


def _to_training_device(module: torch.nn.Module) -> None:
    """Move a module to the GPU on which the trainer will put it; without one it stays where it is."""
    if torch.cuda.is_available():
        module.to(torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))))


def _targets(config: RunConfig, model: VRMConfig, fit: NuisanceFit | None) -> TargetEncoder:
    """Label encoder of a run; the model keeps the offset, so that rater metrics can be computed with it."""
    targets = target_encoder(model, config.data.votes_total)
    if fit is None:
        return targets
    _say(fit.render())
    model.nuisance = fit.rater.to_dict()
    return replace(targets, offset=fit.rater)


def _usable(rows: list[TokenizedJudgment], config: VRMConfig) -> list[TokenizedJudgment]:
    """Rows without completions teach only heads with objectives; other heads leave them out, as `_say_unused` tells."""
    return rows if config.models_objectives else [row for row in rows if len(row.completions) > 1]


def _say_unused(config: VRMConfig, data: RunData) -> None:
    if config.models_objectives:
        return
    votes_only = sum(1 for row in data.train if len(row.completions) < 2)
    labelled = sum(1 for row in data.train if row.objective_votes or any(row.ratings or []))
    if labelled:
        _say(
            f"head '{config.head}' has no objectives: ratings and votes of {labelled} rows are not used, "
            f"and {votes_only} of them, which have no completions, are left out"
        )


def _extract(extractor: FeatureExtractor, rows: list[TokenizedJudgment], label: str) -> Any:
    with tqdm(desc=label, unit="text", file=sys.stderr, disable=not _is_main()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return extractor.table(rows, progress)


def _trainer(config: RunConfig, model: Any, data: _Data) -> VRMTrainer:
    loss = config.loss
    objective = Objective(
        loss.name,
        LossWeights(multipliers(loss), loss.kl_weights, loss.kl_features),
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
        objective=objective,
        save_backbone=config.model.tuning != "frozen",
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
def _store_reward_scale(model: VRMForSequenceClassification, trainer: VRMTrainer, data: _Data) -> None:
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
    config: RunConfig, model: VRMForSequenceClassification, data: _Data, metrics: dict[str, float]
) -> dict[str, Any]:
    nuisance = {} if data.nuisance is None else {"nuisance": data.nuisance.to_dict()}
    return {
        "config": config.model_dump(),
        "rows": {"train": len(data.train), "eval": 0 if data.eval is None else len(data.eval)},
        "overlong": {name: value for name, value in asdict(data.overlong).items() if name != "examples"},
        "objectives": model.config.objective_names,
        "parameters": {
            "head": sum(parameter.numel() for parameter in model.score.parameters()),
            "backbone": sum(parameter.numel() for parameter in model.backbone.parameters()),
        },
        **nuisance,
        "metrics": metrics,
        "versions": versions(),
    }


def _with_progress(rows: list[Judgment], label: str) -> Any:
    return tqdm(rows, desc=label, unit="row", file=sys.stderr, disable=not _is_main() or len(rows) < 2000)


def _is_main() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _say(text: str) -> None:
    if _is_main():
        print(text, file=sys.stderr)
