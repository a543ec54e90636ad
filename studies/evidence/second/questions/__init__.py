"""The questions of part two: a module here with a `QUESTION` is one, and nothing else has to know of it."""

from __future__ import annotations

import importlib
import pkgutil

from studies.evidence.second.study import Question


def questions() -> dict[str, Question]:
    """Every question by its name, which is its file's."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return {name: importlib.import_module(f"{__name__}.{name}").QUESTION for name in names}
