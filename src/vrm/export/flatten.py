"""The modeling code as flat sibling files, as `trust_remote_code` needs them.

Nothing is listed by hand. Imports are followed from one module, and of every module that is reached only the
definitions that are used travel: training losses stay at home. `from vrm.core.posteriors import Posteriors` becomes
`from .core_posteriors import Posteriors`: transformers copies single-dot siblings, and nothing else.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import groupby, takewhile
from pathlib import Path

from vrm import __version__
from vrm.errors import ModelError

PACKAGE = "vrm"
MAIN_PART = "model"
"""Modules of this part keep their names; those of others are prefixed with their part's."""

OTHER_PACKAGES = {"torch", "transformers", "numpy", "huggingface_hub"}
"""What exported code may import beside the standard library: transformers, and what it itself cannot do without."""

LINE_LENGTH = 120

HEADER = """# Copyright The VRM authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

# The parts of {module} (vrm {version}) that this model needs, written by `vrm export --remote-code`.

"""


def flat_name(module: str) -> str:
    """File name, without its ending, of a module: `vrm.model.heads` is `heads`, `vrm.core.losses` is `core_losses`."""
    parts = module.split(".")[1:]
    return "_".join(parts[1:] if parts[0] == MAIN_PART and len(parts) > 1 else parts)


def flatten(entries: Mapping[str, Sequence[str]], sources: Mapping[str, str] | None = None) -> dict[str, str]:
    """Source files that hold some definitions and everything of this package that they need.

    Args:
        entries: {dotted module: names that must be there}.
        sources: {dotted module: text to take in place of its file's}.

    Returns:
        {file name: source}; the files import one another with a single dot, and other packages as before.

    Raises:
        ModelError: for an import that cannot be rewritten, or a name that does not exist.
    """
    modules: dict[str, _Module] = {}
    todo = [(module, name) for module, names in entries.items() for name in names]
    while todo:
        module, name = todo.pop()
        if module not in modules:
            modules[module] = _Module(module, (sources or {}).get(module))
        todo += modules[module].keep(name)
    files: dict[str, str] = {}
    for module, found in modules.items():
        file = f"{flat_name(module)}.py"
        if file in files:
            raise ModelError(f"two modules would be exported as {file}; one of them is {module}: rename it")
        files[file] = found.render()
    return dict(sorted(files.items()))


class _Module:
    """One source module, and which of its top-level statements are kept."""

    def __init__(self, name: str, source: str | None = None) -> None:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ModelError(f"{name} has no source file that could be exported")
        self.name = name
        self.source = source or Path(spec.origin).read_text(encoding="utf-8")
        self.statements = ast.parse(self.source).body
        self.kept: set[int] = set()
        self.imported: set[str] = set()
        self._bound = {name: index for index, node in enumerate(self.statements) for name in _bound_names(node)}
        self._started = False

    def keep(self, name: str) -> list[tuple[str, str]]:
        """Keep a definition and what it uses of its module; (module, name) of what it uses of others."""
        found = []
        if not self._started:
            self._started = True
            for index, node in enumerate(self.statements):
                if _acts(node, index):
                    found += self._keep_statement(index)
        if name not in self._bound:
            raise ModelError(f"{self.name} has no top-level name {name!r}, which another exported module imports")
        return found + self._keep_name(name)

    def _keep_name(self, name: str) -> list[tuple[str, str]]:
        index = self._bound.get(name)
        if index is None:
            return []
        node = self.statements[index]
        if not isinstance(node, ast.Import | ast.ImportFrom):
            return self._keep_statement(index)
        if name in self.imported:
            return []
        self.imported.add(name)
        self.kept.add(index)
        return [
            (module, original) for module, original in _own_imports(self.name, node) if _alias(node, original) == name
        ]

    def _keep_statement(self, index: int) -> list[tuple[str, str]]:
        if index in self.kept:
            return []
        self.kept.add(index)
        node = self.statements[index]
        found = []
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name):
                found += self._keep_name(inner.id)
            elif isinstance(inner, ast.Import | ast.ImportFrom):
                found += _own_imports(self.name, inner)
        return found

    def render(self) -> str:
        """Header, docstring and kept statements, imports rewritten; comments above a statement stay with it."""
        lines = self.source.splitlines()
        text, previous = HEADER.format(module=self.name, version=__version__), 0
        for index, node in enumerate(self.statements):
            if index not in self.kept and not self._documents(index):
                continue
            start, end = _first_line(node), node.end_lineno or node.lineno
            gap = lines[previous : start - 1]
            comments = [] if self._documents(index) else _comments(gap)
            text += "\n".join([*_blank_lines(gap), *comments, *self._rewritten(index, lines[start - 1 : end], start)])
            text, previous = text + "\n", end
        return text

    def _documents(self, index: int) -> bool:
        """Whether a statement is the text under a kept constant."""
        return _is_text(self.statements[index]) and index > 0 and index - 1 in self.kept

    def _rewritten(self, index: int, lines: list[str], start: int) -> list[str]:
        node = self.statements[index]
        if isinstance(node, ast.Import | ast.ImportFrom) and not _is_future(node):
            node.names = [alias for alias in node.names if _bound_name(alias) in self.imported]
        edits = [inner for inner in ast.walk(node) if isinstance(inner, ast.Import | ast.ImportFrom)]
        for inner in sorted(edits, key=lambda found: found.lineno, reverse=True):
            if _target(self.name, inner) is not None or inner is node:
                first, last = inner.lineno - start, (inner.end_lineno or inner.lineno) - start
                lines[first : last + 1] = _import_lines(self.name, inner)
        return lines


