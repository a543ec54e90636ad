"""Messages as the text that a chat template makes of them, and the rows that a template refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vrm.data.problems import one_problem
from vrm.data.schema import Judgment, Message
from vrm.errors import ConfigError, in_one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REFUSED = "refused by the chat template"
"""The kind of problem of a row that a template does not render."""


def render(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], row: Judgment, add_generation_prompt: bool = False
) -> str:
    """The text of messages, with the tools and the template's arguments that the row has.

    Args:
        tokenizer: has the chat template.
        messages: the conversation, or the beginning of one.
        row: gives tools, arguments, and the place that an error names.
        add_generation_prompt: end the text with what opens the assistant's turn.

    Raises:
        ConfigError: there is no chat template, or it is no template at all.
        InvalidRowError: the template refuses these messages; the reason holds its own words.
    """
    from jinja2 import TemplateSyntaxError

    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError("the row holds messages but the tokenizer has no chat template: set one, or use plain text")
    options: dict[str, Any] = dict(row.chat_template_kwargs or {})
    try:
        return str(
            tokenizer.apply_chat_template(
                messages, tools=row.tools, tokenize=False, add_generation_prompt=add_generation_prompt, **options
            )
        )
    except TemplateSyntaxError as error:
        raise ConfigError(f"the chat template is no valid Jinja, line {error.lineno}: {error.message}") from None
    except Exception as error:  # a template is a program, and may fail in any way
        reason = f"the model's chat template refuses these messages: {_words(error)}"
        raise one_problem(row.file, row.line, "", REFUSED, reason) from None


def _words(error: Exception) -> str:
    """What a template says itself (`raise_exception`), or the name and the first line of another error."""
    from jinja2 import TemplateError

    words = str(error).strip().splitlines()
    return words[0] if isinstance(error, TemplateError) and words else in_one_line(error)
