"""From a head's name to its class."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from vrm.choices import HEADS
from vrm.errors import ConfigError
from vrm.model.heads.base import JudgmentHead


def head_class(name: str) -> type[JudgmentHead]:
    """The class of a head; its module is imported when it is first needed.

    Raises:
        ConfigError: for a name that is not in `HEADS`.
    """
    if name not in HEADS:
        raise ConfigError(
            f"head must be one of {', '.join(HEADS)}; got {name!r}. A saved model with another head comes from another "
            "version of vrm, or from a fork that has this head: load it with that"
        )
    module = import_module(f"vrm.model.heads.{name}")
    return cast("type[JudgmentHead]", getattr(module, HEADS[name]))
