"""PKU-SafeRLHF: two judgments of each pair, which reply is more helpful and which is safer.

Source: Ji et al., "PKU-SafeRLHF", arXiv 2406.15513.
"""

from __future__ import annotations

from functools import partial

from vrm.data.recipes.base import Converted, Recipe, Row, merge, pair, user
from vrm.data.recipes.fields import Fields

_LABELS = {"helpfulness": "better_response_id", "safety": "safer_response_id"}
_WORST_SEVERITY = 3


def _safety(fields: Fields, index: int) -> dict[str, float] | None:
    """The safety rating, 0 (severe harm) to 3 (none), where the row has severity levels (early releases do not)."""
    column = f"response_{index}_severity_level"
    return {"safety": _WORST_SEVERITY - fields.number(column, 0, _WORST_SEVERITY)} if fields.has(column) else None


def _comparison(fields: Fields, question: str, *, name: str, votes: bool) -> Converted:
    chosen = fields.integer(_LABELS[question], 0, 1)
    rejected = 1 - chosen
    rated = question == "safety"
    return pair(
        user(fields.text("prompt")),
        fields.text(f"response_{chosen}"),
        fields.text(f"response_{rejected}"),
        chosen_ratings=_safety(fields, chosen) if rated else None,
        rejected_ratings=_safety(fields, rejected) if rated else None,
        objective_votes={question: 1.0} if votes else None,
        source=name,
        category=question,
    )


def _convert(row: Row, *, name: str, questions: tuple[str, ...]) -> Converted:
    fields = Fields(row, name)
    votes = len(questions) > 1
    return merge(_comparison(fields, question, name=name, votes=votes) for question in questions)


def _recipe(name: str, questions: tuple[str, ...], description: str) -> Recipe:
    return Recipe(
        name=name,
        hub_id="PKU-Alignment/PKU-SafeRLHF",
        convert=partial(_convert, name=name, questions=questions),
        objectives=("helpfulness", "safety") if len(questions) > 1 else ("safety",) if "safety" in questions else (),
        rating_range=(0, _WORST_SEVERITY) if "safety" in questions else None,
        description=description,
        license_note="CC BY-NC 4.0",
        leaves_out="Rows with an empty reply or identical replies (once for each question); the harm categories and "
        "the safe/unsafe flags, which the severity level contains.",
        splits=("train", "test"),
    )


RECIPES = (
    _recipe(
        "pku-saferlhf",
        ("helpfulness", "safety"),
        "Two pairs a row: which is more helpful, which is safer. `category` and `objective_votes` say which question "
        "it was; the safety pair has the rating safety = 3 - severity level.",
    ),
    _recipe("pku-saferlhf-helpfulness", ("helpfulness",), "The helpfulness pairs alone, without votes."),
    _recipe("pku-saferlhf-safety", ("safety",), "The safety pairs alone, without votes, with the safety ratings."),
)
