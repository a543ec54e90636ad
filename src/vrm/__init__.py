"""Variational reward models: rewards that explain themselves and know how sure they are.

The names of `__all__` are what most programs need. They are loaded when they are used, so that `import vrm` stays
quick. `docs/reference.md` lists what else is public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vrm._lazy import lazy_names

if TYPE_CHECKING:
    from vrm.config import load_config
    from vrm.data.load import load_judgments
    from vrm.data.schema import Judgment
    from vrm.errors import VrmError
    from vrm.evaluate.preferences import evaluate_judgments
    from vrm.inference.engine import RewardEngine
    from vrm.inference.explain import explain
    from vrm.integrations.trl import reward_function
    from vrm.model.checkpoint import load_model
    from vrm.model.configuration_vrm import VRMConfig
    from vrm.model.modeling_vrm import VRMForSequenceClassification
    from vrm.train.run import run_training

__version__ = "0.2.0"

__all__ = [
    "Judgment",
    "RewardEngine",
    "VRMConfig",
    "VRMForSequenceClassification",
    "VrmError",
    "__version__",
    "evaluate_judgments",
    "explain",
    "load_config",
    "load_judgments",
    "load_model",
    "register",
    "reward_function",
    "run_training",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Judgment": "vrm.data.schema",
        "RewardEngine": "vrm.inference.engine",
        # The package, so that the Auto classes know a model that was made of these.
        "VRMConfig": "vrm.model",
        "VRMForSequenceClassification": "vrm.model",
        "VrmError": "vrm.errors",
        "evaluate_judgments": "vrm.evaluate.preferences",
        "explain": "vrm.inference.explain",
        "load_config": "vrm.config",
        "load_judgments": "vrm.data.load",
        "load_model": "vrm.model",
        "reward_function": "vrm.integrations.trl",
        "run_training": "vrm.train.run",
    },
)


def register() -> None:
    """Register the model classes with the Auto classes of `transformers`; loaders that get a path need it.

    Example:
        >>> import vrm
        >>> from transformers import AutoModelForSequenceClassification
        >>> vrm.register()
        >>> model = AutoModelForSequenceClassification.from_pretrained("runs/mine/model", num_labels=1)
        >>> model.config.model_type
        'vrm'
    """
    import vrm.model  # noqa: F401  (importing registers)
