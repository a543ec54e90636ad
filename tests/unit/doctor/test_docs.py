"""docs/doctor.md names every finding, with the limits that hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vrm.doctor import Thresholds
from vrm.doctor.findings import ERRORS

TEXT = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("| `")]
LIMITS = {name: row for row in ROWS for name in re.findall(r"`([a-z_]+)`", row[0]) if len(row) == 4}


def test_every_finding_is_in_the_table(look, clean):
    named = {finding.name for finding in look(clean[:6], clean[6:]).findings}
    assert named <= {name for row in ROWS for name in re.findall(r"`([a-z_]+)`", " ".join(row))}
    assert {name for name, row in LIMITS.items() if row[1]} == set(ERRORS)


@pytest.mark.parametrize(
    ("name", "column", "limit"),
    [
        ("bad_rows", 1, "bad_rows"),
        ("contradictory_pairs", 1, "contradictory_pairs"),
        ("template_refuses", 1, "bad_rows"),
        ("identical_tokens", 1, "cut_to_identical"),
        ("cut_to_identical", 1, "cut_to_identical"),
        ("near_shared_prompts", 1, "near_shared_prompts"),
        ("near_duplicate_prompts", 2, "near_duplicate_prompts"),
        ("duplicate_rows", 2, "duplicate_rows"),
        ("label_noise", 2, "label_noise"),
        ("ratings_contradict", 2, "ratings_contradict"),
        ("longer_wins", 2, "longer_wins"),
        ("case_only", 2, "case_only"),
        ("over_limit", 2, "over_limit"),
        ("languages", 2, "other_languages"),
    ],
)
def test_limits_are_those_of_the_code(name, column, limit):
    (number,) = re.findall(r"^(?:over )?(\d+)", LIMITS[name][column])
    assert int(number) == pytest.approx(100 * getattr(Thresholds(), limit))
