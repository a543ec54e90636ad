"""Style measures against counts made by hand."""

import math
from pathlib import Path

import pytest

from vrm.config import NuisanceConfig
from vrm.data.style import STYLE_MEASURES, plain_text, says_nothing, style_measures, text_length
from vrm.measures import StyleMeasure

MARKED_UP = "# Title\n\nSome **bold** and __more__ words.\n- one\n2) two\n* **three**\nEnd"


def test_counts_of_a_marked_up_text():
    measured = dict(zip(STYLE_MEASURES, style_measures(MARKED_UP), strict=True))
    assert measured["log_length"] == pytest.approx(math.log1p(len(MARKED_UP)))
    assert measured["list_density"] == 3 / 6
    assert measured["heading_density"] == 1 / 6
    assert measured["bold_density"] == 3 / 6


@pytest.mark.parametrize("text", ["", "  \n ", [], [{"role": "assistant", "content": None}]])
def test_empty_texts_measure_zero(text):
    assert style_measures(text) == [0.0] * len(STYLE_MEASURES)


def test_a_measure_is_one_member_that_the_configuration_offers():
    page = (Path(__file__).parents[3] / "docs" / "nuisance.md").read_text(encoding="utf-8")
    assert f"# any of {', '.join(StyleMeasure)};" in page, "docs/nuisance.md lists the measures"
    for measure in StyleMeasure:
        assert measure.of(MARKED_UP) >= measure.of("") == 0
        assert NuisanceConfig(measures=[measure.value]).measures == [measure]
    assert tuple(StyleMeasure) == STYLE_MEASURES


def test_plain_prose_has_no_marks_up():
    # A product, a hash tag, a dash and a year at the start of lines are no mark-up.
    text = "3 ** 2 ** 2\n#tag\n-dash\n1999 was a year.\nwell-known - they say"
    marks = (StyleMeasure.LIST_DENSITY, StyleMeasure.HEADING_DENSITY, StyleMeasure.BOLD_DENSITY)
    assert [measure.of(text) for measure in marks] == [0.0, 0.0, 0.0]


def test_messages_measure_as_their_joined_contents():
    parts = [{"type": "text", "text": "- two"}, {"type": "image", "url": "x"}]
    messages = [{"role": "assistant", "content": "one"}, {"role": "assistant", "content": parts}]
    assert plain_text(messages) == "one\n\n- two"
    assert style_measures(messages) == style_measures("one\n\n- two")


def test_lengths_are_characters_of_what_is_said():
    assert text_length("four") == 4
    assert text_length([{"role": "assistant", "content": "ab"}, {"role": "tool", "content": None}]) == 2
    parts = [{"type": "text", "text": "abc"}, {"type": "image"}]
    assert text_length([{"role": "assistant", "content": parts}, {"role": "assistant", "content": "d"}]) == 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "\u200b",
        "\u200c\u200d\u2060",
        "\u200e\u200f\u202a\u202e\u2066\u2069\u061c",
        "\ufeff \u00ad\u180e",
        "\u3164\u115f\uffa0\u2800",
        "\ufe0f\U000e0041\U000e0100",
        "\u00a0\u2003\u3000",
    ],
)
def test_invisible_characters_say_nothing(text):
    assert says_nothing(text)
    assert not says_nothing(text + "x")
    assert not says_nothing("。" + text)


@pytest.mark.parametrize("text", ["👨\u200d👩", "❤\ufe0f", "\u0601", "\u0301", "-", "0", "می\u200cشود"])
def test_what_prints_says_something(text):
    assert not says_nothing(text)
