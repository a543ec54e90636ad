"""Low-rank adapters on the backbone, through PEFT; the head is trained and saved whole."""

from __future__ import annotations

from typing import Any

from vrm.config import LoraSettings
from vrm.errors import ConfigError
from vrm.model.modeling_vrm import VRMForSequenceClassification

ALL_LINEAR = "all-linear"


def with_adapters(model: VRMForSequenceClassification, settings: LoraSettings) -> Any:
    """A PEFT model around `model`: adapters in the backbone, everything else of it frozen, the head trainable.

    Raises:
        ConfigError: if no module names are given and PEFT has none for this architecture.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    targets = settings.target_modules or _default_targets(model.config.backbone_config.model_type)
    model.enable_input_require_grads()
    return get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=settings.r,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=targets,
            # PEFT would adapt the linear maps inside the head too.
            exclude_modules=r"score\..*" if targets == ALL_LINEAR else None,
            modules_to_save=["score"],
        ),
    )


def _default_targets(model_type: str) -> list[str]:
    """What PEFT adapts in this architecture; it knows the backbone's, not ours."""
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    targets = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(model_type)
    if targets is None:
        raise ConfigError(
            f"PEFT has no default modules for the architecture {model_type!r}: set model.lora.target_modules "
            f"to a list of module names, or to {ALL_LINEAR}"
        )
    return list(targets)
