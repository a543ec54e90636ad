"""Recipes: published preference data sets to rows of the row schema::

    recipe = get_recipe("helpsteer3")
    for row in table:
        converted = recipe.convert(row)      # Converted(rows, skipped)

Data sets whose judgments are spread over several rows or tables are joined first: `recipe.convert_all(*tables)`.
"""

from __future__ import annotations

from difflib import get_close_matches

from vrm.data.recipes import flask, helpsteer, hh_rlhf, nectar, pku_saferlhf, prism, sharegpt, skywork, ultrafeedback
from vrm.data.recipes.base import Converted, Recipe
from vrm.errors import ConfigError

__all__ = ["Converted", "Recipe", "get_recipe", "recipe_names"]

_FAMILIES = (ultrafeedback, helpsteer, hh_rlhf, pku_saferlhf, skywork, nectar, prism, flask, sharegpt)
_RECIPES: dict[str, Recipe] = {recipe.name: recipe for family in _FAMILIES for recipe in family.RECIPES}


def recipe_names() -> list[str]:
    """The names of all recipes, sorted."""
    return sorted(_RECIPES)


def get_recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        ConfigError: there is none; the message suggests close matches and lists what there is.
    """
    if name in _RECIPES:
        return _RECIPES[name]
    close = get_close_matches(str(name).lower().replace("_", "-").split("/")[-1], _RECIPES, n=2, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise ConfigError(f"recipe: there is no recipe {name!r}.{hint} Known recipes: {', '.join(recipe_names())}.")
