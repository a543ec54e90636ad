"""From text and messages to token ids, with the boundary between prompt and completion known, never guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vrm.data.schema import Judgment, Message, Text
from vrm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SENTINEL = "vrmCompletionSentinel"

ENCODER_TEMPLATE = (
    "{{ cls }}"
    "{%- set last_is_completion = messages[-1]['role'] == 'assistant' and not add_generation_prompt -%}"
    "{%- set turns = messages[:-1] if last_is_completion else messages -%}"
    "{%- for message in turns -%}"
    "{%- if turns | length > 1 %}{{ message['role'] }}: {% endif -%}{{ message['content'] }}"
    "{%- if not loop.last %}{{ '\n' }}{% endif -%}"
    "{%- endfor -%}"
    "{{ sep }}"
    "{%- if last_is_completion %}{{ messages[-1]['content'] }}{{ sep }}{% endif -%}"
)
"""Template of encoders that have none: [CLS] prompt [SEP] completion [SEP]; roles are named where there are turns."""


@dataclass(frozen=True, slots=True)
class TokenizedPrompt:
    """A prompt's ids, and how a completion is attached to it.

    Attributes:
        ids: token ids of the prompt, to the end of the generation prompt without its trailing whitespace.
        text: rendered prompt, the trailing whitespace included.
        gap: that trailing whitespace; it is tokenized with the completion.
        lead: text the template puts between the generation prompt and the completion's content, usually none.
        tail: text the template puts after the content (end of turn).
    """

    ids: list[int]
    text: str
    gap: str
    lead: str
    tail: str


def ensure_chat_template(tokenizer: PreTrainedTokenizerBase, backbone_kind: str) -> None:
    """Give an encoder's tokenizer `ENCODER_TEMPLATE` if it has no chat template, so that it is saved with the model."""
    if getattr(tokenizer, "chat_template", None) or backbone_kind != "encoder":
        return
    if tokenizer.cls_token is None or tokenizer.sep_token is None:
        raise ConfigError("this encoder's tokenizer has no cls_token or sep_token, and no chat template: set one")
    template = ENCODER_TEMPLATE.replace("{{ cls }}", tokenizer.cls_token).replace("{{ sep }}", tokenizer.sep_token)
    tokenizer.chat_template = template


def generation_prompt(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Text that the chat template ends a prompt with, trailing whitespace included; None without a template.

    Templates without a generation prompt of their own end it with what follows the user's content.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None
    messages: list[Message] = [{"role": "user", "content": _SENTINEL}]
    without = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False))
    with_prompt = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    pattern = with_prompt[len(without) :] if with_prompt.startswith(without) else ""
    return pattern if pattern.strip() else with_prompt.split(_SENTINEL)[-1]


def prompt_boundary_ids(tokenizer: PreTrainedTokenizerBase) -> list[int] | None:
    """Token ids of the template's generation prompt without its trailing whitespace; None without a template.

    A byte-level BPE may merge that whitespace with the start of a completion, so it cannot be part of a pattern.
    """
    pattern = generation_prompt(tokenizer)
    if pattern is None:
        return None
    return list(tokenizer.encode(pattern.rstrip(), add_special_tokens=False)) or None


