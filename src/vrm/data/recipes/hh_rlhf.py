"""HH-RLHF: people's choices between two replies of an assistant, for helpfulness or for harmlessness.

Source: Bai et al., "Training a Helpful and Harmless Assistant", arXiv 2204.05862.
"""

from __future__ import annotations

from functools import partial

from vrm.data.recipes.base import Converted, Recipe, Row
from vrm.data.recipes.fields import Fields
from vrm.data.recipes.turns import pair_of_conversations, transcript

KINDS = {
    "helpful-base": "helpful",
    "helpful-online": "helpful",
    "helpful-rejection-sampled": "helpful",
    "harmless-base": "harmless",
}
"""{folder of the data set: what people were asked to judge}."""


def _convert(row: Row, *, name: str, category: str | None) -> Converted:
    fields = Fields(row, name)
    chosen, rejected = (transcript(fields, column) for column in ("chosen", "rejected"))
    return pair_of_conversations(chosen, rejected, source=name, category=category)


def _recipe(name: str, data_dir: str | None, category: str | None, description: str) -> Recipe:
    return Recipe(
        name=name,
        hub_id="Anthropic/hh-rlhf",
        convert=partial(_convert, name=name, category=category),
        description=description,
        license_note="MIT",
        leaves_out="Pairs that differ before the last turn, end with the user, have turns that do not alternate, an "
        "empty reply or identical replies. The red-team transcripts (another format) are not comparisons.",
        splits=("train", "test"),
        hub_data_dir=data_dir,
    )


RECIPES = (
    _recipe("hh-rlhf", None, None, "Pairs with multi-turn prompts, all four subsets; they are not told apart."),
    *(
        _recipe(f"hh-rlhf-{subset}", subset, category, f"The subset {subset} alone, `category` {category}.")
        for subset, category in KINDS.items()
    ),
)
