"""docs/dependencies.md against what it is written from; versions and licences are those of whoever writes it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
ROWS = {
    name.strip("*"): [cell.strip() for cell in rest.split("|")]
    for name, rest in re.findall(r"^\| (\S+) \|(.*)\|$", PAGE, re.MULTILINE)
    if name != "package"
}


def test_every_named_dependency_has_a_row_with_its_bound_and_what_needs_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    parts = {"the package itself": project["dependencies"], **project["optional-dependencies"]}
    for part, lines in parts.items():
        for requirement in map(Requirement, lines):
            allowed, _, _, needed_by = ROWS[canonicalize_name(requirement.name)]
            assert allowed == str(requirement.specifier)
            assert {part, "the package itself"} & set(needed_by.split(", ")), requirement.name


def test_every_row_has_the_version_of_the_constraints_and_a_licence():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    assert len(ROWS) > 100
    assert {name: row[1] for name, row in ROWS.items()} == {name: pinned[name] for name in ROWS}
    assert all(row[2] for row in ROWS.values())
