"""Arguments of `transformers.Trainer` for a run."""

from __future__ import annotations

import os

import torch
from transformers import TrainingArguments

from vrm.choices import Tuning
from vrm.config import RunConfig, TrainConfig
from vrm.errors import ConfigError
from vrm.inference.extraction import resolve_precision
from vrm.train.parallel import parallel_of
from vrm.train.processes import say, training_device

SMALLEST, LARGEST, STEPS_AN_EPOCH = 16, 256, 10
"""Of a batch whose size is not given (decision 0028)."""


def batch_size(train: TrainConfig, num_rows: int, processes: int) -> int:
    """Judgments a step, over all processes and accumulation steps.

    Where the configuration leaves it open, it is the largest power of two from 16 to 256 with ten steps an epoch, less
    what cannot be divided over processes and accumulation steps (decision 0028).

    Args:
        train: of the configuration.
        num_rows: training rows, at least 1.
        processes: of the run, at least 1.

    Raises:
        ConfigError: a given size is no multiple of processes times accumulation steps.
    """
    shares = processes * train.gradient_accumulation
    if train.batch_size is None:
        share = max(num_rows // STEPS_AN_EPOCH, 1)
        wanted = min(max(2 ** (share.bit_length() - 1), SMALLEST), LARGEST)
        return max(wanted // shares, 1) * shares
    if train.batch_size % shares:
        raise ConfigError(
            f"train.batch_size ({train.batch_size}) must be a multiple of processes ({processes}) times "
            f"gradient_accumulation ({train.gradient_accumulation})"
        )
    return train.batch_size


def training_arguments(config: RunConfig, num_rows: int, best_by: str | None) -> TrainingArguments:
    """Arguments of `transformers.Trainer` for a configuration; the batch size is over all processes.

    Args:
        config: the run.
        num_rows: training rows.
        best_by: metric, lower is better, that chooses the checkpoint; None without evaluation rows.

    Raises:
        ConfigError: for a batch size that cannot be divided over processes and accumulation steps.
    """
    has_eval = best_by is not None
    train = config.train
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    batch = batch_size(train, num_rows, processes)
    per_device = batch // (processes * train.gradient_accumulation)
    steps = max(1, int(num_rows / batch * train.epochs))
    every = max(1, steps // train.evals)
    device = training_device()
    low_precision = (
        config.model.tuning != Tuning.FROZEN and resolve_precision(train.precision, device) == torch.bfloat16
    )
    arguments = TrainingArguments(
        output_dir=config.output_dir,
        num_train_epochs=train.epochs,
        per_device_train_batch_size=per_device,
        per_device_eval_batch_size=per_device,
        gradient_accumulation_steps=train.gradient_accumulation,
        learning_rate=train.backbone_learning_rate,
        weight_decay=train.weight_decay,
        lr_scheduler_type=train.lr_scheduler,
        warmup_steps=int(steps * train.warmup),
        max_grad_norm=train.max_grad_norm,
        logging_steps=train.logging_steps,
        eval_strategy="steps" if has_eval else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=has_eval,
        metric_for_best_model=best_by,
        greater_is_better=False if has_eval else None,
        report_to=train.report_to or "none",
        seed=config.seed,
        bf16=low_precision,
        # Patience of early stopping is a part of the state: without it a resumed run would stop later.
        restore_callback_states_from_checkpoint=True,
        remove_unused_columns=False,
        use_cpu=device.type == "cpu",
        ddp_backend="gloo" if processes > 1 and device.type == "cpu" else None,
        disable_tqdm=True,
        **parallel_of(config).arguments(),
    )
    return on_one_device(arguments)


def on_one_device(arguments: TrainingArguments) -> TrainingArguments:
    """Keep `Trainer` from spreading a process over all GPUs by `DataParallel`, which cuts packed rows apart."""
    if arguments.n_gpu > 1:
        count = arguments.n_gpu
        say(f"one of {count} GPUs is used; start with `torchrun --nproc_per_node={count}` for all")
        arguments._n_gpu = 1
    return arguments
