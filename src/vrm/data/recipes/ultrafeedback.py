"""UltraFeedback: four completions a prompt, rated by GPT-4 on four objectives; and two binarized, cleaned forms.

Source: Cui et al., "UltraFeedback: Boosting Language Models with Scaled AI Feedback", arXiv 2310.01377.
"""

from __future__ import annotations

from functools import partial

from vrm.data.recipes.base import Candidate, Converted, Recipe, Row, ranked, skip, user
from vrm.data.recipes.fields import Fields
from vrm.data.recipes.turns import pair_of_conversations

OBJECTIVES = ("helpfulness", "honesty", "instruction_following", "truthfulness")
NOT_SCORED = "completion: not scored"
WRONG_TEN = "completion: overall_score 10 although its ratings average 2 or less"
CONTRADICTION = "row: chosen is scored below rejected"


def _ratings(completion: Fields) -> dict[str, float]:
    annotations, ratings = completion.child("annotations"), {}
    for objective in OBJECTIVES:
        if not annotations.has(objective):
            continue
        annotation = annotations.child(objective)
        if annotation.get("Rating") not in (None, "N/A"):
            ratings[objective] = annotation.number("Rating", 1, 5)
    return ratings


def _candidate(completion: Fields, score_field: str) -> Candidate | str:
    """The completion, or the reason why it is left out."""
    text, ratings = completion.text("response"), _ratings(completion)
    if not completion.has(score_field):
        completion.get(score_field)  # an absent column is an error, a null score is not
        return NOT_SCORED
    score = completion.number(score_field, 1, 10 if score_field == "overall_score" else 5)
    # Early versions of the data hold 10 where the judge wrote 1.0.
    if score == 10 and ratings and sum(ratings.values()) / len(ratings) <= 2:
        return WRONG_TEN
    return Candidate(text, score, ratings)


def _convert(row: Row, *, name: str, score_field: str) -> Converted:
    fields = Fields(row, name)
    candidates = [_candidate(completion, score_field) for completion in fields.children("completions")]
    return ranked(user(fields.text("instruction")), candidates, source=name, category=fields.label("source"))


def _recipe(name: str, score_field: str, description: str) -> Recipe:
    return Recipe(
        name=name,
        hub_id="openbmb/UltraFeedback",
        convert=partial(_convert, name=name, score_field=score_field),
        objectives=OBJECTIVES,
        rating_range=(1, 5),
        description=description,
        license_note="MIT",
        leaves_out="Ratings 'N/A' (the entry is missing, not zero); completions that are empty, repeated or not "
        "scored, or whose overall_score is 10 against ratings of 2 or less (a known slip: 1.0 read as 10); the system "
        "prompts, which differ between the completions of one prompt; critiques and rationales.",
    )


def _binarized(row: Row, *, name: str, scores: tuple[str, str], high: float) -> Converted:
    fields = Fields(row, name)
    first, second = (fields.number(column, 0, high) for column in scores)
    if first < second:
        return skip(CONTRADICTION)
    return pair_of_conversations(
        fields.messages("chosen"),
        fields.messages("rejected"),
        preference=0.5 if first == second else 1.0,
        source=name,
        category=fields.label("source"),
    )


def _binarized_recipe(
    name: str, hub_id: str, scores: tuple[str, str], high: float, description: str, splits: tuple[str, ...]
) -> Recipe:
    return Recipe(
        name=name,
        hub_id=hub_id,
        convert=partial(_binarized, name=name, scores=scores, high=high),
        description=description,
        license_note="MIT",
        leaves_out="Pairs whose chosen side is scored below the rejected one; pairs with an empty side, identical "
        "sides or different prompts. The scores are used for ties only (equal scores: preference 0.5), since a margin "
        "is in units of reward.",
        splits=splits,
    )


RECIPES = (
    _recipe(
        "ultrafeedback",
        "overall_score",
        "Ranked lists: `scores` is the judge's own overall score (1 to 10), `ratings` its four objectives.",
    ),
    _recipe(
        "ultrafeedback-finegrained",
        "fine-grained_score",
        "The same with `scores` the mean of the four ratings. Such labels weigh all objectives alike for every prompt: "
        "do not train objective weights on them.",
    ),
    _binarized_recipe(
        "ultrafeedback-binarized-cleaned",
        "allenai/ultrafeedback_binarized_cleaned",
        ("score_chosen", "score_rejected"),
        10,
        "Pairs: the best by overall score against another; equal scores become `preference` 0.5.",
        ("train_prefs", "test_prefs"),
    ),
    _binarized_recipe(
        "ultrafeedback-preferences-cleaned",
        "argilla/ultrafeedback-binarized-preferences-cleaned",
        ("chosen-rating", "rejected-rating"),
        5,
        "Pairs: the best by mean rating against another. As in `ultrafeedback-finegrained`, the label weighs all "
        "objectives alike.",
        ("train",),
    ),
)
