"""From a head's name to its class."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from vrm.choices import HEADS
from vrm.errors import ConfigError
from vrm.model.heads.base import JudgmentHead

__all__ = ["head_class", "register_head"]

_REGISTERED: dict[str, type[JudgmentHead]] = {}
"""Heads from outside of the package, of this process."""


def register_head(name: str, head: type[JudgmentHead]) -> None:
    """Add a head from outside of the package, for this process: `VRMConfig` and run configurations take its name.

    Who loads its models has to register it too, before. Their code is not exported with them.

    Raises:
        ConfigError: the name is taken by another class, or the class is no head.
    """
    if not issubclass(head, JudgmentHead):
        raise ConfigError(f"head '{name}': {head.__name__} is no subclass of vrm.model.heads.base.JudgmentHead")
    if name in HEADS and _REGISTERED.get(name) is not head:
        raise ConfigError(f"the name '{name}' of a head is taken; choose another than {', '.join(HEADS)}")
    _REGISTERED[name] = head
    HEADS[name] = head.__name__


def own_heads() -> dict[str, str]:
    """{name: class} of the heads whose code is in the package."""
    return {name: head for name, head in HEADS.items() if name not in _REGISTERED}


def head_class(name: str) -> type[JudgmentHead]:
    """The class of a head; its module is imported when it is first needed.

    Raises:
        ConfigError: for a name that is not in `HEADS`.
    """
    if name not in HEADS:
        raise ConfigError(
            f"head must be one of {', '.join(HEADS)}; got {name!r}. A saved model with another head comes from a "
            "fork or another version of vrm, or from a program that registers its own by vrm.model.heads.registry"
        )
    if name in _REGISTERED:
        return _REGISTERED[name]
    module = import_module(f"vrm.model.heads.{name}")
    return cast("type[JudgmentHead]", getattr(module, HEADS[name]))
