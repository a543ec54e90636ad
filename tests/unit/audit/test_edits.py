"""Every edit on texts written by hand, and the units that edits are made of."""

from __future__ import annotations

import re
import subprocess
import sys
from random import Random

import pytest

from vrm.audit.edits import EDITS, LOWER, NOT_RAISE, Edit, EditContext, edit_random, select_edits
from vrm.audit.wording import CONFIDENCE, EMOJI, EXPERTISE, FLATTERY, PADDING
from vrm.data.units import join_units, paragraphs, split_units
from vrm.errors import ConfigError

CODE = '```python\nx = 1  # one. Two. Three.\n\nprint("so. It ends")\n```'
PROSE = "Cut the bread. Warm the butter. Spread it thinly. Eat it now."
MIXED = f"Run this first. It takes a while.\n\n{CODE}\nThen look at the output. Is it right? Good."
STEPS = "Do this:\n\n1. Open the box.\n2. Read the manual.\n3. Plug it in.\n4. Wait."
BULLETS = "You need:\n\n- bread\n- butter\n- salt"
UNCLOSED = "Look here.\n\n```\nx = 1"


def apply(name, text, seed=0, other=None):
    return EDITS[name].apply(text, EditContext(Random(seed), other))


def bodies(text):
    return [unit.body for unit in split_units(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PROSE, ["Cut the bread.", "Warm the butter.", "Spread it thinly.", "Eat it now."]),
        ("Ask Dr. Meier, e.g. today. It costs 3.5 dollars. approx. five", None),
        ("Call `a. B. c` now. Then stop.", ["Call `a. B. c` now.", "Then stop."]),
        ("One line\nruns on. Next.\nAnother Line", ["One line\nruns on.", "Next.", "Another Line"]),
        ("これは一つ。これは二つ。", ["これは一つ。", "これは二つ。"]),
        (STEPS, ["Do this:", "Open the box.", "Read the manual.", "Plug it in.", "Wait."]),
        ("# Head. Line\n| a. B | c |\nText.", ["# Head. Line", "| a. B | c |", "Text."]),
        (f"A b.\n{CODE}\n\nC d.", ["A b.", CODE, "C d."]),
        (UNCLOSED, ["Look here.", "```\nx = 1"]),
        (" \n\t ", []),
    ],
)
def test_units(text, expected):
    if expected is None:
        expected = ["Ask Dr. Meier, e.g. today.", "It costs 3.5 dollars. approx. five"]
    assert bodies(text) == expected
    assert not text.strip() or join_units(split_units(text)) == text


def test_paragraphs():
    found = [join_units(group) for group in paragraphs(split_units(MIXED))]
    assert found == [
        "Run this first. It takes a while.\n\n",
        CODE + "\n",
        "Then look at the output. Is it right? Good.",
    ]


def test_padding_adds_three_tenths_of_empty_sentences_in_a_paragraph_of_their_own():
    long = " ".join([PROSE] * 10)
    for text, least in ((PROSE, 3), (long, 4)):
        result = apply("padding", text)
        kept, added = result[: len(text)], result[len(text) :]
        assert kept == text
        assert added.startswith("\n\n")
        used = [sentence for sentence in PADDING if sentence in added]
        assert len(" ".join(used)) == len(added) - 2
        assert len(used) >= least
        assert len(added) >= 0.3 * len(text)
    everything = apply("padding", " ".join([PROSE] * 100))
    assert all(everything.count(sentence) == 1 for sentence in PADDING)


def test_repetition():
    assert apply("repetition", "One.\n\nTwo. Three.\n") == "One.\n\nTwo. Three.\n\nTwo. Three."
    assert apply("repetition", f"One.\n\n{CODE}") == f"One.\n\n{CODE}\n\n{CODE}"
    assert apply("repetition", PROSE) is None


def test_headings():
    assert apply("headings", PROSE) == f"## Overview\n\n{PROSE}"
    assert apply("headings", "A b.\n\nC d.\n\nE f.") == (
        "## Overview\n\nA b.\n\n## Details\n\nC d.\n\n## Conclusion\n\nE f."
    )
    assert apply("headings", MIXED) == (
        f"## Overview\n\nRun this first. It takes a while.\n\n{CODE}\n\n## Details\n\n"
        "Then look at the output. Is it right? Good."
    )
    assert apply("headings", "# There\n\nIs one.") is None
    assert apply("headings", CODE) is None


def test_bold():
    result = apply("bold", " ".join([PROSE] * 10))
    marked = re.findall(r"\*\*(\w+)\*\*", result)
    assert len(marked) == 5  # of 50 words of four letters or more
    assert re.sub(r"\*\*", "", result) == " ".join([PROSE] * 10)
    assert apply("bold", "Try `some long code here` at https://example.org/page $alpha beta$ now!") is None
    assert apply("bold", "It is **there** already, plainly.") is None
    assert apply("bold", "Is it so?") is None
    assert CODE in apply("bold", MIXED)


def test_bullets():
    assert apply("bullets", PROSE) == "- Cut the bread.\n- Warm the butter.\n- Spread it thinly.\n- Eat it now."
    assert apply("bullets", "One line\nruns on. Next.\n\nLast.") == "- One line runs on.\n- Next.\n\n- Last."
    assert apply("bullets", MIXED) == (
        f"- Run this first.\n- It takes a while.\n\n{CODE}\n- Then look at the output.\n- Is it right?\n- Good."
    )
    for text in ("Only one.", BULLETS, STEPS):
        assert apply("bullets", text) is None


