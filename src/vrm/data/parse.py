"""From a raw row (a dictionary as a file holds it) to a `Judgment`, or to all that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vrm.data import fields, texts
from vrm.data.columns import GOLD_COLUMN, SCORING_COLUMNS, rename, row_columns, unknown_columns
from vrm.data.fields import RowCheck
from vrm.data.problems import MISSING_FIELD, NO_COMPLETIONS, NOTHING_TO_LEARN, show
from vrm.data.raters import pooled
from vrm.data.schema import Judgment, Text
from vrm.labels import KINDS, Layout, has_label, label_columns

_READ_TEXTS = {Layout.PAIR: texts.pair_texts, Layout.LIST: texts.list_texts, Layout.PROMPT_ONLY: texts.prompt_only}
_BELONGS = {
    Layout.PAIR: "it belongs to rows with 'chosen' and 'rejected'",
    Layout.LIST: "it belongs to rows with 'completions'",
}


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
    check = RowCheck(file, line, mapping, objectives)
    columns = rename(row, mapping, row_columns())
    if "completions" in columns:
        layout = Layout.LIST
    else:
        layout = Layout.PAIR if {"chosen", "rejected"} & set(columns) else Layout.PROMPT_ONLY
    _refuse_others(check, columns, layout)
    prompt, completions = _READ_TEXTS[layout](check, columns)
    texts.check_texts(check, prompt, completions)
    _check_choice(check, completions, layout)
    parts = {"prompt": prompt, "completions": _values(completions), **pooled(_labels(check, columns, layout))}
    _check_duplicates(check, completions, parts.get("scores") or [])
    judgment = Judgment(**parts, **_shared(check, columns), file=file, line=line)
    # A row whose labels are at fault has been reported already; this is for rows that never had one.
    if not check.problems and not has_label(judgment):
        _note_nothing_to_learn(check, columns, layout)
    elif (
        layout is Layout.PROMPT_ONLY
        and not has_label(judgment)
        and [problem.kind for problem in check.problems] == [MISSING_FIELD]
    ):
        check.problems = [replace(bare, reason=bare.reason + NO_COMPLETIONS) for bare in check.problems]
    check.finish()
    return judgment


def _labels(check: RowCheck, columns: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """Fields of `Judgment` from the columns of every kind of label that rows of this layout may have."""
    parts: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    for kind in KINDS.values():
        names = [column.name for column in kind.columns if layout in column.layouts and column.name in columns]
        parsed = kind.parse(check, {name: columns[name] for name in names}, layout)
        labels |= parsed.pop("labels", {})
        parts |= parsed
    return {**parts, "labels": labels}


def _refuse_others(check: RowCheck, columns: Mapping[str, Any], layout: Layout) -> None:
    """Note columns that have no meaning in this kind of row."""
    others = {"chosen": Layout.PAIR, "rejected": Layout.PAIR} if layout is Layout.LIST else {}
    others |= {column.name: column.layouts[0] for column in label_columns() if layout not in column.layouts}
    for name, place in others.items():
        if name in columns:
            reason = f"{_BELONGS[place]}, which this row is not; remove one or the other."
            check.note(name, "mixed layouts", reason)


def _note_nothing_to_learn(check: RowCheck, columns: Mapping[str, Any], layout: Layout) -> None:
    if layout is Layout.PROMPT_ONLY:
        reason = "the row has neither completions nor objective votes; there is nothing to learn from it."
        check.note("", NOTHING_TO_LEARN, reason)
    elif not any(column.name in columns for column in label_columns() if Layout.PROMPT_ONLY in column.layouts):
        names = [column.name for column in label_columns() if layout in column.layouts]
        listed = ", ".join(f"'{name}'" for name in names[:-1])
        reason = f"completions without {listed} or '{names[-1]}'; there is nothing to learn from them."
        check.note(names[0], NOTHING_TO_LEARN, reason)


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
    columns = rename(row, mapping, (*SCORING_COLUMNS, GOLD_COLUMN) if gold else SCORING_COLUMNS)
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
    if check.problems:
        check.finish(unread=unknown_columns(row, mapping, (*row_columns(), "completion", GOLD_COLUMN, "id")))
    return Judgment(**parts, file=file, line=line)


def _gold(check: RowCheck, columns: Mapping[str, Any], usable: bool) -> list[float | None] | None:
    """The gold scores of a list of completions; `usable` is whether nothing is wrong with the texts."""
    values = columns.get("completions")
    count = check.count = len(values) if texts.is_list(values) else None
    if values is None and usable:
        check.note("completions", MISSING_FIELD, "it is absent or null; best-of-n picks from a list of completions.")
    elif count is not None and count < 2:
        reason = f"{count} completions; there is nothing to pick from with fewer than 2."
        check.note("completions", "too few completions", reason)
    if "gold" not in columns:
        check.note("gold", MISSING_FIELD, "it is absent or null; a list with one number a completion is needed.")
        return None
    entries = check.entries("gold", columns["gold"], "number", "numbers")
    return [check.number(place, value) for place, value in entries]


def _scoring_texts(check: RowCheck, columns: Mapping[str, Any]) -> tuple[Text | None, texts.Completions]:
    given = [name for name in ("completion", "completions", "chosen", "rejected") if name in columns]
    pair = set(given) <= {"chosen", "rejected"}
    if not given or (len(given) > 1 and not pair):
        kind = "mixed layouts" if given else MISSING_FIELD
        has = " and ".join(f"'{name}'" for name in given) or "no completion"
        reason = f"the row has {has}; give one of 'completion', 'completions', or 'chosen' with 'rejected'."
        check.note(given[0] if given else "completion", kind, reason)
        return texts.prompt_only(check, columns)
    if pair:
        return texts.pair_texts(check, columns)
    return (texts.single_text if given == ["completion"] else texts.list_texts)(check, columns)


def _check_choice(check: RowCheck, completions: texts.Completions, layout: Layout) -> None:
    """Note rows that leave nothing to choose between: equal sides, or a list of one."""
    if layout is Layout.PAIR and len(completions) == 2 and completions[0][1] == completions[1][1]:
        reason = (
            f"it is the same as 'rejected' ({show(completions[0][1])}); a comparison needs two different completions."
        )
        check.note("chosen", "identical sides", reason)
    if check.count is not None and check.count < 2 and not check.problems:
        reason = f"{check.count} completions; a list to be ranked or rated has at least 2."
        check.note("completions", "too few completions", reason)


def _check_duplicates(check: RowCheck, completions: texts.Completions, scores: Sequence[float | None]) -> None:
    """Note equal completions with different scores, which contradict each other."""
    first: dict[str, tuple[str, float | None]] = {}
    for (field, completion), score in zip(completions, scores, strict=False):
        key = completion if isinstance(completion, str) else json.dumps(completion, default=repr, sort_keys=True)
        earlier, earlier_score = first.setdefault(key, (field, score))
        if earlier_score != score:
            reason = f"it is the same as {earlier}, but the scores differ ({score} and {earlier_score})."
            check.note(field, "identical sides", reason)


def _shared(check: RowCheck, columns: Mapping[str, Any]) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for name in ("annotator", "source", "category"):
        if name in columns:
            parts[name] = check.name(name, columns[name])
    if "tools" in columns:
        parts["tools"] = fields.tools(check, "tools", columns["tools"])
    if "chat_template_kwargs" in columns:
        parts["chat_template_kwargs"] = fields.template_arguments(
            check, "chat_template_kwargs", columns["chat_template_kwargs"]
        )
    return parts


def _values(completions: texts.Completions) -> list[Text]:
    return [completion for _, completion in completions]
