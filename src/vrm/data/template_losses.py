"""What a chat template leaves out of a row without a word, found by rendering the row without it.

Templates remove thoughts, and print no tool calls or no tools. A part is lost where the text is the same without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vrm.data.problems import InvalidRowError
from vrm.data.rendering import render
from vrm.data.schema import Judgment, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOOLS = "the chat template prints no tools"
CALLS = "the chat template prints no tool calls"
THOUGHTS = "the chat template removes what stands before </think>"
NOTHING_LEFT = "nothing left by the chat template"
"""The kind of problem of a row that says nothing but what the template does not print."""
ONLY_CALLS = f"{CALLS}, and a completion says nothing else"

_END_OF_THOUGHT = "</think>"
_REASONING = ("reasoning_content", "reasoning", "thinking")


@dataclass
class TemplateLosses:
    """Looks for what a tokenizer's chat template leaves out; asks the template once for each kind of part."""

    tokenizer: PreTrainedTokenizerBase
    _printed: dict[str, bool] = field(default_factory=dict)

    def of(self, prompt: list[Message], completions: Sequence[list[Message]], row: Judgment) -> tuple[str, ...]:
        """What is lost of a row, in words; empty where all of it is printed.

        Args:
            prompt: messages of the row's prompt.
            completions: messages of each completion.
            row: gives tools and the template's arguments.
        """
        lost: dict[str, None] = {}
        for completion in completions:
            whole = [*prompt, *completion]
            for cause, others in _without_parts(prompt, completion):
                if not self._prints(cause, whole, row, [(other, row) for other in others]):
                    lost[cause] = None
            if row.tools and not self._prints(TOOLS, whole, row, [(whole, replace(row, tools=None))]):
                lost[TOOLS] = None
        return tuple(lost)

    def _prints(
        self, cause: str, whole: list[Message], row: Judgment, without: Sequence[tuple[list[Message], Judgment]]
    ) -> bool:
        if cause not in self._printed:
            try:
                text = render(self.tokenizer, whole, row)
                self._printed[cause] = all(render(self.tokenizer, *other) != text for other in without)
            except InvalidRowError:
                # The template refuses the row without the part, so it looks at it.
                self._printed[cause] = True
        return self._printed[cause]


def says_nothing_else(completion: list[Message]) -> bool:
    """Whether the messages of a completion call tools and have no content."""
    contents = [message.get("content") for message in completion]
    return any(message.get("tool_calls") for message in completion) and not any(
        content.strip() if isinstance(content, str) else content for content in contents
    )


def _without_parts(prompt: list[Message], completion: list[Message]) -> Iterator[tuple[str, list[list[Message]]]]:
    """Parts that a template may leave out, and the conversation as it is without each, in one or more spellings."""
    whole = [*prompt, *completion]
    if any(message.get("tool_calls") for message in whole):
        yield CALLS, [[_without(message, "tool_calls") for message in whole]]
    last = completion[-1] if completion else {}
    for key in _REASONING:
        if last.get(key):
            yield f"the chat template prints no {key}", [[*whole[:-1], _without(last, key)]]
    content = last.get("content")
    if isinstance(content, str) and _END_OF_THOUGHT in content:
        answer = content.rpartition(_END_OF_THOUGHT)[2]
        spellings = dict.fromkeys((answer, answer.lstrip("\n"), answer.strip()))
        yield THOUGHTS, [[*whole[:-1], {**last, "content": text}] for text in spellings]


def _without(message: Message, key: str) -> Message:
    return {name: value for name, value in message.items() if name != key}
