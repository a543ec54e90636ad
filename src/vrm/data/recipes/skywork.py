"""Skywork-Reward-Preference: a curated collection of public preference pairs.

Source: Liu et al., "Skywork-Reward: Bag of Tricks for Reward Modeling in LLMs", arXiv 2410.18451.
"""

from __future__ import annotations

from vrm.data.recipes.base import Converted, Recipe, Row
from vrm.data.recipes.fields import Fields
from vrm.data.recipes.turns import pair_of_conversations

_NAME = "skywork-reward-preference"


def _convert(row: Row) -> Converted:
    fields = Fields(row, _NAME)
    return pair_of_conversations(
        fields.messages("chosen"), fields.messages("rejected"), source=_NAME, category=fields.label("source")
    )


RECIPES = (
    Recipe(
        name=_NAME,
        hub_id="Skywork/Skywork-Reward-Preference-80K-v0.2",
        convert=_convert,
        description="Pairs with multi-turn prompts; `category` is the collection that the pair was taken from.",
        license_note="see the dataset card (a collection: the terms of each source apply)",
        leaves_out="Pairs that differ before the last turn, have turns that do not alternate, an empty reply or "
        "identical replies.",
    ),
)
