"""Low-rank adapters through PEFT: in which modules of a backbone, checked before any row is read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel
from transformers.pytorch_utils import Conv1D

from vrm.choices import Tuning
from vrm.config import LoraSettings, ModelConfig
from vrm.errors import ConfigError
from vrm.model.checkpoint import load_tokenizer
from vrm.model.embedded import resolve_backbone
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.train.setup import scratch_config
from vrm.user_files import is_stream

ALL_LINEAR = "all-linear"
KEY = "model.lora.target_modules"


def check_adapters(settings: ModelConfig) -> None:
    """Find out whether adapters can be put where they are wanted, on a backbone without weights.

    What keeps such a backbone from being made is left for loading to tell.

    Raises:
        ConfigError: as of `with_adapters`.
    """
    if settings.tuning != Tuning.LORA or (settings.from_scratch and is_stream(settings.from_scratch)):
        return  # a stream is read once, when the model is built
    try:
        if settings.from_scratch:
            config = scratch_config(settings.from_scratch, load_tokenizer(settings.tokenizer or settings.backbone))
        else:
            config = AutoConfig.from_pretrained(resolve_backbone(settings.backbone))
        with torch.device("meta"):
            backbone = AutoModel.from_config(config)
    except Exception:
        return
    _targets(backbone, config.model_type, settings.lora)


def with_adapters(model: VRMForSequenceClassification, settings: LoraSettings) -> Any:
    """A PEFT model around `model`: adapters in the backbone, everything else of it frozen, the head trainable.

    Raises:
        ConfigError: if a name is of no module that can have an adapter, or if no names are given and PEFT has none for
            this architecture; it says what there is to choose from.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    targets = _targets(model.backbone, model.config.backbone_config.model_type, settings)
    model.enable_input_require_grads()
    adapters = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        # PEFT would adapt the linear maps inside the head too.
        exclude_modules=r"score\..*" if targets == ALL_LINEAR else None,
        modules_to_save=["score"],
    )
    return get_peft_model(model, adapters)


def _targets(backbone: nn.Module, model_type: str, settings: LoraSettings) -> list[str] | str:
    """Names, or a pattern, that PEFT is given; each is of a module that can have an adapter."""
    targets = settings.target_modules
    if isinstance(targets, str) and targets.lower() == ALL_LINEAR:
        return ALL_LINEAR
    # As PEFT sees them, from the whole model.
    modules = {f"backbone.{name}": _can_have_one(module) for name, module in backbone.named_modules() if name}
    adaptable = [name for name, can in modules.items() if can]
    if not targets:
        return _default_targets(model_type, adaptable)
    matched = {
        target: [name for name in modules if _matches(target, name, is_pattern=isinstance(targets, str))]
        for target in ([targets] if isinstance(targets, str) else targets)
    }
    absent = [target for target, names in matched.items() if not names]
    if absent and isinstance(targets, str):
        raise ConfigError(
            f"{KEY}: the pattern {targets!r} matches the whole name of no module of this backbone, such as "
            f"{adaptable[-1] if adaptable else 'x'}; give a list of names, or {ALL_LINEAR}. {_choices(adaptable)}"
        )
    if absent:
        raise ConfigError(f"{KEY}: no module of this backbone is called {', '.join(absent)}. {_choices(adaptable)}")
    for target, names in matched.items():
        unfit = next((name for name in names if not modules[name]), None)
        if unfit:
            raise ConfigError(f"{KEY}: {target!r} names {unfit}, which can have no adapter. {_choices(adaptable)}")
    return targets


def _matches(target: str, name: str, is_pattern: bool) -> bool:
    """As PEFT compares: a pattern with the whole name, a name with its end."""
    if not is_pattern:
        return f".{name}".endswith(f".{target}")
    try:
        return re.fullmatch(target, name) is not None
    except re.error as error:
        raise ConfigError(f"{KEY}: {target!r} is no regular expression ({error})") from None


def _can_have_one(module: nn.Module) -> bool:
    if isinstance(module, (nn.MultiheadAttention, Conv1D)):
        return True
    weight = getattr(module, "weight", None)
    return isinstance(weight, torch.Tensor) and weight.ndim > 1 and not any(module.children())


def _default_targets(model_type: str, adaptable: list[str]) -> list[str]:
    """What PEFT adapts in this architecture; it knows the backbone's, not ours."""
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    targets = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(model_type)
    if targets is None:
        raise ConfigError(
            f"PEFT has no default modules for the architecture {model_type!r}: set {KEY} to a list of module names, or "
            f"to {ALL_LINEAR}. {_choices(adaptable)}"
        )
    return list(targets)


def _choices(names: Iterable[str]) -> str:
    ends = dict.fromkeys(name.rpartition(".")[2] for name in names)
    named = [end for end in ends if not end.isdigit()]
    return f"It has {', '.join(named)}" if named else "It has no module that can have an adapter"