@pytest.mark.parametrize(("name", "sentences"), [("flattery", FLATTERY), ("expertise", EXPERTISE)])
def test_openers(name, sentences):
    opened = {apply(name, PROSE, seed) for seed in range(40)}
    assert opened == {f"{sentence} {PROSE}" for sentence in sentences}
    assert apply(name, BULLETS[11:]).split("\n\n", 1)[1] == BULLETS[11:]
    assert apply(name, f"\n{CODE}").endswith(f"\n\n{CODE}")


def test_closers():
    assert {apply("confidence", PROSE + "\n", seed) for seed in range(40)} == {f"{PROSE} {end}" for end in CONFIDENCE}
    assert apply("confidence", MIXED).rpartition("\n\n")[0] == MIXED
    assert apply("confidence", CODE).rpartition("\n\n")[0] == CODE


@pytest.mark.parametrize("name", ["padding", "repetition", "confidence"])
def test_nothing_is_appended_inside_code_that_is_never_closed(name):
    assert apply(name, UNCLOSED) is None


def test_emoji():
    result = apply("emoji", " ".join([PROSE] * 3))
    found = [character for character in result if character in EMOJI]
    assert 4 <= len(found) <= 5
    assert result[-1] in EMOJI
    assert re.sub(f" [{''.join(EMOJI)}]", "", result) == " ".join([PROSE] * 3)
    assert apply("emoji", "Fine. 🙂 Good.") is None
    assert apply("emoji", CODE) is None
    assert CODE in apply("emoji", MIXED)
    spaceless = {
        re.sub(f"[{''.join(EMOJI)}]", "E", apply("emoji", "これは一つ。これは二つ。", seed)) for seed in range(20)
    }
    assert spaceless == {"これは一つ。これは二つ。 E", "これは一つ。 E これは二つ。 E"}


def test_shuffled():
    for seed in range(20):
        result = apply("shuffled", PROSE, seed)
        pairs = list(zip(bodies(result), bodies(PROSE), strict=True))
        assert sorted(new for new, _ in pairs) == sorted(old for _, old in pairs)
        assert all(new != old for new, old in pairs)
    assert len({apply("shuffled", PROSE, seed) for seed in range(40)}) == 6  # the cycles of four
    steps = apply("shuffled", STEPS)
    assert [re.findall(r"^\d\.", line) for line in steps.split("\n")[2:]] == [["1."], ["2."], ["3."], ["4."]]
    assert CODE in apply("shuffled", MIXED)
    assert apply("shuffled", "One. Two. Three.") is None
    assert apply("shuffled", BULLETS) is None
    assert apply("shuffled", "No. No. No. No.") is None


def test_middle_cut():
    assert apply("middle cut", "One. Two. Three.") == "One. Three."
    assert apply("middle cut", PROSE) == "Cut the bread. Spread it thinly. Eat it now."
    assert apply("middle cut", "One. Two. Three. Four. Five. Six.") == "One. Two. Five. Six."
    # What stood in a line of its own still does.
    assert apply("middle cut", f"One. Two.\n{CODE}") == f"One.\n{CODE}"
    assert apply("middle cut", f"One.\n\n{CODE}\nTwo.") == "One.\n\nTwo."
    assert apply("middle cut", "One. Two.") is None


def test_other_prompt():
    assert apply("other prompt", PROSE, other="Else.") == "Else."
    assert apply("other prompt", PROSE) is None
    assert apply("other prompt", PROSE, other=PROSE) is None


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("text", ["", " \n\t"])
def test_there_is_nothing_to_edit_in_white_space(name, text):
    assert apply(name, text, other="Else.") is None


def test_edits_of_ones_own():
    edit = Edit(NOT_RAISE, lambda text, context: text.upper())
    context = EditContext(Random(0))
    assert edit.apply("abc", context) == "ABC"
    assert edit.apply("ABC", context) is None  # it changed nothing
    assert Edit(LOWER, lambda text, context: " ").apply("abc", context) is None
    with pytest.raises(ConfigError, match="must give a text or None, got int"):
        Edit(LOWER, lambda text, context: 3).apply("abc", context)
    with pytest.raises(ConfigError, match="'harmful'; it must be one of: must not raise, must lower"):
        Edit("harmful", lambda text, context: text)


def test_selection():
    assert list(select_edits()) == list(EDITS)
    assert list(select_edits(["middle-cut", "bold"])) == ["bold", "middle cut"]
    with pytest.raises(ConfigError, match="no edit 'italics'; there are: padding, "):
        select_edits(["bold", "italics"])
    with pytest.raises(ConfigError, match="no edit given"):
        select_edits([])


def test_chance_depends_on_all_that_it_should():
    keys = [(0, "bold", "key", "text"), (1, "bold", "key", "text"), (0, "bullets", "key", "text")]
    keys += [(0, "bold", "other", "text"), (0, "bold", "key", "t")]
    draws = {edit_random(seed, name, key, text).random() for seed, name, key, text in keys}
    assert len(draws) == 5
    assert edit_random(0, "bold", "key", "\ud800").random() == edit_random(0, "bold", "key", "\ud800").random()


def test_the_kinds_are_those_of_the_audit():
    assert [name for name, edit in EDITS.items() if edit.kind == LOWER] == ["shuffled", "middle cut", "other prompt"]
    assert len(EDITS) == 12


def test_the_list_of_edits_loads_nothing_heavy():
    code = "import vrm.audit as a, sys; a.print_edits; a.select_edits; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
