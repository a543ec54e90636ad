"""From a matplotlib figure to SVG that takes its colours and fonts from the page around it.

Figures are drawn in placeholder colours; here these become CSS variables, so that one drawing serves light, dark and
print. Ids are numbered by chart, names are without namespaces, and nothing of the date or the machine is left in: the
same figure gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

from vrm.errors import MissingExtraError

INK, MUTED, GRID = "#000001", "#000002", "#000003"
SERIES = tuple(f"#0000{index:02x}" for index in range(16, 24))
"""Placeholders of the colours of series; the page defines as many."""

VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line"} | {
    colour: f"--series-{index}" for index, colour in enumerate(SERIES)
}

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vrm",
    "text.parse_math": False,
    "text.usetex": False,
    "text.color": INK,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 12,
    "figure.dpi": 72,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "legend.labelcolor": INK,
    "patch.linewidth": 0,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Settings under which figures are made and written; the settings of the caller come back afterwards.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    import logging

    try:
        import matplotlib
    except ModuleNotFoundError:
        raise MissingExtraError("matplotlib", "report", "vrm report") from None
    fonts = logging.getLogger("matplotlib.font_manager")
    level = fonts.level
    # A name in a script that the layout's font lacks is drawn by the browser's fonts all the same.
    fonts.setLevel(logging.ERROR)
    try:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS)
            yield
    finally:
        fonts.setLevel(level)


def new_figure(width: float, height: float) -> Any:
    """A figure of this many pixels at full size; smaller screens scale it."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), layout="constrained")


def to_svg(figure: Any, prefix: str, title: str) -> str:
    """The figure as an `<svg>` element for a page.

    Args:
        figure: made inside `drawing`.
        prefix: of its ids, another one for each chart of a page.
        title: what it shows, for those who cannot see it.
    """
    import warnings

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # Twice: a first layout may change what the ticks say, and so how wide they are. Then no more: it is slow.
        for _ in range(2):
            figure.get_layout_engine().execute(figure)
        figure.set_layout_engine("none")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(buffer.getvalue())
    kept = _referenced(root)
    _clean(root, prefix, kept)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", title)
    return ElementTree.tostring(root, encoding="unicode")


def _referenced(root: ElementTree.Element) -> set[str]:
    """Ids that something refers to; no others are kept."""
    names: set[str] = set()
    for element in root.iter():
        for name, value in element.attrib.items():
            if name.endswith("href"):
                names.add(value.removeprefix("#"))
            names.update(re.findall(r"url\(#([^)]+)\)", value))
    return names


def _clean(element: ElementTree.Element, prefix: str, kept: set[str]) -> None:
    element.tag = _local(element.tag)
    element.tail = None
    if element.tag != "text":
        element.text = None
    attributes = dict(element.attrib)
    element.attrib.clear()
    for name, value in attributes.items():
        local = _local(name)
        if local == "id":
            if value not in kept:
                continue
            value = f"{prefix}-{value}"
        elif local == "href":
            value = f"#{prefix}-{value.removeprefix('#')}"
        elif local == "style":
            value = _style(value)
        elif local == "transform" and value.startswith("rotate(-0 "):
            continue
        element.set(local, re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", value))
    for child in list(element):
        if _local(child.tag) in ("metadata", "style"):
            element.remove(child)
        else:
            _clean(child, prefix, kept)
    for child in list(element):
        if child.tag == "defs" and not len(child):
            element.remove(child)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _style(declarations: str) -> str:
    """Colours as variables, and no font family: text is in the page's."""
    for colour, variable in VARIABLES.items():
        declarations = declarations.replace(colour, f"var({variable})")
    return re.sub(r"font-family: [^;]*;? ?", "", declarations)
