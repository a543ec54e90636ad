"""From a head's name to its class."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from vrm.choices import HEADS
from vrm.errors import check_choice
from vrm.model.heads.base import JudgmentHead


def head_class(name: str) -> type[JudgmentHead]:
    """The class of a head; its module is imported when it is first needed.

    Raises:
        ConfigError: for a name that is not in `HEADS`.
    """
    check_choice("head", name, HEADS)
    module = import_module(f"vrm.model.heads.{name}")
    return cast("type[JudgmentHead]", getattr(module, HEADS[name]))
