"""PRISM: people from many countries score several models' replies and say what matters to them.

Source: Kirk et al., "The PRISM Alignment Dataset", arXiv 2404.16019.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from vrm.data.recipes.base import Candidate, Converted, Recipe, Row, assistant, merge, ranked, skip, user
from vrm.data.recipes.fields import Fields

OBJECTIVES = ("values", "fluency", "factuality", "safety", "diversity", "creativity", "helpfulness")
NOT_SCORED = "completion: not scored"
NO_HISTORY = "row: no reply was chosen in an earlier turn"
NO_IMPORTANCE = "votes: no importance above zero is known"
LATER_TURN = "row: a later turn, choice attributes are about the opening one"


def join(people: Iterable[Mapping[str, Any]], utterances: Iterable[Mapping[str, Any]], *, by: str) -> Iterator[Row]:
    """Rows of one turn each: the conversation so far, the replies to choose from, and the person's importance scores.

    Args:
        people: the table that holds the importance scores (`survey` or `conversations`).
        utterances: the table `utterances`, one row a reply, in any order.
        by: the column that both tables share (`user_id` or `conversation_id`).

    Yields:
        `conversation_id`, `user_id`, `conversation_type`, `position` (0 for the opening turn), `history` (messages, or
        None if an earlier turn has no chosen reply), `user_prompt`, `responses` (the rows of the utterances) and
        `person` (the row of `people`, or None).

    Raises:
        RowError: a key column is missing.
    """
    importance = {Fields(row, "prism").text(by): dict(row) for row in people}
    for turns in _conversations(utterances):
        history: list[Row] | None = []
        for position, responses in enumerate(turns):
            yield _turn(responses, importance.get(responses[0][by]), position, history)
            history = _extended(history, responses)


def _turn(responses: list[Row], person: Row | None, position: int, history: list[Row] | None) -> Row:
    shared = ("conversation_id", "user_id", "conversation_type", "user_prompt")
    row = {name: responses[0].get(name) for name in shared}
    return row | {"position": position, "history": history, "responses": responses, "person": person}


def _conversations(utterances: Iterable[Mapping[str, Any]]) -> Iterator[list[list[Row]]]:
    """For each conversation its turns in order, for each turn the rows of its replies."""
    conversations: dict[str, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in utterances:
        fields = Fields(row, "prism")
        conversations[fields.text("conversation_id")][fields.integer("turn", 0, 10_000)].append(dict(row))
        fields.text("user_id")
    return ([turns[number] for number in sorted(turns)] for turns in conversations.values())


def _extended(history: list[Row] | None, responses: list[Row]) -> list[Row] | None:
    chosen = [row for row in responses if Fields(row, "prism").flag("if_chosen")]
    if history is None or len(chosen) != 1:
        return None
    fields = Fields(chosen[0], "prism")
    return history + user(fields.text("user_prompt")) + assistant(fields.text("model_response"))


def _votes(fields: Fields, column: str) -> dict[str, float] | None:
    if not fields.has("person") or not fields.child("person").has(column):
        return None
    stated = fields.child("person").child(column)
    votes = {name: stated.number(name, 0, 100) for name in OBJECTIVES if stated.has(name)}
    return votes if any(votes.values()) else None


def _replies(fields: Fields, name: str) -> Converted:
    prompt = fields.messages("history") + user(fields.text("user_prompt"))
    columns = {"annotator": fields.label("user_id"), "category": fields.label("conversation_type")}
    return ranked(prompt, [_candidate(response) for response in fields.children("responses")], source=name, **columns)


def _candidate(response: Fields) -> Candidate | str:
    """The reply, or the reason why it is left out."""
    if not response.has("score"):
        response.get("score")  # an absent column is an error, a null score is not
        return NOT_SCORED
    return Candidate(response.text("model_response"), response.number("score", 0, 100))


def _convert(row: Row, *, name: str, column: str, opening_only: bool) -> Converted:
    fields = Fields(row, name)
    if "responses" not in row:
        raise fields.error("responses", None, f"a joined row; make it with get_recipe({name!r}).join(*tables)")
    if opening_only and fields.integer("position", 0, 10_000) > 0:
        return skip(LATER_TURN)
    if not fields.has("history"):
        return skip(NO_HISTORY)
    votes, replies = _votes(fields, column), _replies(fields, name)
    if not replies.rows:
        return replies
    if votes is None:
        return merge([replies, skip(NO_IMPORTANCE)])
    return Converted([made | {"objective_votes": votes} for made in replies.rows], replies.skipped)


def _recipe(name: str, tables: tuple[str, str], by: str, column: str, description: str, leaves_out: str) -> Recipe:
    return Recipe(
        name=name,
        hub_id="HannahRoseKirk/prism-alignment",
        convert=partial(_convert, name=name, column=column, opening_only=by == "conversation_id"),
        objectives=OBJECTIVES,
        description=description,
        license_note="people's texts CC BY 4.0, model replies CC BY-NC 4.0; see the dataset card",
        leaves_out=leaves_out,
        tables=tables,
        join=partial(join, by=by),
    )


_ALWAYS = "Turns with fewer than two distinct, scored replies; `if_chosen` is used for the history only, scores rank."

RECIPES = (
    _recipe(
        "prism",
        ("survey", "utterances"),
        "user_id",
        "stated_prefs",
        "Ranked lists, one a turn: `scores` is the person's (1 to 100), `objective_votes` the importance (0 to 100) "
        "that the person gave to each objective in the survey, whatever the prompt. `annotator` is the person.",
        f"{_ALWAYS} Turns after one without exactly one chosen reply (their history is unknown); the stated "
        "preferences `personalisation` and `other`, which no later question asks for.",
    ),
    _recipe(
        "prism-choice",
        ("conversations", "utterances"),
        "conversation_id",
        "choice_attributes",
        "The opening turns alone, with the importance that each objective had for that choice (`choice_attributes`): "
        "votes that depend on the prompt.",
        f"{_ALWAYS} Later turns, which the choice attributes are not about; the performance attributes, given for the "
        "chosen model alone.",
    ),
)
