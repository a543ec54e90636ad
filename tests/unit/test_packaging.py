"""What the project's files promise, and the conventions that hold for all of its code."""

from __future__ import annotations

import ast
import builtins
import re
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import vrm
from vrm.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = sorted((ROOT / "src").rglob("*.py"))
CODE = [
    *SOURCES,
    *(file for name in ("tests", "studies", "docs", "examples") for file in sorted((ROOT / name).rglob("*.py"))),
]

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 8
REPEATED_LINES = 10

# The one list of exceptions: what, and why. Commands need no entry: their parameters are the command line's options,
# which Typer reads off the signature.
MANY_PARAMETERS = {
    "vrm.model.configuration_vrm.VRMConfig.__init__": "a configuration of transformers: one parameter a stored field",
    "vrm.integrations.trl.reward_function": "what a reward may be asked with, each by its own name, as in `vrm score`",
}
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}
PYTHONS_OWN_ERRORS = {
    "vrm.data.read_text": "raised for the parser that called, which makes a problem of the row out of it",
    "vrm.model.modeling_vrm": "forward without inputs, as the other models of transformers do",
}


def module_name(file: Path) -> str:
    base = ROOT / "src" if file.is_relative_to(ROOT / "src") else ROOT
    return ".".join(file.relative_to(base).with_suffix("").parts).removesuffix(".__init__")


