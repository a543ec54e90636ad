"""One side of the training comparison: a trainer on given rows in a given order, its steps timed, its tokens counted.

Every side is a function of an importable module that returns a `Measurement`, so that it can run in a process alone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from studies.speed.inputs import Rows, reward_model
from studies.speed.measure import PeakMemory, synchronize
from studies.speed.routes import take_route
from studies.speed.tables import quiet
from torch import Tensor
from torch.utils.data import Sampler
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
)

from vrm.config import LoraSettings
from vrm.data.tokenized import TokenizedJudgment
from vrm.inference.targets import target_encoder
from vrm.model import VRMForSequenceClassification
from vrm.train.adapters import with_adapters
from vrm.train.compilation import compile_layers
from vrm.train.loss import TrainingLoss
from vrm.train.passes import JudgmentCollator, PassCollator, StepSampler, TokenizedDataset, passes_of, positions_of
from vrm.train.trainer import VRMTrainer


@dataclass(frozen=True)
class Setting:
    """What both sides have in common.

    Attributes:
        precision: `float32` or `bfloat16` (autocast over float32 weights).
        checkpointing: whether activations are computed anew for the backward pass.
        batch: pairs a step.
        warmup: steps that are not timed.
        limit: tokens of prompt and completion together.
        token_budget: of this package's passes; its default.
        device: `cpu` or `cuda`.
        backend: of `torch.compile`; without one nothing is compiled.
        adapters: train LoRA's matrices, of the rank and in the modules that `vrm train` has by default, and the head.
    """

    precision: str = "float32"
    checkpointing: bool = False
    batch: int = 8
    warmup: int = 3
    limit: int = 1024
    token_budget: int = 8192
    device: str = "cpu"
    backend: str | None = None
    adapters: bool = False

    def describe(self) -> str:
        """One line."""
        adapters = "LoRA, " if self.adapters else ""
        return f"{adapters}{self.precision}, gradient checkpointing {'on' if self.checkpointing else 'off'}"


@dataclass(frozen=True)
class Measurement:
    """The timed steps of a side.

    Attributes:
        seconds: of them all, data loading and optimizer included.
        processor: seconds that the process computed meanwhile, over all threads.
        pairs: pairs trained on.
        tokens: of those pairs, the prompt counted with each completion; the same for every side.
        positions: token positions that the backbone computed.
        padding: those of them that hold no token.
        peak_bytes: memory above what model and data took, warm-up included.
        shares: part of all rows' ids that equal this package's; 1 where both sides read the same.
    """

    seconds: float
    processor: float
    pairs: int
    tokens: int
    positions: int
    padding: int
    peak_bytes: int
    shares: float = 1.0

    @property
    def pairs_a_second(self) -> float:
        """Throughput."""
        return self.pairs / self.seconds


class Clock(TrainerCallback):
    """Times of step ends, and memory since training began."""

    def __init__(self, device: str) -> None:
        self.memory, self.device = PeakMemory(device), device
        self.ends, self.processor = list[float](), list[float]()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Model and data are in memory, gradients and optimizer states are not."""
        self.memory.start()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """The optimizer has stepped."""
        synchronize(self.device)
        self.ends.append(time.perf_counter())
        self.processor.append(time.process_time())


@dataclass
class CountingCollator:
    """A collator, and (positions, padding) of each batch it made."""

    collate: Callable[[Sequence[Any]], Mapping[str, Any]]
    counts: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, items: Sequence[Any]) -> Mapping[str, Any]:
        """Collate and count."""
        batch = self.collate(items)
        counts = [positions_of(part) for part in passes_of(batch)]
        self.counts.append((sum(positions for positions, _ in counts), sum(padding for _, padding in counts)))
        return batch


