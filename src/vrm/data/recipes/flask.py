"""FLASK: which 3 of 12 skills matter for a prompt.

Source: Ye et al., "FLASK: Fine-grained Language Model Evaluation based on Alignment Skill Sets", arXiv 2307.10928.
"""

from __future__ import annotations

from vrm.data.recipes.base import EMPTY_PROMPT, Converted, Recipe, Row, skip, user
from vrm.data.recipes.fields import Fields
from vrm.data.style import says_nothing

OBJECTIVES = (
    "Logical Robustness",
    "Logical Correctness",
    "Logical Efficiency",
    "Factuality",
    "Commonsense Understanding",
    "Comprehension",
    "Insightfulness",
    "Completeness",
    "Metacognition",
    "Readability",
    "Conciseness",
    "Harmlessness",
)
NO_SKILL = "row: no skill annotated"

_BY_KEY = {name.lower().replace(" ", ""): name for name in OBJECTIVES}
_NAME = "flask"


def _skill(fields: Fields, column: str, value: object) -> str:
    key = str(value).lower().replace(" ", "").replace("_", "")
    if key not in _BY_KEY:
        raise fields.error(column, value, f"one of: {', '.join(OBJECTIVES)}")
    return _BY_KEY[key]


def _domain(fields: Fields) -> str | None:
    if not fields.has("domain"):
        return None
    value = fields.get("domain")
    return (value if isinstance(value, str) else ",".join(str(item) for item in fields.items("domain"))) or None


def _convert(row: Row) -> Converted:
    fields = Fields(row, _NAME)
    prompt = fields.text(fields.first_of("instruction", "text", "question", "prompt"))
    column = fields.first_of("metrics", "skills", "skill")
    skills = dict.fromkeys((_skill(fields, column, value) for value in fields.items(column)), 1.0)
    if says_nothing(prompt):
        return skip(EMPTY_PROMPT)
    if not skills:
        return skip(NO_SKILL)
    return Converted([_row(prompt, skills, _domain(fields))])


def _row(prompt: str, votes: dict[str, float], domain: str | None) -> Row:
    row: Row = {"prompt": user(prompt), "objective_votes": votes, "source": _NAME}
    return row | {"category": domain} if domain else row


RECIPES = (
    Recipe(
        name=_NAME,
        hub_id=None,
        convert=_convert,
        objectives=OBJECTIVES,
        description="Votes without completions: one for each annotated skill. `category` is the domain. Reads the "
        "evaluation set's JSONL file of the FLASK repository.",
        license_note="none known; see the FLASK repository",
        leaves_out="Prompts without a skill, reference answers, difficulty levels.",
        splits=("test",),
    ),
)
