"""Modules become flat siblings that hold what is used and nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from vrm.errors import ModelError
from vrm.export.directory import model_code
from vrm.export.flatten import OTHER_PACKAGES, flat_name, flatten


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package named vrm in place of ours, of the files given."""
    ours = {name: module for name, module in sys.modules.items() if name == "vrm" or name.startswith("vrm.")}

    def write(files: dict[str, str]) -> None:
        for name, text in {"__init__.py": "", "model/__init__.py": "", "core/__init__.py": "", **files}.items():
            file = tmp_path / "vrm" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        for name in ours:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(tmp_path)

    yield write
    for name in [name for name in sys.modules if name == "vrm" or name.startswith("vrm.")]:
        del sys.modules[name]
    sys.modules.update(ours)


def bodies(files: dict[str, str]) -> dict[str, str]:
    """Sources below the licence and the line that says where they are from."""
    return {name: text.split("--remote-code`.\n\n")[1] for name, text in files.items()}


def test_the_model_needs_transformers_and_what_it_needs_alone():
    files = model_code()
    assert {"configuration_vrm.py", "modeling_vrm.py"} <= set(files)
    packages, siblings = set(), set()
    for text in files.values():
        assert text.startswith("# Copyright The VRM authors\n")
        assert 'Licensed under the Apache License, Version 2.0 (the "License")' in text
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                packages |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level in (0, 1)
                (siblings if node.level else packages).add(str(node.module).split(".")[0])
    assert {"torch", "transformers"} <= packages - sys.stdlib_module_names <= OTHER_PACKAGES
    assert {f"{name}.py" for name in siblings} <= set(files)


def test_every_name_in_the_exported_code_is_defined(tmp_path):
    for name, text in model_code().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F,E9", "--line-length", "120"]
    result = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_only_what_is_used_travels(package):
    package(
        {
            "model/main.py": '"""M."""\n\nfrom vrm.core.maths import double\n\n\ndef run(x):\n    return double(x)\n',
            "core/maths.py": (
                '"""Maths."""\n\nimport math\nimport pandas\n\nTWO = 2\n"""Two."""\n\nTHREE = 3\n\n\n'
                "# Why.\ndef double(x):\n    return TWO * _same(x)\n\n\n"
                "def triple(x):\n    return pandas.int(3) * x\n\n\ndef _same(x):\n    return math.floor(x)\n"
            ),
        }
    )
    assert bodies(flatten({"vrm.model.main": ["run"]})) == {
        "main.py": '"""M."""\n\nfrom .core_maths import double\n\n\ndef run(x):\n    return double(x)\n',
        "core_maths.py": (
            '"""Maths."""\n\nimport math\n\nTWO = 2\n"""Two."""\n\n\n'
            "# Why.\ndef double(x):\n    return TWO * _same(x)\n\n\ndef _same(x):\n    return math.floor(x)\n"
        ),
    }


def test_imports_inside_functions_and_blocks_are_followed(package):
    package(
        {
            "model/main.py": (
                "from vrm.model.other import A as B, C\n\n\ndef run():\n"
                "    from vrm.core.late import D\n\n    return B, D\n\n\nTABLE = {}\nTABLE['x'] = C\n\n"
                "if not TABLE:\n    from vrm.core.late import E\n"
            ),
            "model/other.py": "A = 1\nC = 2\nZ = 3\n",
            "core/late.py": "D = 1\nE = 2\nZ = 3\n",
        }
    )
    files = bodies(flatten({"vrm.model.main": ["run"]}))
    assert files["main.py"] == (
        "from .other import A as B, C\n\n\ndef run():\n    from .core_late import D\n\n    return B, D\n\n\n"
        "TABLE = {}\nTABLE['x'] = C\n\nif not TABLE:\n    from .core_late import E\n"
    )
    assert files["other.py"] == "A = 1\nC = 2\n"
    assert files["core_late.py"] == "D = 1\nE = 2\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import vrm.core.a\n\n\ndef run():\n    return vrm.core.a\n", "cannot be exported"),
        ("from vrm.core import a\n\n\ndef run():\n    return a\n", "cannot be exported"),
        ("from vrm.core.a import missing\n\n\ndef run():\n    return missing\n", "no top-level name 'missing'"),
        ("def run():\n    import pydantic\n    return pydantic\n", "cannot rely on"),
        ("import pandas\n\n\ndef run():\n    return pandas\n", "cannot rely on"),
    ],
)
def test_what_a_flat_directory_cannot_carry_is_an_error(package, text, reason):
    package({"model/main.py": text, "core/a.py": ""})
    with pytest.raises(ModelError, match=reason):
        flatten({"vrm.model.main": ["run"]})


def test_two_modules_of_one_flat_name_are_an_error(package):
    package({"model/core_a.py": "from vrm.core.a import B\nC = B\n", "core/a.py": "B = 1\n"})
    with pytest.raises(ModelError, match=r"exported as core_a\.py"):
        flatten({"vrm.model.core_a": ["C"]})


def test_flat_names():
    assert flat_name("vrm.model.heads") == "heads"
    assert flat_name("vrm.core.losses") == "core_losses"
    assert flat_name("vrm.errors") == "errors"
