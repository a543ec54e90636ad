"""Pages that are not in `docs/`: one for each public module, from its docstrings, and those of the repository's root.

Links from a page to a file outside of `docs/` lead to that file's page here where it has one, else to its place in the
repository, which the page names as text.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from generate_reference import MODULES, public_names
from sphinx.application import Sphinx

HERE = Path(__file__).parents[1]
ROOT = HERE.parent
WRITTEN = HERE / "written"
"""What is written here when the site is built; git does not keep it."""

ROOT_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"(?<!\!)\[((?:[^\]\[]|\[[^\]]*\])*)\]\(([^):#\s]+)(#[^)\s]*)?\)")
AGAIN = ("vrm", "vrm.audit", "vrm.doctor")
"""Modules that repeat names of other modules, where the index finds them."""

API_HEAD = """\
# API

Public modules, with arguments, shapes, units and errors. [All names on one page](../reference.md).

"""


def api_page(name: str) -> str:
    """Markdown of one module's page: its docstring and its public names, in alphabetical order."""
    module = import_module(name)
    members = ", ".join(public_names(module))
    options = [f"   :members: {members}", *(["   :no-index:"] if name in AGAIN else [])]
    return "\n".join([f"# {name}", "", "```{eval-rst}", f".. automodule:: {name}", *options, "```", ""])


def pages() -> dict[str, str]:
    """Pages by file name, as Markdown."""
    found = {f"{name}.md": api_page(name) for name in MODULES}
    found["api.md"] = API_HEAD + "\n".join(["```{toctree}", ":maxdepth: 1", "", *MODULES, "```", ""])
    for name in ROOT_PAGES:
        text = (ROOT / name).read_text(encoding="utf-8")
        found[name.lower()] = pointed(text, ROOT, WRITTEN)
    return found


def write(app: Sphinx) -> None:
    """Write the pages; one that has not changed keeps its time, so that a second build is short."""
    WRITTEN.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = WRITTEN / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def pointed(text: str, folder: Path, place: Path) -> str:
    """Markdown whose links to files lead to the site's pages, and are text where a file has none.

    Args:
        text: of a page.
        folder: where its links begin.
        place: the folder of the site's page.
    """

    def link(found: re.Match[str]) -> str:
        words, target, anchor = found.group(1), found.group(2), found.group(3) or ""
        path = (folder / target).resolve()
        inside = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else target
        page = WRITTEN / inside.lower() if inside in ROOT_PAGES else path
        if page.is_relative_to(HERE) and page.suffix in (".md", ".png"):
            return f"[{words}]({os.path.relpath(page, place)}{anchor})"
        return words if Path(inside).name in words else f"{words} (`{inside}`)"

    return LINK.sub(link, text)


def point_inside(app: Sphinx, name: str, source: list[str]) -> None:
    """Links of a page that is being read."""
    folder = (HERE / name).parent
    if folder != WRITTEN:
        source[0] = pointed(source[0], folder, folder)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("builder-inited", write)
    app.connect("source-read", point_inside)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