def functions(file: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Functions and methods with their full names."""

    def inside(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        for child in ast.iter_child_nodes(node):
            name = f"{prefix}.{child.name}" if hasattr(child, "name") and isinstance(child, ast.stmt) else prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, child
            yield from inside(child, name)

    return inside(ast.parse(file.read_text(encoding="utf-8")), module_name(file))


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    arguments = function.args
    named = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return [name for name in named if name not in ("self", "cls")]


def is_public(name: str) -> bool:
    return all(not part.startswith("_") or part == "__init__" for part in name.split("."))


# Metadata


def test_a_version_in_the_changelog_has_each_heading_once():
    versions = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)[1:]
    for version in versions:
        headings = re.findall(r"^### .*", version, re.MULTILINE)
        assert len(headings) == len(set(headings)), version.partition("\n")[0]


def test_the_version_is_the_same_everywhere():
    assert PROJECT["project"]["version"] == vrm.__version__
    assert metadata.version("vrm") == vrm.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == vrm.__version__
    assert re.search(
        rf"^## \[?{re.escape(vrm.__version__)}\b", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )


def test_the_oldest_python_is_the_same_everywhere():
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert PROJECT["tool"]["mypy"]["python_version"] == oldest
    assert f"sys.version_info < ({oldest.replace('.', ', ')})" in (ROOT / "Makefile").read_text("utf-8")


def test_files_that_the_metadata_names_are_there():
    named = [PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]]
    assert [name for name in named if not (ROOT / name).is_file()] == []
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")


def test_the_command_is_installed():
    (command,) = metadata.entry_points(group="console_scripts", name="vrm")
    assert callable(command.load())


def requirements() -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    return [
        Requirement(text)
        for text in [*PROJECT["project"]["dependencies"], *(line for lines in extras for line in lines)]
    ]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    found = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in found}


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.name)
def test_the_pinned_version_of_a_dependency_is_an_allowed_one(requirement):
    pinned = pins().get(canonicalize_name(requirement.name))
    assert pinned is not None, f"constraints.txt has no {requirement.name}"
    assert requirement.specifier.contains(pinned, prereleases=True)


def test_everything_that_comes_with_the_dependencies_is_pinned():
    reached, todo = set[str](), [(requirement.name, requirement.extras) for requirement in requirements()]
    while todo:
        name, extras = todo.pop()
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        for line in map(Requirement, lines):
            wanted = line.marker is None or any(line.marker.evaluate({"extra": extra}) for extra in extras or {""})
            if wanted and (line.name, frozenset(line.extras)) not in reached:
                reached.add((line.name, frozenset(line.extras)))
                todo.append((line.name, line.extras))
    assert len(reached) > 20
    assert {canonicalize_name(name) for name, _ in reached} - set(pins()) == set()


def test_pins_name_no_local_build():
    assert [name for name, version in pins().items() if "+" in version] == []


def imported_packages() -> set[str]:
    found = set()
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"vrm"}


def test_every_imported_package_is_a_declared_dependency():
    declared = {canonicalize_name(requirement.name) for requirement in requirements()}
    providers = metadata.packages_distributions()
    assert imported_packages()
    lacking = [
        name
        for name in imported_packages()
        if not declared & {canonicalize_name(provider) for provider in providers.get(name, [name])}
    ]
    assert lacking == []


def test_extras_that_errors_name_exist():
    named = set()
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "MissingExtraError":
                named.add(ast.literal_eval(node.args[1]))
    assert named
    assert named <= set(PROJECT["project"]["optional-dependencies"])


def test_the_makefile_explains_its_targets():
    text = (ROOT / "Makefile").read_text("utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    explained = set(re.findall(r"^#   make ([a-z-]+)", text, re.MULTILINE))
    assert explained >= {"quickstart", "test", "test-all", "lint"}
    assert explained <= set(phony.split())
    printed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(f"make {target} " in printed for target in explained)


def test_the_makefile_names_the_pinned_torch():
    planned = subprocess.run(
        ["make", "-n", "install", "VENV=does-not-exist"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert f"-c constraints.txt torch=={pins()['torch']} -e '.[embedded,doctor,report,trl,serve,client]'" in planned


def test_files_beside_the_code_are_package_data():
    package = ROOT / "src" / "vrm"
    listed = PROJECT["tool"]["setuptools"]["package-data"].items()
    carried = {
        file
        for name, patterns in listed
        for pattern in patterns
        for file in (ROOT / "src" / name.replace(".", "/")).glob(pattern)
    }
    beside = {file for file in package.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")}
    assert beside
    assert beside - carried == set()


# Our own warnings are errors


def test_a_warning_of_ours_fails_a_test():
    from vrm.core.losses import PromptIgnoredWarning

    with pytest.raises(PromptIgnoredWarning):
        warnings.warn("the prompt is ignored", PromptIgnoredWarning, stacklevel=1)


@pytest.mark.parametrize("category", [UserWarning, RuntimeWarning])
def test_a_warning_in_a_module_of_ours_fails_a_test(category):
    with pytest.raises(category):
        warnings.warn_explicit("wrong", category, "trainer.py", 1, module="vrm.train.trainer")


# Sizes


def test_files_are_short():
    lines = {module_name(file): len(file.read_text("utf-8").splitlines()) for file in CODE}
    assert {name for name, count in lines.items() if count >= MAX_FILE_LINES} == set(LONG_FILES)


def test_functions_are_short():
    found = {
        name
        for file in CODE
        for name, function in functions(file)
        if (function.end_lineno or 0) - function.lineno + 1 >= MAX_FUNCTION_LINES
    }
    assert found == set(LONG_FUNCTIONS)


def test_public_functions_have_few_parameters():
    commands = {f"{entry.module}.{entry.function}" for entry in COMMANDS.values()}
    found = {
        name
        for file in SOURCES
        for name, function in functions(file)
        if is_public(name) and len(parameters(function)) > MAX_PARAMETERS
    }
    assert found - commands == set(MANY_PARAMETERS)


def test_no_ten_lines_stand_twice():
    """Blank lines and indentation do not count."""
    places: dict[tuple[str, ...], list[str]] = {}
    for file in SOURCES:
        lines = [(n, text.strip()) for n, text in enumerate(file.read_text("utf-8").splitlines(), 1) if text.strip()]
        for first in range(len(lines) - REPEATED_LINES + 1):
            window = lines[first : first + REPEATED_LINES]
            places.setdefault(tuple(text for _, text in window), []).append(f"{module_name(file)}:{window[0][0]}")
    assert [where for where in places.values() if len(where) > 1] == []


def test_errors_raised_on_purpose_are_of_our_tree():
    pythons = {
        name for name, found in vars(builtins).items() if isinstance(found, type) and issubclass(found, Exception)
    }
    found = set()
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            raised = node.exc if isinstance(node, ast.Raise) else None
            raised = raised.func if isinstance(raised, ast.Call) else raised
            # A module's or object's __getattr__ must raise AttributeError.
            if isinstance(raised, ast.Name) and raised.id in pythons - {"AttributeError"}:
                found.add(module_name(file))
    assert found == set(PYTHONS_OWN_ERRORS)
