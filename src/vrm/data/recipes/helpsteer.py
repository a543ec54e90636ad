"""HelpSteer2 (ratings, and preferences over the same responses) and HelpSteer3 (preferences by several people).

Sources: Wang et al., "HelpSteer2", arXiv 2406.08673; "HelpSteer2-Preference", arXiv 2410.01257;
"HelpSteer3-Preference", arXiv 2505.11475.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import Any

from vrm.data.recipes.base import Candidate, Converted, Recipe, Row, pair, ranked, skip
from vrm.data.recipes.fields import Fields
from vrm.data.recipes.turns import NOT_ALTERNATING, asks, extra_id_turns

OBJECTIVES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
OTHER_SPLIT = "row: belongs to the other split"

_CC_BY = "CC BY 4.0"


def join_responses(rows: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Rows of HelpSteer2, one a response, to rows of one prompt: `prompt` and `responses`, the rows themselves.

    Rows of one prompt stand one after the other in the published files; only neighbours are joined.

    Raises:
        RowError: a row has no `prompt`.
    """
    for prompt, group in groupby(rows, key=lambda row: Fields(row, "helpsteer2").text("prompt")):
        yield {"prompt": prompt, "responses": [dict(row) for row in group]}


def _prompt(fields: Fields) -> list[Row] | None:
    turns = extra_id_turns(fields.text("prompt"))
    return turns if asks(turns) else None


def _ratings(row: Row) -> Converted:
    if "responses" not in row:
        reason = "a row of several responses; pass the table through get_recipe('helpsteer2').join(rows) first"
        raise Fields(row, "helpsteer2").error("responses", None, reason)
    fields = Fields(row, "helpsteer2")
    responses = [
        Candidate(response.text("response"), ratings={name: response.number(name, 0, 4) for name in OBJECTIVES})
        for response in fields.children("responses")
    ]
    prompt = _prompt(fields)
    return skip(NOT_ALTERNATING) if prompt is None else ranked(prompt, responses, source="helpsteer2")


def _oriented(prompt: list[Row], texts: tuple[str, str], first_share: float, first: bool, **columns: Any) -> Converted:
    """A comparison with the side named by `first` as chosen; `first_share` is the preference for texts[0]."""
    chosen, rejected = texts if first else texts[::-1]
    return pair(prompt, chosen, rejected, preference=first_share if first else 1 - first_share, **columns)


def _share(strength: float) -> float:
    """Preference for the first response; strengths below 0 favour it."""
    return 1.0 if strength < 0 else 0.0 if strength > 0 else 0.5


def _preference2(row: Row, *, name: str, split: str) -> Converted:
    fields = Fields(row, name)
    strength = fields.integer("preference_strength", -3, 3)
    texts = fields.text("response_1"), fields.text("response_2")
    if _split(fields) != split:
        return skip(OTHER_SPLIT)
    prompt = _prompt(fields)
    if prompt is None:
        return skip(NOT_ALTERNATING)
    return _oriented(prompt, texts, _share(strength), strength <= 0, source=name)


def _split(fields: Fields) -> str:
    value = fields.text("split")
    if value not in {"train", "val", "validation"}:
        raise fields.error("split", value, "train, val or validation")
    return "train" if value == "train" else "validation"


def _preference3(row: Row) -> Converted:
    fields = Fields(row, "helpsteer3")
    strength = fields.integer("overall_preference", -3, 3)
    people = fields.children("individual_preference") if fields.has("individual_preference") else []
    votes = [_share(person.integer("score", -3, 3)) for person in people] or [_share(strength)]
    texts = fields.text("response1"), fields.text("response2")
    prompt = fields.messages("context")
    if not asks(prompt):
        return skip(NOT_ALTERNATING)
    category = "/".join(filter(None, (fields.label("domain"), fields.label("language")))) or None
    share = sum(votes) / len(votes)
    return _oriented(prompt, texts, share, strength <= 0, source="helpsteer3", category=category)


HELPSTEER2 = Recipe(
    name="helpsteer2",
    hub_id="nvidia/HelpSteer2",
    convert=_ratings,
    objectives=OBJECTIVES,
    rating_range=(0, 4),
    description="Ratings of two (at times more) responses of one prompt on five objectives, without a comparison: the "
    "rows are one response each and `join` puts neighbours with one prompt together.",
    license_note=_CC_BY,
    leaves_out="Prompts with one usable response; empty and repeated responses; prompts whose turns do not alternate. "
    "No label is made out of the ratings: `helpsteer2-preference` has people's.",
    splits=("train", "validation"),
    join=join_responses,
)


def _preference_recipe(name: str, split: str) -> Recipe:
    return Recipe(
        name=name,
        hub_id="nvidia/HelpSteer2",
        convert=partial(_preference2, name=name, split=split),
        description=f"Pairs judged by people, those of the {split} split: the hub has both in one table with a `split` "
        "column. Strength 0 becomes `preference` 0.5.",
        license_note=_CC_BY,
        leaves_out="Rows of the other split (counted); how strong the preference is, since a margin is in units of "
        "reward; the written reasons.",
        hub_data_dir="preference",
    )


HELPSTEER3 = Recipe(
    name="helpsteer3",
    hub_id="nvidia/HelpSteer3",
    convert=_preference3,
    description="Pairs; chosen is the side of `overall_preference`, `preference` the share of the individual judges "
    "who prefer it (an indifferent judge counts half). `category` is domain/language.",
    license_note=_CC_BY,
    leaves_out="How strong the preferences are, the written reasons, and prompts whose turns do not alternate or that "
    "do not end with the user.",
    splits=("train", "validation"),
    hub_config="preference",
)

RECIPES = (
    HELPSTEER2,
    _preference_recipe("helpsteer2-preference", "train"),
    _preference_recipe("helpsteer2-preference-validation", "validation"),
    HELPSTEER3,
)
