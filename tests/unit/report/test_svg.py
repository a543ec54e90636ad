"""Charts as SVG: the page's colours and fonts, harmless labels, the same bytes every time."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib
import pytest

from vrm.errors import MissingExtraError
from vrm.metrics import Interval, ReliabilityBin
from vrm.report.charts import Axes, Bar, Drawer, Line, Reliability

pytestmark = pytest.mark.heavy

NASTY = ["<script>alert(1)</script>", 'a"b & c', "$x^2$", "\\frac", "模型🎈", "a\nb"]


def draw_all():
    names = list(enumerate(NASTY))
    lines = [Line(name, [0, 1], [0.1, 0.2], [0.0, 0.1], [0.2, 0.3], place) for place, name in names]
    bars = [Bar(name, Interval(place - 2.0, place - 3.0, place - 1.0, 0.95), place) for place, name in names]
    part = ReliabilityBin(0.5, 0.7, 0.6, Interval(0.4, 0.3, 0.5, 0.95), 9)
    with Drawer.open() as draw:
        return [
            draw.lines(lines, Axes("x", "y", percent=True), NASTY[0]),
            draw.lines([Line("", [1.0], [math.nan], series=None)], Axes("x", "y"), "one point, no value"),
            draw.bars(bars, "x", "bars"),
            draw.points(bars, "x", "points", "", [0.5, math.nan]),
            draw.reliability([Reliability(name, [part], [0.5, 1.0], [9], place) for place, name in names], "many"),
            draw.reliability([Reliability(NASTY[0], [part], [], [])], "one"),
        ]


def test_charts_are_well_formed_and_harmless():
    for chart in draw_all():
        root = ElementTree.fromstring(chart.svg)
        assert root.tag == "svg"
        assert root.get("viewBox")
        assert root.get("width") is None
        assert root.get("aria-label") == chart.title
        assert {element.tag for element in root.iter()} <= {
            "svg",
            "g",
            "path",
            "defs",
            "clipPath",
            "rect",
            "use",
            "text",
        }
        assert not re.search(r"http|xlink|<script|DejaVu|on\w+=", chart.svg)


def test_labels_are_there_as_text():
    texts = [element.text for element in ElementTree.fromstring(draw_all()[0].svg).iter("text")]
    for name in NASTY[:5]:
        assert name in texts
    assert "a b" in texts  # one line


def test_colours_are_the_pages():
    svg = draw_all()[0].svg
    assert set(re.findall(r"#[0-9a-fA-F]{3,6}\b", re.sub(r'(href|id)="[^"]*"|url\([^)]*\)', "", svg))) == set()
    assert {"var(--ink)", "var(--line)", "var(--series-0)", "var(--series-5)"} <= set(re.findall(r"var\([^)]*\)", svg))


def test_ids_are_used_and_differ_between_charts():
    seen = set()
    for chart in draw_all():
        ids = set(re.findall(r'\bid="([^"]*)"', chart.svg))
        used = set(re.findall(r'href="#([^"]*)"', chart.svg)) | set(re.findall(r"url\(#([^)]*)\)", chart.svg))
        assert ids == used
        assert not ids & seen
        seen |= ids


def test_the_same_charts_are_the_same_bytes():
    assert [chart.svg for chart in draw_all()] == [chart.svg for chart in draw_all()]


def test_labels_at_the_left_have_room():
    with Drawer.open() as draw:
        chart = draw.lines([Line("a", list(range(9)), [0.05 + 0.02 * x for x in range(9)])], Axes("step", ""), "t")
    ends = [
        float(found.get("x")) - 6.0 * len(found.text)
        for found in ElementTree.fromstring(chart.svg).iter("text")
        if "end" in found.get("style", "")
    ]
    assert ends
    assert min(ends) > -2.0


def test_settings_of_the_caller_come_back():
    before = dict(matplotlib.rcParams)
    draw_all()
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vrm\[report\]'"), Drawer.open():
        pass


def test_reading_inputs_loads_neither_matplotlib_nor_torch():
    code = (
        "import sys, vrm.report; "
        "print([name for name in ('matplotlib', 'torch', 'transformers') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