def _acts(node: ast.stmt, index: int) -> bool:
    """Whether a top-level statement must stay though nothing refers to it: docstring, `__future__`, registrations."""
    if _is_text(node):
        return index == 0
    if isinstance(node, ast.ImportFrom):
        return _is_future(node)
    if isinstance(node, ast.Assign):
        # TABLE["x"] = ... changes what another statement defined.
        return any(not isinstance(part, ast.Name | ast.Tuple) for part in node.targets)
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return False
    return not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.AnnAssign | ast.Import)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _bound_name(alias: ast.alias) -> str:
    return alias.asname or alias.name.split(".")[0]


def _bound_names(node: ast.stmt) -> Iterator[str]:
    """Names that a top-level statement defines in its module."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    else:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                yield inner.id
            elif isinstance(inner, ast.Import | ast.ImportFrom):
                yield from map(_bound_name, inner.names)


def _target(module: str, node: ast.Import | ast.ImportFrom) -> str | None:
    """The module of this package that an import statement reads; None for other packages'.

    Raises:
        ModelError: if it imports a module as a name, which siblings cannot.
    """
    if isinstance(node, ast.Import):
        targets = [alias.name for alias in node.names]
    else:
        base = module.rsplit(".", node.level)[0] if node.level else ""
        targets = [".".join(part for part in (base, node.module) if part)]
    packages = {target.split(".")[0] for target in targets}
    if PACKAGE not in packages:
        if packages - OTHER_PACKAGES - sys.stdlib_module_names:
            raise ModelError(f"{module}, line {node.lineno}: `{ast.unparse(node)}`: exported code cannot rely on that")
        return None
    spec = find_spec(targets[0])
    if isinstance(node, ast.Import) or spec is None or spec.submodule_search_locations is not None:
        raise ModelError(
            f"{module}, line {node.lineno}: `{ast.unparse(node)}` cannot be exported; "
            "import names from the module that defines them"
        )
    return targets[0]


def _own_imports(module: str, node: ast.Import | ast.ImportFrom) -> list[tuple[str, str]]:
    target = _target(module, node)
    return [] if target is None else [(target, alias.name) for alias in node.names]


def _alias(node: ast.Import | ast.ImportFrom, name: str) -> str:
    return next(alias.asname or alias.name for alias in node.names if alias.name == name)


def _import_lines(module: str, node: ast.Import | ast.ImportFrom) -> list[str]:
    target = _target(module, node)
    indent = " " * node.col_offset
    if target is not None:
        node = ast.ImportFrom(flat_name(target), node.names, level=1)
    text = indent + ast.unparse(node)
    if len(text) <= LINE_LENGTH:
        return [text]
    names = [f"{indent}    {ast.unparse(alias)}," for alias in node.names]
    return [f"{text[: text.index(' import ')]} import (", *names, f"{indent})"]


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _comments(gap: list[str]) -> list[str]:
    """Comment lines directly above a statement."""
    return list(takewhile(lambda line: line.startswith("#"), reversed(gap)))[::-1]


def _blank_lines(gap: list[str]) -> list[str]:
    """As many blank lines as stood between two statements at most, with or without others between them."""
    longest = max((len(list(run)) for blank, run in groupby(gap, lambda line: not line) if blank), default=0)
    return [""] * longest