class ChatTokenizer:
    """Tokenizes prompts and completions apart.

    Completion text never parses to special tokens, whatever it spells, so a policy cannot forge a boundary or an end
    of turn. Conversational rows go through the chat template; plain text is concatenated and ends with EOS, as TRL
    does, unless `wrap_text` turns it into messages first.

    Args:
        tokenizer: a fast or slow `transformers` tokenizer.
        wrap_text: wrap plain prompts and completions into user and assistant messages.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, wrap_text: bool = False) -> None:
        self.tokenizer = tokenizer
        self.wrap_text = wrap_text

    def prompt(self, judgment: Judgment) -> TokenizedPrompt:
        """Tokenize the prompt of a judgment."""
        prompt = self._messages(judgment.prompt, "user")
        if isinstance(prompt, str):
            return TokenizedPrompt(self._special(prompt, add_special_tokens=True), prompt, "", "", self._eos())
        text = self._render(prompt, judgment, add_generation_prompt=True)
        probe = self._render([*prompt, {"role": "assistant", "content": _SENTINEL}], judgment)
        lead, tail = self._around_sentinel(text, probe)
        stripped = text.rstrip()
        return TokenizedPrompt(self._special(stripped), text, text[len(stripped) :], lead, tail)

    def completion(self, prompt: TokenizedPrompt, completion: Text, judgment: Judgment) -> list[int]:
        """Token ids of a completion of that prompt, its end of turn included."""
        completion = self._messages(completion, "assistant")
        if isinstance(completion, str):
            return self._plain(completion) + self._special(prompt.tail)
        history = self._messages(judgment.prompt, "user")
        if isinstance(history, str):
            raise DataError("a row must not mix a plain-text prompt with a completion of messages")
        rendered = self._render([*history, *completion], judgment)
        if not _is_plain_turn(completion) or not rendered.startswith(prompt.text):
            return self._with_markers(prompt, history, completion, judgment)
        body = rendered[len(prompt.text) :]
        tail = prompt.tail if body.endswith(prompt.tail) else ""
        content = body.removeprefix(prompt.lead)
        content = content[: len(content) - len(tail)]
        if prompt.lead.strip():
            return self._special(prompt.gap + prompt.lead) + self._plain(content) + self._special(tail)
        return self._plain(prompt.gap + prompt.lead + content) + self._special(tail)

    def _with_markers(
        self, prompt: TokenizedPrompt, history: list[Message], completion: list[Message], judgment: Judgment
    ) -> list[int]:
        """Several turns, tool calls: the template's own markers stand inside, so the text is parsed.

        Special tokens that the messages spell are hidden from that, and tokenized as text.
        """
        names = {token: f"vrmSpelled{index}Token" for index, token in enumerate(self._special_tokens)}
        rendered = self._render([*history, *_replaced(completion, names)], judgment)
        text = rendered[_common_prefix(prompt.text.rstrip(), rendered) :]
        spelled = {name: token for token, name in names.items()}
        parts = re.split(f"({'|'.join(spelled)})", text) if spelled else [text]
        pieces = [self._plain(spelled[part]) if part in spelled else self._special(part) for part in parts]
        return [token for piece in pieces for token in piece]

    @cached_property
    def _special_tokens(self) -> list[str]:
        added = [token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        # The longest first: one may be a part of another.
        return sorted({*added, *self.tokenizer.all_special_tokens}, key=lambda token: (-len(token), token))

    def _around_sentinel(self, text: str, probe: str) -> tuple[str, str]:
        if not probe.startswith(text) or _SENTINEL not in probe[len(text) :]:
            return "", ""
        before, _, after = probe[len(text) :].partition(_SENTINEL)
        return before, after

    def _messages(self, value: Text, role: str) -> Text:
        if isinstance(value, str) and self.wrap_text:
            return [{"role": role, "content": value}]
        return value

    def _render(self, messages: list[Message], judgment: Judgment, add_generation_prompt: bool = False) -> str:
        if not getattr(self.tokenizer, "chat_template", None):
            raise ConfigError(
                "the row holds messages but the tokenizer has no chat template: set one, or use plain text"
            )
        kwargs: dict[str, Any] = dict(judgment.chat_template_kwargs or {})
        return str(
            self.tokenizer.apply_chat_template(
                messages, tools=judgment.tools, tokenize=False, add_generation_prompt=add_generation_prompt, **kwargs
            )
        )

    def _special(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=add_special_tokens, verbose=False)) if text else []

    def _plain(self, text: str) -> list[int]:
        return (
            list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True, verbose=False))
            if text
            else []
        )

    def _eos(self) -> str:
        eos = self.tokenizer.eos_token
        return str(eos) if eos else ""


def _is_plain_turn(messages: list[Message]) -> bool:
    return (
        len(messages) == 1 and isinstance(messages[0].get("content"), str) and set(messages[0]) == {"role", "content"}
    )


def _replaced(value: Any, names: dict[str, str]) -> Any:
    """`value` with every key of `names` replaced in all of its strings, however deep."""
    if isinstance(value, str):
        for text, name in names.items():
            value = value.replace(text, name)
        return value
    if isinstance(value, dict):
        return {key: _replaced(entry, names) for key, entry in value.items()}
    if isinstance(value, list):
        return [_replaced(entry, names) for entry in value]
    return value


def _common_prefix(first: str, second: str) -> int:
    length = 0
    for a, b in zip(first, second):
        if a != b:
            break
        length += 1
    return length
