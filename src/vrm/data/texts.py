"""The texts of a row: its prompt and completions, whatever the layout, and what can be wrong with them.

Training, scoring, benchmarks and the server check texts here. They differ only in what they make of the problems, and
in whether a completion may be blank.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard, cast

from vrm.data import fields
from vrm.data.fields import RowCheck
from vrm.data.problems import MISSING_FIELD, show
from vrm.data.schema import Message, Text
from vrm.data.style import says_nothing
from vrm.errors import DataError

Completions = list[tuple[str, Text]]
"""Completions with the fields they are from."""


def pair_texts(check: RowCheck, columns: Mapping[str, Any]) -> tuple[Text | None, Completions]:
    """Prompt, chosen and rejected; without a prompt column the prompt is what both sides begin with."""
    sides: Completions = []
    for field in ("chosen", "rejected"):
        if field not in columns:
            check.note(field, MISSING_FIELD, "it is absent or null; a pair needs 'chosen' and 'rejected'.")
            continue
        value = fields.text(check, field, columns[field])
        if value is not None:
            sides.append((field, value))
    if "prompt" in columns:
        return _prompt(check, columns), sides
    return _split(check, sides) if len(sides) == 2 else (None, sides)


def _split(check: RowCheck, sides: Completions) -> tuple[Text | None, Completions]:
    (_, chosen), (_, rejected) = sides
    # Both faults are noted by `check_texts`; there is no prompt to be found in them.
    if type(chosen) is not type(rejected) or chosen == rejected:
        return None, sides
    try:
        prompt, first, second = split_implicit_prompt(chosen, rejected)
    except DataError as error:
        check.note("prompt", "no implicit prompt", str(error))
        return None, sides
    return prompt, [("chosen", first), ("rejected", second)]


def list_texts(check: RowCheck, columns: Mapping[str, Any]) -> tuple[Text | None, Completions]:
    """Prompt and the entries of `completions`."""
    values = columns["completions"]
    if not is_list(values):
        check.wrong_type("completions", values, "a list of texts, or of lists of messages,")
        return _prompt(check, columns), []
    check.count = len(values)
    named = [(f"completions[{index}]", value) for index, value in enumerate(values)]
    checked = [(field, fields.text(check, field, value)) for field, value in named]
    return _prompt(check, columns), [(field, value) for field, value in checked if value is not None]


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether the value is a list of entries, as opposed to a text."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def single_text(check: RowCheck, columns: Mapping[str, Any]) -> tuple[Text | None, Completions]:
    """Prompt and the one `completion`."""
    value = fields.text(check, "completion", columns["completion"])
    return _prompt(check, columns), [] if value is None else [("completion", value)]


def prompt_only(check: RowCheck, columns: Mapping[str, Any]) -> tuple[Text | None, Completions]:
    """The prompt of a row without completions."""
    return _prompt(check, columns), []


def _prompt(check: RowCheck, columns: Mapping[str, Any]) -> Text | None:
    if "prompt" in columns:
        return fields.text(check, "prompt", columns["prompt"])
    check.note("prompt", MISSING_FIELD, "it is absent or null; a text or a list of messages is needed.")
    return None


def check_texts(check: RowCheck, prompt: Text | None, completions: Completions, allow_blank: bool = False) -> None:
    """Note mixed formats, empty prompts and completions, and completions that do not end with the assistant.

    A single empty message of a prompt is none of these: people do send them, and the conversation goes on.

    Args:
        check: collects the problems.
        prompt: None where it is missing, which has been noted.
        completions: with their fields.
        allow_blank: whether a completion may be empty or blank, as policies do write them.
    """
    if prompt is not None and fields.is_blank(prompt):
        check.note("prompt", "empty prompt", f"the prompt is empty or blank ({show(prompt)}).")
    for field, completion in completions:
        _check_completion(check, field, completion, allow_blank)
    named = ([] if prompt is None else [("prompt", prompt)]) + completions
    plain = [field for field, value in named if isinstance(value, str)]
    if 0 < len(plain) < len(named):
        chat = [field for field, value in named if not isinstance(value, str)]
        by_prompt = plain[0] == "prompt"
        whole = "the prompt is a text" if by_prompt else f"{', '.join(plain)}: text"
        reason = f"{whole}, but {', '.join(chat)}: messages; one format is needed throughout."
        check.note(chat[0] if by_prompt else plain[0], "mixed formats", reason)


def _check_completion(check: RowCheck, field: str, completion: Text, allow_blank: bool) -> None:
    # The reward is read after the last message, so that is the one that has to say something.
    if not allow_blank and fields.is_blank(completion if isinstance(completion, str) else completion[-1:]):
        check.note(field, "empty completion", f"the completion is empty or blank ({show(completion)}).")
    elif not isinstance(completion, str) and completion[-1]["role"] != "assistant":
        reason = f"the last message is the {completion[-1]['role']}'s; a completion ends with the assistant's."
        check.note(field, "bad message", reason)


def as_messages(prompt: Text | None, completions: Completions) -> Completions:
    """Completions that are texts turned into assistant's messages where the prompt is a conversation."""
    if not isinstance(prompt, list):
        return completions
    return [
        (field, [{"role": "assistant", "content": value}] if isinstance(value, str) else value)
        for field, value in completions
    ]


