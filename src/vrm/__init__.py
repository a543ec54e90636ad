"""Variational reward models: rewards that explain themselves and know how sure they are."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

__all__ = ["VRMConfig", "VRMForSequenceClassification", "__version__", "register"]


def register() -> None:
    """Register the model classes with the Auto classes of `transformers`."""
    import vrm.model  # noqa: F401  (importing registers)


def __getattr__(name: str) -> Any:
    # `import vrm` must stay free of torch and transformers.
    if name in {"VRMConfig", "VRMForSequenceClassification"}:
        import vrm.model

        return getattr(vrm.model, name)
    raise AttributeError(f"module 'vrm' has no attribute {name!r}")
