"""Print docs/reference.md: every public name with the first line of its docstring. `make docs` writes it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

HEAD = """\
# Reference

<!-- Written by docs/generate_reference.py from the docstrings; run `make docs`. -->

These names are public: they change with a line in [CHANGELOG.md](../CHANGELOG.md), and what is not listed may change
without one. `help(NAME)` prints arguments, shapes, units and errors. The names of `vrm` itself are loaded when they are
used, so `import vrm` is quick, and each of them has an example in its docstring.

The commands are described by `vrm COMMAND --help`, the keys of a run in [config.md](config.md), the columns of data in
[data.md](data.md), the figures that commands write in [statistics.md](statistics.md), the server in
[serving.md](serving.md). The equations are functions of `vrm.core`, by the numbers of [theory.md](theory.md).
"""

MODULES = (
    "vrm",
    "vrm.choices",
    "vrm.config",
    "vrm.errors",
    "vrm.measures",
    "vrm.labels",
    "vrm.data",
    "vrm.data.recipes",
    "vrm.data.planted",
    "vrm.model",
    "vrm.model.heads.base",
    "vrm.model.heads.registry",
    "vrm.inference",
    "vrm.train.run",
    "vrm.evaluate.preferences",
    "vrm.evaluate.compare",
    "vrm.benchmarks",
    "vrm.benchmarks.sources",
    "vrm.benchmarks.rows",
    "vrm.benchmarks.credits",
    "vrm.audit",
    "vrm.certify",
    "vrm.doctor",
    "vrm.results",
    "vrm.report",
    "vrm.export.directory",
    "vrm.integrations.trl",
    "vrm.integrations.verl",
    "vrm.integrations.rewardbench",
    "vrm.integrations.ray",
    "vrm.client",
    "vrm.metrics",
)
"""Modules whose names are public: those of `__all__`, else all of a package and what other modules define."""


def render() -> str:
    """The whole page."""
    return HEAD + "".join(f"\n{_section(import_module(name))}" for name in MODULES)


def public_names(module: ModuleType) -> list[str]:
    """Public names of a module in alphabetical order."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [name for name, value in vars(module).items() if _is_own(module, name, value)]
    return sorted(names, key=str.lower)


def _is_own(module: ModuleType, name: str, value: object) -> bool:
    if name.startswith("_") or inspect.ismodule(value):
        return False
    if hasattr(module, "__path__"):
        return True
    defined = inspect.isclass(value) or inspect.isfunction(value)
    return defined and getattr(value, "__module__", None) == module.__name__


def _section(module: ModuleType) -> str:
    lines = [f"## `{module.__name__}`", "", _first_line(module), "", "| name | what |", "|---|---|", *_rows(module), ""]
    return "\n".join(lines)


def _rows(module: ModuleType) -> Iterator[str]:
    for name in public_names(module):
        value = getattr(module, name)
        documented = inspect.isclass(value) or inspect.isroutine(value)
        what = _first_line(value) if documented else "A constant or a type."
        yield f"| `{name}` | {what.replace('|', chr(92) + '|')} |"


def _first_line(value: object) -> str:
    return (inspect.getdoc(value) or "").split("\n", 1)[0]


if __name__ == "__main__":
    print(render(), end="")