_ADVICE = "Give the prompt in a column 'prompt'."

# Where the assistant's turn begins in transcripts written as plain text, and in the common chat markups.
_TURN = re.compile(
    r"(?:^|\n)[ \t]*(?:#+[ \t]*)?(?:assistant|response|answer|ai|bot)[ \t]*:"
    r"|<\|assistant\|>\n?|<\|im_start\|>assistant\n|<\|start_header_id\|>assistant<\|end_header_id\|>(?:\n\n)?"
    r"|<start_of_turn>model\n|\[/INST\]",
    re.IGNORECASE,
)
_LINE = re.compile(r"\n+")
_SENTENCE = re.compile(r"[.?!:;](?=\s)|[。！？]")
_WORD = re.compile(r"(?=(?<=\S)\s)")


def split_implicit_prompt(chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    """Split two texts, or two conversations, into what they share and what follows it.

    Conversations are split after the longest common prefix of messages that leaves both sides a message. Texts are
    split inside their longest common prefix, after its last mark of an assistant's turn (`Assistant:` at the start of a
    line, or a chat markup's). A prefix without one is split after its last line, else its last sentence, else its last
    word. Prompt and completion put together are the text as it was.

    Returns:
        prompt, chosen completion, rejected completion, in the format of the arguments.

    Raises:
        DataError: nothing is shared, or one completion would be empty. The sides are expected to have one format.
    """
    if isinstance(chosen, str) and isinstance(rejected, str):
        end = _text_boundary(chosen, rejected)
        return chosen[:end], chosen[end:], rejected[end:]
    first, second = cast(list[Message], chosen), cast(list[Message], rejected)
    end = min(_common_length(first, second), len(first) - 1, len(second) - 1)
    if end <= 0:
        raise DataError(f"there is no prompt, and the two sides do not begin with the same message. {_ADVICE}")
    return first[:end], first[end:], second[end:]


def _common_length(first: str | list[Message], second: str | list[Message]) -> int:
    for index, (left, right) in enumerate(zip(first, second, strict=False)):
        if left != right:
            return index
    return min(len(first), len(second))


def _text_boundary(chosen: str, rejected: str) -> int:
    common = chosen[: _common_length(chosen, rejected)]
    turns = [match.end() for match in _TURN.finditer(common)]
    if turns:
        # An earlier turn would do as a boundary too, but an empty last turn is a fault of the row, to be reported.
        if says_nothing(chosen[turns[-1] :]) or says_nothing(rejected[turns[-1] :]):
            raise DataError("a side ends where the assistant's last turn begins: the completion is empty.")
        return turns[-1]
    for end in _boundaries(common):
        if not any(map(says_nothing, (common[:end], chosen[end:], rejected[end:]))):
            return end
    raise DataError(f"there is no prompt, and the two sides do not begin with the same words. {_ADVICE}")


def _boundaries(common: str) -> Iterator[int]:
    for pattern in (_LINE, _SENTENCE, _WORD):
        yield from reversed([match.end() for match in pattern.finditer(common)])
