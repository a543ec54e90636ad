"""The prompt of a preference row that has none: what both sides begin with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

from vrm.data.schema import Message, Text
from vrm.errors import DataError

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
    split inside their longest common prefix, at the first of these that it has: after the last mark of an assistant's
    turn (`Assistant:` at the start of a line, or a chat markup's), after its last line, after its last sentence, after
    its last word. Prompt and completion put together are the text as it was.

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
        if not (chosen[turns[-1] :].strip() and rejected[turns[-1] :].strip()):
            raise DataError("a side ends where the assistant's last turn begins: the completion is empty.")
        return turns[-1]
    for end in _boundaries(common):
        if common[:end].strip() and chosen[end:].strip() and rejected[end:].strip():
            return end
    raise DataError(f"there is no prompt, and the two sides do not begin with the same words. {_ADVICE}")


def _boundaries(common: str) -> Iterator[int]:
    for pattern in (_LINE, _SENTENCE, _WORD):
        yield from reversed([match.end() for match in pattern.finditer(common)])
