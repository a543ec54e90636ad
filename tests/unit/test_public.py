"""The public surface: the names of `vrm`, their examples, and docs/reference.md."""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import vrm

DOCS = Path(__file__).parents[2] / "docs"

# Frozen: programs import these. A change needs a line in CHANGELOG.md.
NAMES = [
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


def test_the_names_are_frozen():
    assert sorted(vrm.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(vrm))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'vrm' has no attribute 'RewardMotor'"):
        vrm.RewardMotor  # noqa: B018


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(vrm.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert set(seen) == set(NAMES) - {"__version__", "register"}
    for name, module in seen.items():
        assert getattr(importlib.import_module(module), name) is getattr(vrm, name)


def test_the_list_of_names_loads_nothing_heavy():
    code = "import vrm, sys; dir(vrm), vrm.VrmError, vrm.load_config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def place(tiny_model_dir, tiny_encoder_backbone, tmp_path, monkeypatch) -> Path:
    """A directory with the files that the examples name."""
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "model").symlink_to(tiny_model_dir)
    rows = [{"prompt": f"Name tree {n}.", "chosen": f"Oak {n}", "rejected": f"Granite {n}"} for n in range(12)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = {
        "output_dir": "runs/first",
        "data": {"train": "pairs.jsonl"},
        "model": {"backbone": str(tiny_encoder_backbone), "max_input_tokens": 64},
        "train": {"epochs": 1, "evals": 1},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [name for name in NAMES if name != "__version__"])
@pytest.mark.usefixtures("place")
def test_every_name_has_an_example_that_runs(name):
    test = doctest.DocTestParser().get_doctest(getattr(vrm, name).__doc__, {}, name, None, None)
    printed: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=printed.append)
    assert result.attempted
    assert not result.failed, "".join(printed)
    assert any("vrm" in example.source for example in test.examples)


@pytest.fixture(scope="module")
def generator(page_generator) -> ModuleType:
    return page_generator("reference")


def test_the_reference_has_the_names_that_are_public(generator):
    """Names alone, so that a docstring may be reworded without writing the page anew."""

    def names(text: str) -> dict[str, list[str]]:
        sections = re.split(r"^## `([\w.]+)`$", text, flags=re.MULTILINE)[1:]
        return {
            module: re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE)
            for module, rows in zip(sections[::2], sections[1::2], strict=True)
        }

    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert names(page) == names(generator.render()), "docs/reference.md is out of date; run `make docs`"


def test_the_reference_lists_every_package_that_names_what_is_public(generator):
    """A package with `__all__` promises its names, so the page has it."""
    source = Path(vrm.__file__).parent
    packages = {
        ".".join(("vrm", *file.parent.relative_to(source).parts))
        for file in source.glob("*/__init__.py")
        if re.search(r"^__all__", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert packages <= set(generator.MODULES)


def test_every_public_name_says_what_it_is(generator):
    silent = [row for row in generator.render().splitlines() if re.fullmatch(r"\| `\w+` \|  \|", row)]
    assert silent == []
