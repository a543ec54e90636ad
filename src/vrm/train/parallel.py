"""How several processes train one model: each with a copy of it (DDP), or each with a part of it (FSDP2).

Both ways go through `accelerate`. `Copies` says what a trainer asks of either; `Shards` is what differs for parts.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin, is_torch_version
from torch import nn

from vrm.choices import Parallel, Tuning
from vrm.config import RunConfig
from vrm.errors import ConfigError
from vrm.model.backbones import layers_of
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.train.processes import is_main_process

KEY = "train.parallel"
NEEDED_TORCH = "2.7"
"""From here on `fully_shard` can leave parameters out, as the head's are."""


class Copies:
    """Every process holds the whole model, and DDP averages gradients; a process alone is a copy alone."""

    def arguments(self) -> dict[str, Any]:
        """Further arguments of `transformers.TrainingArguments`."""
        return {}

    def set_up(self, trainer: Any, model: VRMForSequenceClassification) -> None:
        """Tell a trainer's `accelerate` how the model is spread, before it is.

        Args:
            trainer: a `VRMTrainer` that has not trained yet.
            model: without the adapters around it.
        """

    def idle_passes(self, count: int, device: torch.device) -> int:
        """How many passes without judgments a process with `count` passes has to make beside them."""
        return 0

    def before_last_pass(self, accelerator: Any, model: nn.Module) -> AbstractContextManager[Any]:
        """Around the passes of a step before the last: gradients stay with their process."""
        return accelerator.no_sync(model)

    def finish_backward(self, head: nn.Module) -> None:
        """After the last pass of a step: exchange what was not exchanged on the way."""

    def merged(self, model: Any) -> VRMForSequenceClassification:
        """The model inside a trained PEFT model, with its adapters merged; it can be called."""
        return model.merge_and_unload()

    def whole(self, model: VRMForSequenceClassification) -> VRMForSequenceClassification | None:
        """The model as it can be saved, in the main process; every process has to call this."""
        return model


class Shards(Copies):
    """Every process holds a part of the backbone's weights, gradients and optimizer state (FSDP2).

    A layer's weights come together for its forward and its backward pass, in the precision of the backbone, and are let
    go. The head is small, its parameters are read outside its forward pass, and some are single numbers, which cannot
    be cut: it stays whole and float32 in every process, and its gradients are averaged once a step.
    """

    _outer: Any = None
    """The PEFT model whose adapters were merged."""

    def arguments(self) -> dict[str, Any]:
        """FSDP2 with sharded checkpoints; gradients are exchanged in every pass, so that none is held whole."""
        return {
            "fsdp": True,
            "fsdp_config": {"version": 2, "state_dict_type": "SHARDED_STATE_DICT"},
            "accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_batch": True}},
        }

    def set_up(self, trainer: Any, model: VRMForSequenceClassification) -> None:
        """Every layer is a unit, so are the embeddings, and what is left of the backbone; the head is in none."""
        from torch.distributed.fsdp import MixedPrecisionPolicy

        # Outputs of the head are views of one another; nothing changes them in place.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
        accelerator = trainer.accelerator
        if accelerator.distributed_type != DistributedType.FSDP:
            # `accelerate` offers FSDP for GPUs and their like alone, though nothing in it depends on them.
            accelerator.state.distributed_type = DistributedType.FSDP
            accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(**trainer.args.fsdp_plugin_args)
            trainer.is_fsdp_enabled = True
        plugin = accelerator.state.fsdp_plugin
        plugin.transformer_cls_names_to_wrap = sorted({type(layer).__name__ for layer in layers_of(model.backbone)})
        plugin.ignored_modules = [model.score]
        plugin.mixed_precision_policy = MixedPrecisionPolicy()
        if accelerator.mixed_precision == "bf16":
            # Outputs keep their type, since the head's must stay float32. So do inputs: a cast would copy the object
            # that all layers share about a packed row.
            plugin.mixed_precision_policy = MixedPrecisionPolicy(
                torch.bfloat16, torch.float32, cast_forward_inputs=False
            )
        model.score.to(accelerator.device)

    def idle_passes(self, count: int, device: torch.device) -> int:
        """As many as another process has more: weights come together in all processes at once."""
        most = torch.tensor(count, device=device)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        return int(most) - count

    def before_last_pass(self, accelerator: Any, model: nn.Module) -> AbstractContextManager[Any]:
        """Nothing: gradients that stay with their process would be whole."""
        return nullcontext()

    def finish_backward(self, head: nn.Module) -> None:
        """Average the head's gradients."""
        average_gradients(head.parameters())

    def merged(self, model: Any) -> VRMForSequenceClassification:
        """Part by part; what belongs to no unit comes together here, since the outer model is called no more."""
        model.reshard()
        merged: VRMForSequenceClassification = model.merge_and_unload()
        model.unshard()
        self._outer = model
        return merged

    def whole(self, model: VRMForSequenceClassification) -> VRMForSequenceClassification | None:
        """Gathered weight by weight into the main memory of the main process; None in the others."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        if self._outer is not None:
            self._outer.reshard()
        weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        if not is_main_process():
            return None
        with torch.device("meta"):
            whole = VRMForSequenceClassification(model.config)
        whole.load_state_dict(weights, assign=True)
        return whole


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients over all processes, in one message; who has none counts as zero.

    A parameter without a gradient in any process keeps none, so that the optimizer passes over it, as in one process.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    present = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.float32)
    values = [torch.zeros_like(each) if each.grad is None else each.grad for each in trained]
    message = torch.cat([present.to(values[0].device), *(value.flatten() for value in values)])
    dist.all_reduce(message)
    message /= dist.get_world_size()
    shares = message[: len(trained)].tolist()
    gradients = message[len(trained) :].split([each.numel() for each in trained])
    for parameter, share, gradient in zip(trained, shares, gradients, strict=True):
        parameter.grad = gradient.view_as(parameter) if share else None


def parallel_of(config: RunConfig) -> Copies:
    """The way that a configuration names.

    Raises:
        ConfigError: it cannot be gone with the rest of the configuration, or as the run was started.
    """
    sharded = config.train.parallel == Parallel.FSDP
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true" and not sharded:
        raise ConfigError(f"the launcher asks for FSDP, and {KEY} is {config.train.parallel}: set {KEY} to fsdp")
    if not sharded:
        return Copies()
    if config.model.tuning == Tuning.FROZEN:
        raise ConfigError(
            f"{KEY} is fsdp, but with model.tuning: frozen the backbone is not trained, so there is nothing to cut "
            f"into parts: set {KEY} to ddp, or model.tuning to lora or full"
        )
    if "LOCAL_RANK" not in os.environ:
        raise ConfigError(
            f"{KEY} is fsdp, which needs processes that a launcher starts: "
            "`torchrun --nproc_per_node=2 -m vrm.cli.main train ...`"
        )
    if config.model.compile is True:
        raise ConfigError(f"model.compile: true does not go with {KEY}: fsdp; leave model.compile on auto")
    if is_torch_version("<", NEEDED_TORCH):
        raise ConfigError(f"{KEY}: fsdp needs torch {NEEDED_TORCH} or later; this is {torch.__version__}")
    return Shards()
