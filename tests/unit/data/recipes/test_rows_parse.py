from __future__ import annotations

import pytest

from vrm.data.parse import parse_row
from vrm.data.recipes import get_recipe, recipe_names

FILES = {
    "ultrafeedback-finegrained": ("ultrafeedback",),
    "helpsteer2-preference-validation": ("helpsteer2-preference",),
    "prism": ("prism-survey", "prism-utterances"),
    "prism-choice": ("prism-conversations", "prism-utterances"),
}
FAMILIES = ("hh-rlhf", "pku-saferlhf")


def files_of(name: str) -> tuple[str, ...]:
    family = next((family for family in FAMILIES if name.startswith(family)), name)
    return FILES.get(name, (family,))


@pytest.mark.parametrize("name", recipe_names())
def test_every_converted_row_is_a_valid_row_of_the_schema(run, table, name):
    recipe = get_recipe(name)
    rows, _ = run(name, *map(table, files_of(name)))
    assert rows
    for row in rows:
        judgment = parse_row(row, file=name, line=1, objectives=recipe.objectives)
        assert judgment.source == name
        labelled = judgment.is_comparison or judgment.scores is not None
        assert labelled or judgment.ratings or judgment.objective_votes


@pytest.mark.parametrize("name", recipe_names())
def test_ratings_lie_in_the_range_that_the_recipe_names(run, table, name):
    recipe = get_recipe(name)
    rows, _ = run(name, *map(table, files_of(name)))
    judgments = [parse_row(row, objectives=recipe.objectives) for row in rows]
    found = [value for judgment in judgments for ratings in judgment.ratings or [] for value in ratings.values()]
    assert bool(found) == (recipe.rating_range is not None)
    assert all(recipe.rating_range[0] <= value <= recipe.rating_range[1] for value in found)
