"""Formulas as drawings in the page: no script, no font and no network; their LaTeX is what a screen reader says."""

from __future__ import annotations

import re
from functools import cache
from html import escape
from typing import Any

import ziamath
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

SIZE = 20.0
"""Of the letters in a drawing's own units; the page shows them as large as its text."""

BRACED = re.compile(r"(\\math(?:bb|bf|cal|rm)) (\w)")
"""A letter after the name of an alphabet; the library finds it in braces only."""

ziamath.config.precision = 1
ziamath.config.svg2 = False  # drawings that share glyphs by id lose them where a reader's copy leaves one out


@cache
def drawing(latex: str, inline: bool) -> str:
    """A formula as an SVG element that sits on the line of its text.

    Raises:
        ExtensionError: where it cannot be read.
    """
    try:
        svg = ziamath.Latex(BRACED.sub(r"\1{\2}", latex), size=SIZE, color="currentColor", inline=inline).svgxml()
    except Exception as error:
        raise ExtensionError(f"the formula {latex!r} cannot be read: {type(error).__name__}") from error
    _, top, width, height = (float(value) / SIZE for value in svg.attrib["viewBox"].split())
    attributes = {
        "viewBox": svg.attrib["viewBox"],
        "role": "img",
        "aria-label": latex,
        "style": f"width:{width:.3f}em;height:{height:.3f}em;vertical-align:{-(height + top):.3f}em",
    }
    paths = "".join(f'<path d="{path.attrib["d"]}"/>' for path in svg.iter() if path.tag.endswith("path"))
    lines = "".join(_line(part.attrib) for part in svg.iter() if part.tag.endswith("rect"))
    listed = " ".join(f'{name}="{escape(value)}"' for name, value in attributes.items())
    return f'<svg class="math" fill="currentColor" {listed}>{paths}{lines}</svg>'


def _line(rect: Any) -> str:
    return "<rect {} />".format(" ".join(f'{name}="{rect[name]}"' for name in ("x", "y", "width", "height")))


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(drawing(node.astext().strip(), True))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{drawing(node.astext().strip(), False)}</div>\n')
    raise nodes.SkipNode


def _nothing(translator: Any, node: nodes.Element) -> None:
    """A formula has been drawn when it was entered."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_html_math_renderer("drawn", inline_renderers=(_inline, _nothing), block_renderers=(_block, _nothing))
    app.config.html_math_renderer = "drawn"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