def measure(trainer: Any, rows: Rows, setting: Setting, shares: float = 1.0, accumulation: int = 1) -> Measurement:
    """Train one epoch and keep what came after the warm-up; `accumulation` is the number of batches of a step."""
    clock, counting = Clock(setting.device), CountingCollator(trainer.data_collator)
    trainer.add_callback(clock)
    trainer.remove_callback(PrinterCallback)
    trainer.data_collator = counting
    trainer.train()
    lengths = rows.lengths()[setting.warmup * setting.batch :]
    timed = counting.counts[setting.warmup * accumulation : len(clock.ends) * accumulation]
    return Measurement(
        seconds=clock.ends[-1] - clock.ends[setting.warmup - 1],
        processor=clock.processor[-1] - clock.processor[setting.warmup - 1],
        pairs=len(lengths),
        tokens=int(2 * lengths[:, 0].sum() + lengths[:, 1:].sum()),
        positions=sum(positions for positions, _ in timed),
        padding=sum(padding for _, padding in timed),
        peak_bytes=clock.memory.bytes(),
        shares=shares,
    )


def _arguments(kind: Callable[..., Any], setting: Setting, directory: str, **more: Any) -> Any:
    """Training arguments that both sides share: those of `vrm train`, nothing saved or logged."""
    shared = {
        "output_dir": directory, "num_train_epochs": 1, "per_device_train_batch_size": setting.batch, "seed": 0,
        "save_strategy": "no", "logging_strategy": "no", "report_to": "none", "disable_tqdm": True,
        "learning_rate": 1e-5, "use_cpu": setting.device == "cpu", "dataloader_pin_memory": setting.device != "cpu",
        "bf16": setting.precision == "bfloat16", "gradient_checkpointing": setting.checkpointing,
    }  # fmt: skip
    return kind(**{**shared, **more})


def trl_trainer(model: Any, tokenizer: Any, rows: Rows, setting: Setting, directory: str, **more: Any) -> Any:
    """TRL's trainer on the texts of the rows, which it tokenizes itself, in the order given."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    texts = [
        {"prompt": row.prompt, "chosen": row.completions[0], "rejected": row.completions[1]} for row in rows.judgments
    ]
    settings = {"train_sampling_strategy": "sequential", "max_length": setting.limit, **more}
    if setting.backend:
        settings |= {"torch_compile": True, "torch_compile_backend": setting.backend}
    arguments = _arguments(RewardConfig, setting, directory, **settings)
    return RewardTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(texts),
        processing_class=tokenizer,
        peft_config=_trl_adapters() if setting.adapters else None,
    )


def _trl_adapters() -> Any:
    """The same adapters for TRL; PEFT chooses the same modules by the architecture."""
    from peft import LoraConfig

    ours = LoraSettings()
    return LoraConfig(
        task_type="SEQ_CLS", r=ours.r, lora_alpha=ours.alpha, lora_dropout=ours.dropout, modules_to_save=["score"]
    )


def equal_share(trainer: Any, rows: Rows) -> float:
    """Part of the rows that TRL tokenized to the same ids as this package."""
    data = trainer.train_dataset
    pairs = zip(data["chosen_ids"], data["rejected_ids"], rows.tokenized, strict=True)
    equal = [
        list(chosen) == item.prompt + item.completions[0] and list(rejected) == item.prompt + item.completions[1]
        for chosen, rejected, item in pairs
    ]
    return sum(equal) / len(equal)


def vrm_trainer(
    model: VRMForSequenceClassification, rows: Rows, setting: Setting, directory: str, route: str = "packed"
) -> VRMTrainer:
    """This package's trainer as `vrm train` makes it, its random order meeting the rows in the order given."""
    pad = int(model.config.pad_token_id or 0)
    targets = target_encoder(model.config)
    if route == "packed":
        collator: Any = PassCollator.of(model, targets, pad, setting.token_budget)
        if not collator.packed:
            raise RuntimeError(f"the backbone's rows are not packed: {model.packing_problem}")
    else:
        collator = JudgmentCollator(targets, pad)
    trainable = with_adapters(model, LoraSettings()) if setting.adapters else model
    if setting.checkpointing:
        model.gradient_checkpointing_enable()
    if setting.backend:
        compile_layers(model.backbone, setting.backend)
    arguments = _arguments(
        TrainingArguments, setting, directory, remove_unused_columns=False, gradient_checkpointing=False
    )  # fmt: skip
    items = _met_in_order(rows.tokenized, arguments.seed, setting.batch)
    return VRMTrainer(
        model=trainable,
        args=arguments,
        train_dataset=TokenizedDataset(items),
        data_collator=collator,
        loss=TrainingLoss(),
    )


