from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from vrm.data.recipes import get_recipe, recipe_names
from vrm.errors import ConfigError

DOCS = Path(__file__).parents[4] / "docs" / "recipes.md"


def test_names_are_sorted_and_lead_to_their_recipes():
    names = recipe_names()
    assert names == sorted(set(names))
    assert [get_recipe(name).name for name in names] == names


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("helpstear3", "helpsteer3"),
        ("UltraFeedback", "ultrafeedback"),
        ("hh_rlhf", "hh-rlhf"),
        ("berkeley-nest/Nectar", "nectar"),
    ],
)
def test_unknown_name_suggests_the_close_one(wrong: str, right: str):
    with pytest.raises(ConfigError, match=f"{re.escape(wrong)}.*Did you mean '{right}'.*Known recipes"):
        get_recipe(wrong)


def test_far_off_name_gets_the_list_and_no_suggestion():
    with pytest.raises(ConfigError) as caught:
        get_recipe("zzzz")
    assert "Did you mean" not in str(caught.value)
    assert all(name in str(caught.value) for name in recipe_names())


def test_recipes_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        get_recipe("nectar").name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("name", recipe_names())
def test_description_of_a_recipe_is_whole(name: str):
    recipe = get_recipe(name)
    assert recipe.description
    assert recipe.license_note
    assert recipe.leaves_out
    assert recipe.splits
    assert len(set(recipe.objectives)) == len(recipe.objectives)
    if recipe.rating_range is not None:
        assert recipe.rating_range[0] < recipe.rating_range[1]
        assert recipe.objectives
    assert recipe.needs_join or not recipe.tables


def test_importing_the_recipes_loads_no_heavy_package():
    code = "import sys, vrm.data.recipes; print([m for m in ('torch', 'datasets', 'transformers') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_docs_list_every_recipe_with_its_hub_id_objectives_and_licence():
    rows = {}
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if match := re.fullmatch(r"`([^`]+)`", cells[0]):
            rows[match.group(1)] = cells[1:]
    assert sorted(rows) == recipe_names()
    for name, cells in rows.items():
        recipe = get_recipe(name)
        assert (recipe.hub_id or "local file") in cells[0], name
        assert all(part in cells[0] for part in (recipe.hub_config, recipe.hub_data_dir, *recipe.tables) if part), name
        assert all(objective in cells[2] for objective in recipe.objectives), name
        if recipe.rating_range is not None:
            assert f"{recipe.rating_range[0]:g} to {recipe.rating_range[1]:g}" in cells[2], name
        assert recipe.license_note.split(";")[0].split(" (")[0] in cells[3], name
