"""Low-rank adapters through PEFT: in which modules of a backbone, checked before any row is read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig
from transformers.pytorch_utils import Conv1D

from vrm.choices import Tuning
from vrm.config import LoraSettings, ModelConfig
from vrm.errors import ConfigError
from vrm.model.checkpoint import load_tokenizer
from vrm.model.configuration_vrm import backbone_loader
from vrm.model.embedded import resolve_backbone
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.train.processes import say
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
            config = AutoConfig.from_pretrained(resolve_backbone(settings.backbone), trust_remote_code=False)
        with torch.device("meta"):
            backbone = backbone_loader(config).from_config(config)
    except Exception:
        return
    _targets(backbone, config.get_text_config().model_type, settings.lora)


def with_adapters(model: VRMForSequenceClassification, settings: LoraSettings) -> Any:
    """A PEFT model around `model`: adapters in the backbone, everything else of it frozen, the head trainable.

    Raises:
        ConfigError: if a name is of no module that can have an adapter; it says what there is to choose from.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    model_type = model.config.backbone_config.get_text_config().model_type
    targets = _targets(model.backbone, model_type, settings)
    if not settings.target_modules and model_type not in _peft_defaults():
        words = targets if isinstance(targets, str) else ", ".join(targets)
        say(f"PEFT has no default modules for the architecture {model_type!r}: adapters go into {words} ({KEY})")
    # PEFT would adapt the linear maps inside the head too.
    left_out = [r"score\..*", *map(re.escape, sorted(_unread(model.backbone) | _passed_by(model.backbone)))]
    model.enable_input_require_grads()
    adapters = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        exclude_modules="|".join(left_out),
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
    unread, passed_by = _unread(backbone), _passed_by(backbone)
    modules = {name: can and name not in passed_by for name, can in modules.items() if name not in unread}
    adaptable = [name for name, can in modules.items() if can]
    if not targets:
        layers = getattr(backbone.config.get_text_config(), "num_hidden_layers", 1)
        return _default_targets(model_type, adaptable, layers)
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
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.groups == 1
    return isinstance(module, (nn.Linear, nn.Embedding, nn.MultiheadAttention, Conv1D))


def _unread(backbone: Any) -> set[str]:
    """Modules that no text goes through, of a model of images and texts; named as PEFT sees them."""
    config = backbone.config
    read = backbone if config.get_text_config() is config else backbone.get_decoder()
    texts = {id(module) for module in read.modules()}
    return {f"backbone.{name}" for name, module in backbone.named_modules() if id(module) not in texts}


def _passed_by(backbone: nn.Module) -> set[str]:
    """Modules of state-space layers whose weights kernels read past the module and its adapter, as PEFT sees them."""
    parts = ("conv1d", "x_proj", "dt_proj", "out_proj")
    layers = [name for name, module in backbone.named_modules() if hasattr(module, "ssm_state_size")]
    return {f"backbone.{name}.{part}" for name in layers for part in parts}


def _peft_defaults() -> dict[str, Any]:
    """{architecture: names of modules}; of the backbone's, since PEFT does not know ours."""
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    return TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING


def _default_targets(model_type: str, adaptable: list[str], layers: int) -> list[str] | str:
    """What PEFT adapts in this architecture; else what it adapts in several others, if every layer has it."""
    defaults = _peft_defaults()
    if model_type in defaults:
        return defaults[model_type]
    ends = Counter(name.rpartition(".")[2] for name in adaptable)
    usual = Counter(tuple(names) for names in defaults.values() if isinstance(names, list))
    for names, count in usual.most_common():
        if count > 1 and all(ends[name] >= layers for name in names):
            return list(names)
    return ALL_LINEAR


def _choices(names: Iterable[str]) -> str:
    ends = dict.fromkeys(name.rpartition(".")[2] for name in names)
    named = [end for end in ends if not end.isdigit()]
    return f"It has {', '.join(named)}" if named else "It has no module that can have an adapter"