def _met_in_order(items: Sequence[TokenizedJudgment], seed: int, batch: int) -> list[TokenizedJudgment]:
    """Items placed so that the trainer's sampler, whose order its seed decides, draws them as they stand here."""
    drawn: Sampler[int] = StepSampler([0] * len(items), seed, batch, 1, lambda: 0)
    placed = dict(zip(drawn, items, strict=True))
    return [placed[index] for index in range(len(items))]


def run_trl(files: Path, rows: Rows, setting: Setting, accumulation: int = 1) -> Measurement:
    """TRL on the decoder's files, a step in so many batches."""
    quiet()
    with tempfile.TemporaryDirectory() as directory:
        model, tokenizer = _trl_model(files)
        sizes = {
            "per_device_train_batch_size": setting.batch // accumulation, "gradient_accumulation_steps": accumulation
        }  # fmt: skip
        trainer = trl_trainer(model, tokenizer, rows, setting, directory, **sizes)
        return measure(trainer, rows, setting, equal_share(trainer, rows), accumulation)


def run_trl_defaults(files: Path, rows: Rows, setting: Setting) -> Measurement:
    """TRL as it comes: the model by its path, bfloat16, checkpointing, whatever the setting says of these.

    Given are the batch's size, which is its default too, the order of the rows, and that nothing is saved or reported.
    """
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    quiet()
    with tempfile.TemporaryDirectory() as directory:
        arguments = RewardConfig(
            output_dir=directory, num_train_epochs=1, per_device_train_batch_size=setting.batch, report_to="none",
            save_strategy="no", disable_tqdm=True, use_cpu=setting.device == "cpu",
            train_sampling_strategy="sequential",
        )  # fmt: skip
        texts = [dict(zip(("prompt", "chosen", "rejected"), (row.prompt, *row.completions))) for row in rows.judgments]
        data = Dataset.from_list(texts)
        trainer = RewardTrainer(model=str(files), args=arguments, train_dataset=data)
        return measure(trainer, rows, setting, equal_share(trainer, rows))


def _trl_model(files: Path) -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(files, num_labels=1, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(files)


def run_vrm(files: Path, rows: Rows, setting: Setting, head: str, route: str = "packed") -> Measurement:
    """This package on the decoder's files, with a head, by the packed route or by one of `routes`."""
    quiet()
    with tempfile.TemporaryDirectory() as directory:
        model = reward_model(files, head, setting.limit)
        if route != "packed":
            take_route(model, route)
        return measure(vrm_trainer(model, rows, setting, directory, route), rows, setting)


def losses(files: Path, rows: Rows, setting: Setting) -> tuple[float, float]:
    """The loss of TRL and of this package's `bt` head on one batch with the same reward weights, in evaluation mode.

    The head's layer norm of the hidden state is taken out for it, since TRL's head has none.
    """
    quiet()
    few = rows.take(range(min(setting.batch, len(rows))))
    with tempfile.TemporaryDirectory() as directory:
        theirs_model, tokenizer = _trl_model(files)
        theirs = trl_trainer(theirs_model, tokenizer, few, setting, directory)
        model = reward_model(files, "bt", setting.limit)
        with torch.no_grad():
            model.score.features.weight.copy_(theirs_model.score.weight)
        model.score.completion_norm = torch.nn.Identity()
        ours = vrm_trainer(model, few, setting, directory)
        means = []
        for trainer in (theirs, ours):
            trainer.model.eval()
            items = [trainer.train_dataset[index] for index in range(len(few))]
            (part,) = passes_of(trainer.data_collator(items))
            with torch.no_grad():
                # TRL keeps its metrics by the model's mode.
                loss: Tensor = trainer.compute_loss(trainer.model, trainer._prepare_inputs(part))
            means.append(float(loss))
    return means[0], means[1]
