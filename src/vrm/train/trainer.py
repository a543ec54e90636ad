"""`VRMTrainer`: `transformers.Trainer` with this package's loss, terms and metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from transformers import Trainer

from vrm.core.likelihoods.base import Judgments
from vrm.core.losses import warn_if_prompt_ignored
from vrm.data.collate import target_keys
from vrm.errors import NumericsError
from vrm.files import follow_umask, writing
from vrm.labels import likelihoods
from vrm.model.modeling_vrm import VRMForSequenceClassification, VRMOutput
from vrm.train.checkpoints import WholeCheckpoints
from vrm.train.held_out import compute_preference_metrics, label_of, margin_of, predictions_of
from vrm.train.loss import TrainingLoss
from vrm.train.parallel import Copies
from vrm.train.passes import PASSES, StepSampler, TokenizedDataset, costs_of, flat, passes_of, positions_of, same_sides


class VRMTrainer(WholeCheckpoints, Trainer):
    """Trains a `VRMForSequenceClassification` on batches of `PassCollator`, `JudgmentCollator` or `FeatureDataset`.

    A batch of several passes is one batch: gradients are summed over them, each judgment with the same weight, and
    processes exchange them once.

    Logged beside the loss, in nats per judgment that has the term: the log-likelihoods of `vrm.labels.KINDS` by name,
    `kl_weights` and `kl_features`. Under `weighted/` stands what they contribute to the loss. `accuracy` and `margin`
    are those of training comparisons. `positions_per_judgment` counts token positions of the backbone, and
    `padding_share` is the share of them that hold no token.

    Args:
        *args: as for `transformers.Trainer`.
        loss: which loss, with which multipliers.
        save_backbone: False leaves the (frozen) backbone out of intermediate checkpoints.
        head_learning_rate: of `score`; the backbone gets `args.learning_rate`.
        parallel: what each of several processes holds of the model.
        rater_metrics: whether the labels carry offsets of (14). Metrics are then those of the raters, offsets included,
            and the quality metrics without them stand beside them as `quality_...`.
        **kwargs: as for `transformers.Trainer`.
    """

    def __init__(
        self,
        *args: Any,
        loss: TrainingLoss | None = None,
        save_backbone: bool = True,
        head_learning_rate: float | None = None,
        rater_metrics: bool = False,
        parallel: Copies | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("compute_metrics", compute_preference_metrics)
        super().__init__(*args, **kwargs)
        self.training_loss = loss or TrainingLoss()
        self.save_backbone, self.rater_metrics = save_backbone, rater_metrics
        self.head_learning_rate = head_learning_rate or self.args.learning_rate
        # The loss is a mean over judgments; nothing is asked of the model.
        self.model_accepts_loss_kwargs = False
        self.parallel = parallel or Copies()
        self.parallel.set_up(self, self._base_model())
        self._judgments_of_step = 0
        self._sums: dict[str, float] = {}
        self._counts: dict[str, float] = {}

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        rows = self.train_dataset if train_dataset is None else train_dataset
        if not isinstance(rows, TokenizedDataset):
            return super()._get_train_sampler(train_dataset)
        batches = self.args.world_size * self.args.gradient_accumulation_steps
        kind = self._base_model().config.backbone_kind
        return StepSampler(
            costs_of(rows.items, kind),
            seed=self.args.seed,
            step_size=batches * self.args.train_batch_size,
            batches=batches,
            # A resumed run begins inside an epoch.
            epoch=lambda: int((self.state.epoch or 0.0) + 1e-6),
        )

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """As in `Trainer`; counts the step's judgments, since batches may differ in size at the end of an epoch."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        self._judgments_of_step = sum(map(_judgments, batches))
        return batches, items

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of a batch, pass by pass; every judgment of a step has the same weight."""
        passes, here = passes_of(inputs), _judgments(inputs)
        judgments = max(self._judgments_of_step, here)
        model.train()
        for output in self._idle_passes(model, passes):
            self.accelerator.backward(_touch(output))
        if len(passes) == 1 and here == judgments:
            loss = super().training_step(model, passes[0], num_items_in_batch)
        else:
            loss = self._train_passes(model, passes, judgments)
        if self.accelerator.sync_gradients:
            self.parallel.finish_backward(self._head())
        return loss

    def _train_passes(self, model: nn.Module, passes: list[dict[str, Any]], judgments: int) -> Tensor:
        losses = []
        for number, part in enumerate(passes, 1):
            last = number == len(passes)
            with nullcontext() if last else self.parallel.before_last_pass(self.accelerator, model):
                part = self._prepare_inputs(part)
                with self.compute_loss_context_manager():
                    loss = self.compute_loss(model, part) * (len(part["mask"]) / judgments)
                self.accelerator.backward(loss)
                losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _idle_passes(self, model: nn.Module, passes: list[dict[str, Any]]) -> Iterator[VRMOutput]:
        """Passes whose judgments count nothing, which keep this process in step with others."""
        for _ in range(self.parallel.idle_passes(len(passes), self.args.device)):
            with self.compute_loss_context_manager():
                output = _answer(model, self._prepare_inputs(passes[-1]))
            yield output

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean loss over the judgments of a batch; a loss that is not finite saves the batch and stops."""
        batch = {key: inputs[key] for key in target_keys() if key in inputs}
        output = _answer(model, inputs)
        with torch.autocast(output.logits.device.type, enabled=False):
            terms = self.training_loss.terms(output, batch, self._head().prior_concentration)
            weighted = self.training_loss.loss(terms, self._progress() if model.training else 1.0)
        loss = weighted.loss.mean()
        if not bool(torch.isfinite(loss)):
            self._stop_on(inputs, loss, terms.as_dict())
        if model.training:
            self._record(output, batch, terms.as_dict(), weighted.parts, same_sides(inputs))
            self._record_positions(inputs)
            if isinstance(model, DistributedDataParallel):
                loss = loss + _touch(output)
        return (loss, output) if return_outputs else loss

    def _base_model(self) -> VRMForSequenceClassification:
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if hasattr(model, "peft_config") else model

    def _head(self) -> nn.Module:
        score = self._base_model().score
        # PEFT wraps saved modules; the buffers are in the active copy.
        return score if hasattr(score, "prior_concentration") else score.modules_to_save["default"]

    def _progress(self) -> float:
        return self.state.global_step / max(self.state.max_steps, 1)

    def _stop_on(self, inputs: dict[str, Any], loss: Tensor, terms: dict[str, Tensor]) -> None:
        path = Path(self.args.output_dir) / f"nan_batch_step{self.state.global_step}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path):
            save_file({key: value.detach().cpu().contiguous() for key, value in flat(inputs).items()}, path)
            follow_umask(path)
        bad = [name for name, values in terms.items() if not bool(torch.isfinite(values).all())]
        raise NumericsError(
            f"the loss is {loss.item()} at step {self.state.global_step} (terms that are not finite: "
            f"{', '.join(bad) or 'none'}). The batch is in {path}; lower the learning rate or inspect it"
        )

    @torch.no_grad()
    def _record(
        self,
        output: VRMOutput,
        batch: dict[str, Tensor],
        terms: dict[str, Tensor],
        parts: dict[str, Tensor],
        same: Tensor,
    ) -> None:
        judgments = Judgments(**batch)
        observed = {name: likelihood.observed(judgments) for name, likelihood in likelihoods().items()}
        several, preference = observed["judgments"], label_of(batch)
        pairs = observed["comparison"] | several
        everyone = torch.ones_like(pairs)
        for name, values in terms.items():
            self._add(name, values, observed.get(name, everyone))
            self._add(f"weighted/{name}", parts[name], everyone)
        margin = margin_of(output) if output.logits.shape[1] > 1 else output.logits[:, 0]
        margin = torch.where(same, torch.zeros_like(margin), margin)
        labelled = pairs & (preference != 0.5)
        if "offsets" in batch:
            # What the comparison was trained on; zero without a nuisance offset.
            margin = margin + batch["offsets"][:, 0] - batch["offsets"][:, 1]
        signed = torch.where(preference >= 0.5, margin, -margin)
        self._add("accuracy", (signed > 0).float() + 0.5 * (signed == 0), labelled)
        self._add("margin", signed, labelled)

    def _record_positions(self, inputs: dict[str, Any]) -> None:
        positions, padding = positions_of(inputs)
        if positions:
            self._add_to_mean("positions_per_judgment", positions, len(inputs["mask"]))
            self._add_to_mean("padding_share", padding, positions)

    def _add(self, name: str, values: Tensor, present: Tensor) -> None:
        self._add_to_mean(name, float(values[present].sum()), float(present.sum()))

    def _add_to_mean(self, name: str, total: float, count: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + total
        self._counts[name] = self._counts.get(name, 0.0) + count

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the means of the training terms since the last log."""
        if "loss" in logs and self._counts:
            means = {name: self._sums[name] / count for name, count in self._counts.items() if count}
            logs = {**logs, **means}
            self._sums, self._counts = {}, {}
        super().log(logs, *args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """AdamW with two learning rates; weight decay on matrices of networks alone, never on A, biases or norms."""
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(self._parameter_groups(), fused=True, eps=self.args.adam_epsilon)
        return self.optimizer

    def _parameter_groups(self) -> list[dict[str, Any]]:
        decayed = {id(parameter) for parameter in self._head().kernel_parameters()}
        head = {id(parameter) for parameter in self._head().parameters()}
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                in_head = id(parameter) in head
                decays = id(parameter) in decayed if in_head else parameter.ndim > 1
                groups.setdefault((in_head, decays), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": self.head_learning_rate if in_head else self.args.learning_rate,
                "weight_decay": self.args.weight_decay if decays else 0.0,
            }
            for (in_head, decays), parameters in groups.items()
        ]

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Any, Any, Any]:
        """Loss, what `compute_preference_metrics` needs of each judgment, and its preference."""
        passes = passes_of(inputs)
        with torch.no_grad():
            list(self._idle_passes(model, passes))
        judged = [self._predict(model, self._prepare_inputs(part)) for part in passes]
        losses, predictions, labels = zip(*judged, strict=True)
        counts = torch.tensor([len(part) for part in labels], dtype=torch.float32, device=losses[0].device)
        loss = (torch.stack(losses) * counts).sum() / counts.sum()
        if prediction_loss_only:
            return loss, None, None
        # In the order of the batch: what several processes have twice, and is cut, stands at its end.
        order = inputs["judgments"].argsort() if PASSES in inputs else slice(None)
        columns = tuple(torch.cat(parts)[order] for parts in zip(*predictions, strict=True))
        return loss, columns, torch.cat(labels)[order]

    @torch.no_grad()
    def _predict(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        with self.compute_loss_context_manager():
            loss, output = self.compute_loss(model, inputs, return_outputs=True)
        predictions = predictions_of(output, inputs, self._head().prior_concentration, self.rater_metrics)
        return loss.detach(), predictions, label_of(inputs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As in `Trainer`; warns if the prompt is ignored by a head that could use it."""
        metrics = super().evaluate(*args, **kwargs)
        config = self._base_model().config
        if config.has_weight_uncertainty and config.num_objectives > 1 and "eval_kl_to_prior" in metrics:
            self._warn_once(metrics["eval_kl_to_prior"])
        return metrics

    def _warn_once(self, kl_to_prior: float) -> None:
        trained = self._progress() > max(self.training_loss.kl_warmup, 0.2)
        if trained and not getattr(self, "_warned", False):
            self._warned = warn_if_prompt_ignored(kl_to_prior)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """A checkpoint without the frozen backbone is complete; anything else that is missing is reported."""
        if not self.save_backbone:
            missing = [key for key in load_result.missing_keys if not key.startswith("backbone.")]
            load_result = type(load_result)(missing, load_result.unexpected_keys)
        super()._issue_warnings_after_load(load_result)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if not self.save_backbone:
            state_dict = state_dict or self.model.state_dict()
            state_dict = {name: value for name, value in state_dict.items() if not name.startswith("backbone.")}
        super()._save(output_dir, state_dict)


def _judgments(batch: Mapping[str, Any]) -> int:
    return sum(len(part["mask"]) for part in passes_of(batch))


def _answer(model: nn.Module, inputs: Mapping[str, Any]) -> VRMOutput:
    targets = target_keys()
    output: VRMOutput = model(**{key: value for key, value in inputs.items() if key not in targets})
    return output


def _touch(output: VRMOutput) -> Tensor:
    """Zero, with a gradient of zero for every output of the head.

    Processes wait for every parameter behind an output, and a batch without ratings, say, has none for theirs.
    """
    assert output.posteriors is not None
    parts = [0.0 * value.sum() for value in output.posteriors.tensors() if value.requires_grad]
    return torch.stack(parts).sum()
