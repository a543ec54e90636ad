"""Nectar: seven completions a prompt, ranked by GPT-4.

Source: Zhu et al., "Starling-7B: Improving Helpfulness and Harmlessness with RLAIF", COLM 2024.
"""

from __future__ import annotations

from vrm.data.recipes.base import Candidate, Converted, Recipe, Row, ranked, skip
from vrm.data.recipes.fields import Fields
from vrm.data.recipes.turns import NOT_ALTERNATING, asks, transcript

_NAME = "nectar"
_MOST = 1000


def _prompt(fields: Fields) -> list[Row]:
    turns = transcript(fields, "prompt")
    # The prompt ends with the header of the turn that the answers fill in.
    return turns[:-1] if turns[-1] == {"role": "assistant", "content": ""} else turns


def _convert(row: Row) -> Converted:
    fields = Fields(row, _NAME)
    prompt = _prompt(fields)
    answers = [
        Candidate(answer.text("answer"), -float(answer.integer("rank", 1, _MOST)))
        for answer in fields.children("answers")
    ]
    if not asks(prompt):
        return skip(NOT_ALTERNATING)
    return ranked(prompt, answers, source=_NAME, category=_sources(fields))


def _sources(fields: Fields) -> str | None:
    if not fields.has("source"):
        return None
    return ",".join(str(name) for name in fields.items("source")) or None


RECIPES = (
    Recipe(
        name=_NAME,
        hub_id="berkeley-nest/Nectar",
        convert=_convert,
        description="Ranked lists; `scores` is minus the rank (the best has -1). `category` is where the prompt comes "
        "from.",
        leaves_out="Empty answers and repeated ones (of those the first listed stays); prompts whose turns do not "
        "alternate or that do not end with the user; model names and `good_natured`.",
    ),
)
