"""From a raw row (a dictionary as a file holds it) to a `Judgment`, or to all that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vrm.data import fields, texts
from vrm.data.columns import COLUMNS, LIST_COLUMNS, PAIR_COLUMNS, SCORING_COLUMNS, rename
from vrm.data.fields import RowCheck
from vrm.data.problems import show
from vrm.data.schema import Judgment, Text

_PAIR_ONLY = "it belongs to rows with 'chosen' and 'rejected'"
_LIST_ONLY = "it belongs to rows with 'completions'"


def parse_row(
    row: Mapping[str, Any],
    *,
    file: str = "<memory>",
    line: int = 0,
    objectives: Collection[str] | None = None,
    mapping: Mapping[str, str] | None = None,
) -> Judgment:
    """Check a row of the schema and turn it into a `Judgment`.

    Three kinds of rows: pairs (`chosen`, `rejected`, with or without `prompt`), lists (`prompt`, `completions`, and
    `scores` or `ratings`), and rows with a prompt and `objective_votes` alone. Null columns count as absent.

    Args:
        row: {column: value}.
        file: path or name of the source, for messages.
        line: 1-based line (or row) number, for messages.
        objectives: allowed names of objectives in ratings and votes; None allows every name.
        mapping: {schema's column: the row's column}, where they differ.

    Raises:
        InvalidRowError: something is wrong with the row; its `problems` are all that was found.
    """
    check = RowCheck(file, line, mapping)
    columns = rename(row, mapping, COLUMNS)
    if "completions" in columns:
        parts = _ranked_list(check, columns, objectives)
    elif "chosen" in columns or "rejected" in columns:
        parts = _pair(check, columns, objectives)
    else:
        parts = _votes_only(check, columns)
    if "objective_votes" in columns:
        parts["objective_votes"] = fields.votes(check, "objective_votes", columns["objective_votes"], objectives)
    parts.update(_shared(check, columns))
    # A row whose labels are at fault has been reported already; this is for rows that never had one.
    if not check.problems and not parts["completions"] and not parts.get("objective_votes"):
        reason = "the row has neither completions nor objective votes; there is nothing to learn from it."
        check.note("", "nothing to learn", reason)
    check.finish()
    return Judgment(**parts, file=file, line=line)


def parse_scoring_row(
    row: Mapping[str, Any],
    *,
    file: str = "<memory>",
    line: int = 0,
    mapping: Mapping[str, str] | None = None,
    gold: bool = False,
) -> Judgment:
    """Check a row whose completions are to be scored; labels are neither needed nor read.

    The row has `prompt` and `completion` or `completions` (one is enough), or is a pair of the preference schema, whose
    completions are then chosen and rejected. A completion that is a text under a prompt of messages is taken as the
    assistant's message.

    Args:
        row: {column: value}.
        file: path or name of the source, for messages.
        line: 1-based line (or row) number, for messages.
        mapping: {schema's column: the row's column}, where they differ.
        gold: whether the row needs `completions`, at least 2, and `gold`, one number for each of them (higher is
            better), which becomes the judgment's `scores`.

    Raises:
        InvalidRowError: something is wrong with the row; its `problems` are all that was found.
    """
    check = RowCheck(file, line, mapping)
    columns = rename(row, mapping, (*SCORING_COLUMNS, "gold") if gold else SCORING_COLUMNS)
    prompt, completions = _scoring_texts(check, columns)
    completions = texts.as_messages(prompt, completions)
    texts.check_texts(check, prompt, completions)
    parts = {"prompt": prompt, "completions": _values(completions), **_shared(check, columns)}
    if gold:
        parts["scores"] = _gold(check, columns, usable=not check.problems)
    if not check.problems and prompt is None:
        # Equal sides are no fault in rows to be scored, but then nothing tells where an implicit prompt ends.
        check.note("prompt", "no implicit prompt", "the two sides are the same. Give the prompt in a column 'prompt'.")
    if not check.problems and not completions:
        check.note("completions", "too few completions", "the list is empty; at least one completion is needed.")
    check.finish()
    return Judgment(**parts, file=file, line=line)


def _gold(check: RowCheck, columns: Mapping[str, Any], usable: bool) -> list[float | None] | None:
    """The gold scores of a list of completions; `usable` is whether nothing is wrong with the texts."""
    values = columns.get("completions")
    count = len(values) if texts.is_list(values) else None
    if values is None and usable:
        check.note("completions", "missing field", "it is absent or null; best-of-n picks from a list of completions.")
    elif count is not None and count < 2:
        reason = f"{count} completions; there is nothing to pick from with fewer than 2."
        check.note("completions", "too few completions", reason)
    if "gold" not in columns:
        check.note("gold", "missing field", "it is absent or null; a list with one number a completion is needed.")
    entries = _entries(check, columns, "gold", count, "number")
    return None if entries is None else [fields.number(check, name, value) for name, value in entries]


def _scoring_texts(check: RowCheck, columns: Mapping[str, Any]) -> tuple[Text | None, texts.Completions]:
    given = [name for name in ("completion", "completions", "chosen", "rejected") if name in columns]
    pair = set(given) <= {"chosen", "rejected"}
    if not given or (len(given) > 1 and not pair):
        kind = "mixed layouts" if given else "missing field"
        has = " and ".join(f"'{name}'" for name in given) or "no completion"
        reason = f"the row has {has}; give one of 'completion', 'completions', or 'chosen' with 'rejected'."
        check.note(given[0] if given else "completion", kind, reason)
        return texts.prompt_only(check, columns)
    if pair:
        return texts.pair_texts(check, columns)
    return (texts.single_text if given == ["completion"] else texts.list_texts)(check, columns)


def _pair(check: RowCheck, columns: Mapping[str, Any], objectives: Collection[str] | None) -> dict[str, Any]:
    _refuse(check, columns, LIST_COLUMNS, _LIST_ONLY)
    prompt, completions = texts.pair_texts(check, columns)
    texts.check_texts(check, prompt, completions)
    if len(completions) == 2 and completions[0][1] == completions[1][1]:
        reason = (
            f"it is the same as 'rejected' ({show(completions[0][1])}); a comparison needs two different completions."
        )
        check.note("chosen", "identical sides", reason)
    preference = fields.number(check, "preference", columns.get("preference", 1.0))
    if preference is not None and not 0.0 <= preference <= 1.0:
        reason = f"{preference} is outside [0, 1]; 1 means that 'chosen' is preferred, 0.5 is a tie."
        check.note("preference", "out of range", reason)
    return {
        "prompt": prompt,
        "completions": _values(completions),
        "preference": preference,
        "margin": fields.number(check, "margin", columns.get("margin", 0.0)),
        "ratings": _pair_ratings(check, columns, objectives),
    }


def _pair_ratings(
    check: RowCheck, columns: Mapping[str, Any], objectives: Collection[str] | None
) -> list[dict[str, float]] | None:
    names = ("chosen_ratings", "rejected_ratings")
    ratings = [fields.objective_numbers(check, name, columns.get(name, {}), objectives) or {} for name in names]
    return ratings if any(ratings) else None


def _ranked_list(check: RowCheck, columns: Mapping[str, Any], objectives: Collection[str] | None) -> dict[str, Any]:
    _refuse(check, columns, ("chosen", "rejected", *PAIR_COLUMNS), _PAIR_ONLY)
    prompt, completions = texts.list_texts(check, columns)
    texts.check_texts(check, prompt, completions)
    values = columns["completions"]
    count = len(values) if texts.is_list(values) else None
    if count is not None and count < 2 and not check.problems:
        reason = f"{count} completions; a list to be ranked or rated has at least 2."
        check.note("completions", "too few completions", reason)
    scores = _entries(check, columns, "scores", count)
    ratings = _entries(check, columns, "ratings", count)
    parts: dict[str, Any] = {
        "prompt": prompt,
        "completions": _values(completions),
        "scores": None if scores is None else [fields.number(check, name, value) for name, value in scores],
        "ratings": None if ratings is None else [_rating(check, name, value, objectives) for name, value in ratings],
    }
    if not ("scores" in columns or any(parts["ratings"] or []) or "objective_votes" in columns or check.problems):
        reason = "completions without 'scores', 'ratings' or 'objective_votes'; there is nothing to learn from them."
        check.note("scores", "nothing to learn", reason)
    _check_duplicates(check, completions, parts["scores"] or [])
    return parts


def _rating(check: RowCheck, field: str, value: object, objectives: Collection[str] | None) -> dict[str, float]:
    return {} if value is None else fields.objective_numbers(check, field, value, objectives) or {}


def _entries(
    check: RowCheck, columns: Mapping[str, Any], name: str, count: int | None, kind: str = "entry"
) -> list[tuple[str, Any]] | None:
    """The entries (of a kind, in words) of a column that has one a completion, with their fields."""
    if name not in columns:
        return None
    values = columns[name]
    if not texts.is_list(values):
        reason = f"{show(values)} is a {type(values).__name__}; a list with one {kind} a completion is needed."
        check.note(name, "wrong type", reason)
        return None
    if count is not None and len(values) != count:
        kinds = {"entry": "entries", "number": "numbers"}[kind]
        reason = f"{len(values)} {kinds} for {count} completions; one a completion is needed."
        check.note(name, "lengths differ", reason)
    return [(f"{name}[{index}]", value) for index, value in enumerate(values)]


def _check_duplicates(check: RowCheck, completions: texts.Completions, scores: Sequence[float | None]) -> None:
    """Note equal completions with different scores, which contradict each other."""
    first: dict[str, tuple[str, float | None]] = {}
    for (field, completion), score in zip(completions, scores, strict=False):
        key = completion if isinstance(completion, str) else json.dumps(completion, default=repr, sort_keys=True)
        earlier, earlier_score = first.setdefault(key, (field, score))
        if earlier_score != score:
            reason = f"it is the same as {earlier}, but the scores differ ({score} and {earlier_score})."
            check.note(field, "identical sides", reason)


def _votes_only(check: RowCheck, columns: Mapping[str, Any]) -> dict[str, Any]:
    _refuse(check, columns, PAIR_COLUMNS, _PAIR_ONLY)
    _refuse(check, columns, LIST_COLUMNS, _LIST_ONLY)
    prompt, _ = texts.prompt_only(check, columns)
    texts.check_texts(check, prompt, [])
    return {"prompt": prompt, "completions": []}


def _refuse(check: RowCheck, columns: Mapping[str, Any], names: Sequence[str], reason: str) -> None:
    """Note columns that have no meaning in this kind of row."""
    for name in names:
        if name in columns:
            check.note(name, "mixed layouts", f"{reason}, which this row is not; remove one or the other.")


def _shared(check: RowCheck, columns: Mapping[str, Any]) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for name in ("annotator", "source", "category"):
        if name in columns:
            parts[name] = fields.label(check, name, columns[name])
    if "tools" in columns:
        parts["tools"] = fields.tools(check, "tools", columns["tools"])
    if "chat_template_kwargs" in columns:
        value = columns["chat_template_kwargs"]
        if not isinstance(value, Mapping):
            reason = f"{show(value)} is a {type(value).__name__}; an object {{argument: value}} is needed."
            check.note("chat_template_kwargs", "wrong type", reason)
        parts["chat_template_kwargs"] = value
    return parts


def _values(completions: texts.Completions) -> list[Text]:
    return [completion for _, completion in completions]
