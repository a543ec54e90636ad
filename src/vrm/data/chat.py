"""From text and messages to token ids, with the boundary between prompt and completion known, never guessed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from vrm.data.drafts import Draft, Frame, RenderedPrompt, TokenizedPrompt
from vrm.data.encoding import Part, Piece, PieceEncoder, Reader
from vrm.data.problems import InvalidRowError
from vrm.data.rendering import render
from vrm.data.schema import Judgment, Message, Text
from vrm.data.template_guard import guarded_template, has_guard, special_tokens
from vrm.data.template_losses import TemplateLosses
from vrm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SENTINEL = "vrmCompletionSentinel"

_MOST_FRAMES = 4096
"""Kinds of prompts whose frames are remembered: conversations of other lengths, other system prompts."""

ENCODER_TEMPLATE = (
    "{%- macro said(message) -%}{{ message['content'] or '' }}"
    "{%- for call in message['tool_calls'] or [] %}\n{{ (call['function'] or call) | tojson }}{% endfor -%}"
    "{%- endmacro -%}"
    "{{ cls }}{% if tools %}{{ tools | tojson }}\n{% endif %}"
    "{%- set last_is_completion = messages[-1]['role'] == 'assistant' and not add_generation_prompt -%}"
    "{%- set turns = messages[:-1] if last_is_completion else messages -%}"
    "{%- for message in turns -%}"
    "{%- if turns | length > 1 %}{{ message['role'] }}: {% endif -%}{{ said(message) }}"
    "{%- if not loop.last %}{{ '\n' }}{% endif -%}"
    "{%- endfor -%}"
    "{{ sep }}"
    "{%- if last_is_completion %}{{ said(messages[-1]) }}{{ sep }}{% endif -%}"
)
"""Template of encoders that have none: [CLS] prompt [SEP] completion [SEP]; roles are named where there are turns."""


def ensure_chat_template(tokenizer: PreTrainedTokenizerBase, backbone_kind: str) -> None:
    """Give an encoder's tokenizer `ENCODER_TEMPLATE` if it has no chat template, so that it is saved with the model.

    Where texts have no opening token and end with EOS (T5), that stands for `[SEP]`, and nothing for `[CLS]`.
    """
    if getattr(tokenizer, "chat_template", None) or backbone_kind != "encoder":
        return
    sep = tokenizer.sep_token or tokenizer.eos_token
    if sep is None:
        raise ConfigError(
            "this encoder's tokenizer has no chat template, and neither sep_token nor eos_token to end texts with: set "
            "model.chat_template, or one of these tokens"
        )
    template = ENCODER_TEMPLATE.replace("{{ cls }}", tokenizer.cls_token or "").replace("{{ sep }}", sep)
    tokenizer.chat_template = template


def describe_prompts(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What a model has to know of its tokenizer's prompts, as fields of `VRMConfig`; guards the chat template first."""
    guarded = guard_chat_template(tokenizer)
    return {
        "prompt_boundary_ids": prompt_boundary_ids(tokenizer),
        "guarded_template": guarded,
        "prompt_opening_id": _prompt_opening_id(tokenizer),
    }


def _prompt_opening_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    if not getattr(tokenizer, "chat_template", None):
        return None
    try:
        text = _rendered(tokenizer, [{"role": "user", "content": "."}])
    except InvalidRowError:
        return None
    first = tokenizer.encode(text, add_special_tokens=False)[0]
    return first if first in tokenizer.all_special_ids else None


def guard_chat_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Put a guard before the tokenizer's chat template (see `vrm.data.template_guard`), if it can be relied on.

    It can if the boundary's pattern holds what no text can spell, the template prints the same with it, and the last
    match of the pattern is then the prompt's end. Otherwise, and without a template, the tokenizer is left as it is.

    Returns:
        Whether the template is guarded: what `VRMConfig.guarded_template` stores.
    """
    template = getattr(tokenizer, "chat_template", None)
    if has_guard(tokenizer):
        return True
    pattern = prompt_boundary_ids(tokenizer)
    if not isinstance(template, str) or not pattern:
        return False
    unspellable = _unspellable_texts(tokenizer, pattern)
    if unspellable is None:
        return False
    try:
        before = _probe_texts(tokenizer)
        tokenizer.chat_template = guarded_template(template, unspellable)
        reliable = _probe_texts(tokenizer) == before and _last_match_ends_prompts(tokenizer, pattern)
    except InvalidRowError:  # the template takes no conversations of several turns
        reliable = False
    if not reliable:
        tokenizer.chat_template = template
    return reliable


def texts_guarded_against(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Texts that the guard of the tokenizer's chat template breaks in messages; none without a guard."""
    pattern = prompt_boundary_ids(tokenizer) if has_guard(tokenizer) else None
    return (_unspellable_texts(tokenizer, pattern) if pattern else None) or []


def generation_prompt(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Text that the chat template ends a prompt with, trailing whitespace included.

    None without a template, and where it refuses a lone question. Without what completions do not repeat (`<think>` of
    some templates). Templates without a generation prompt of their own end a prompt with what follows the user's
    content.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None
    user: Message = {"role": "user", "content": _SENTINEL}
    try:
        without, prompt = (_rendered(tokenizer, [user], add_generation_prompt=asked) for asked in (False, True))
        answered = _rendered(tokenizer, [user, {"role": "assistant", "content": "."}])
    except InvalidRowError:
        return None
    prompt = prompt[: _common_prefix(prompt, answered)]
    pattern = prompt[len(without) :] if prompt.startswith(without) else ""
    return pattern if pattern.strip() else prompt.split(_SENTINEL)[-1]


def prompt_boundary_ids(tokenizer: PreTrainedTokenizerBase) -> list[int] | None:
    """Token ids of the template's generation prompt without its trailing whitespace; None without a template.

    A byte-level BPE may merge that whitespace with the start of a completion, so it cannot be part of a pattern.
    """
    pattern = generation_prompt(tokenizer)
    if pattern is None:
        return None
    return list(tokenizer.encode(pattern.rstrip(), add_special_tokens=False)) or None


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: list[Message], add_generation_prompt: bool = False) -> str:
    return render(tokenizer, messages, Judgment(messages), add_generation_prompt)


def _unspellable_texts(tokenizer: PreTrainedTokenizerBase, pattern: list[int]) -> list[str] | None:
    """Texts to break in messages, so that no message tokenizes to `pattern`; None if that cannot be promised."""
    tokens = special_tokens(tokenizer)
    if any(_is_unspellable(tokenizer, token) for token in pattern):
        return tokens
    # A pattern of plain text (`ASSISTANT:`) is broken itself, unless a normalizer makes it out of other texts.
    backend = getattr(tokenizer, "backend_tokenizer", None)
    lines = str(tokenizer.decode(pattern)).strip().splitlines()
    if backend is None or backend.normalizer is not None or not lines or len(lines[-1]) < 2:
        return None
    return [*tokens, lines[-1]]


def _is_unspellable(tokenizer: PreTrainedTokenizerBase, token_id: int) -> bool:
    """Whether the id stands for a special token that is matched as written, and that plain text never becomes."""
    token = tokenizer.added_tokens_decoder.get(token_id)
    if token is None or not token.special or token.normalized or len(token.content) < 2:
        return False
    texts = (token.content, f"a {token.content} a", f"a{token.content}a")
    return all(
        token_id not in tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True) for text in texts
    )


def _probes() -> list[tuple[list[Message], list[Message]]]:
    """Conversations of one and more turns, and completions that begin with each kind of character."""
    question: Message = {"role": "user", "content": "Why?"}
    turns: list[Message] = [{"role": "assistant", "content": f"{start}."} for start in ("Yes", "1", ")", " a", "\n\nb")]
    prompts = [[question], [question, turns[0], question], [question, turns[-1], question, turns[0], question]]
    return [(prompt, [turn]) for prompt in prompts for turn in turns]


def _probe_texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    prompts = [_rendered(tokenizer, prompt, add_generation_prompt=True) for prompt, _ in _probes()]
    return prompts + [_rendered(tokenizer, [*prompt, *completion]) for prompt, completion in _probes()]


def _last_match_ends_prompts(tokenizer: PreTrainedTokenizerBase, pattern: list[int]) -> bool:
    chat = ChatTokenizer(tokenizer)
    for messages, completion in _probes():
        judgment = Judgment(messages, [completion])
        prompt = chat.prompt(judgment)
        row = prompt.ids + chat.completion(prompt, completion, judgment)
        whole = tokenizer.encode(_rendered(tokenizer, [*messages, *completion]), add_special_tokens=False)
        starts = (index for index in range(len(row) - len(pattern)) if row[index : index + len(pattern)] == pattern)
        if row != whole or max(starts, default=-1) + len(pattern) != len(prompt.ids):
            return False
    return True


class _Conversation(NamedTuple):
    """Messages of a prompt and of a completion, and the text of both."""

    history: list[Message]
    completion: list[Message]
    text: str

    def begins(self, prompt: str) -> bool:
        """Whether the text begins with the prompt's."""
        return self.text.startswith(prompt)


class ChatTokenizer:
    """Tokenizes prompts and completions apart.

    Completion text never parses to special tokens, whatever it spells, so a policy cannot forge a boundary or an end
    of turn. Behind a guarded template the ids of prompt and completion are those of the whole text, which is what
    programs tokenize that know nothing of this class. Conversational rows go through the chat template; plain text is
    concatenated and ends with EOS, as TRL does, unless `wrap_text` turns it into messages first.

    Args:
        tokenizer: a fast or slow `transformers` tokenizer.
        wrap_text: wrap plain prompts and completions into user and assistant messages.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, wrap_text: bool = False) -> None:
        self.tokenizer = tokenizer
        self.wrap_text = wrap_text
        self.encoder = PieceEncoder(tokenizer)
        self._guarded = has_guard(tokenizer)
        self._frames: dict[Any, Frame] = {}

    def prompt(self, judgment: Judgment) -> TokenizedPrompt:
        """Tokenize the prompt of a judgment."""
        rendered = self._prompt(judgment)
        return TokenizedPrompt(self.encoder(rendered.piece), rendered)

    def completion(self, prompt: TokenizedPrompt, completion: Text, judgment: Judgment) -> list[int]:
        """Token ids of a completion of that prompt, its end of turn included."""
        return self._part(prompt.rendered, self._rendered(completion, judgment), judgment).ids(self.encoder)

    def draft(self, judgment: Judgment) -> Draft:
        """Render a row: its prompt once and each completion once, where a prompt of these turns was rendered before.

        Raises:
            InvalidRowError: the chat template refuses it.
        """
        turns = self._turns(judgment)
        frame = self._frames.get(turns) if turns else None
        prompt = self._prompt(judgment, frame)
        texts = [self._rendered(completion, judgment) for completion in judgment.completions]
        if frame is not None and not all(isinstance(text, str) or text.begins(prompt.text) for text in texts):
            prompt = self._prompt(judgment)  # a row that the template treats in another way
        parts = tuple(self._part(prompt, text, judgment) for text in texts)
        return Draft(judgment, prompt.piece, parts, self.losses(judgment))

    def together(self, drafts: Iterable[Draft]) -> Reader:
        """Encode all of many rows at once."""
        return self.encoder.together(piece for draft in drafts for piece in draft.wanted())

    def _prompt(self, judgment: Judgment, frame: Frame | None = None) -> RenderedPrompt:
        """The prompt's text; what follows it is asked of the template, unless a frame has it already."""
        prompt = self._messages(judgment.prompt, "user")
        if isinstance(prompt, str):
            return RenderedPrompt(prompt, Piece(prompt, opened=True), tail=str(self.tokenizer.eos_token or ""))
        text = self._render(prompt, judgment, add_generation_prompt=True)
        if frame is None:
            text, frame = self._framed(text, prompt, judgment)
        stripped = text.rstrip()
        anchor = stripped[max([0, *(stripped.rfind(token) for token in self._special_tokens)]) :]
        return RenderedPrompt(text, Piece(stripped), text[len(stripped) :], *frame, anchor)

    def _framed(self, text: str, prompt: list[Message], judgment: Judgment) -> tuple[str, Frame]:
        """The prompt's text as far as an answer repeats it, and what stands around the answer's content."""
        probe = self._answered(prompt, judgment)
        whole = text
        if self._guarded and probe:
            text = text[: _common_prefix(text, probe)]
        lead, sentinel, tail = probe.removeprefix(text).partition(_SENTINEL) if probe.startswith(text) else ("",) * 3
        frame = Frame(lead if sentinel else "", tail)
        turns = self._turns(judgment)
        if turns and sentinel and text == whole and len(self._frames) < _MOST_FRAMES:
            self._frames[turns] = frame
        return text, frame

    def _turns(self, judgment: Judgment) -> tuple[tuple[str, str], ...]:
        """What the frame of a prompt depends on: whose turns they are, and what the system says. Empty for others."""
        prompt = self._messages(judgment.prompt, "user")
        if isinstance(prompt, str) or judgment.tools or judgment.chat_template_kwargs:
            return ()
        if not all(_is_plain_turn([message]) for message in prompt):
            return ()
        said = ("user", "assistant")
        return tuple((turn["role"], "" if turn["role"] in said else turn["content"]) for turn in prompt)

    def _rendered(self, completion: Text, judgment: Judgment) -> str | _Conversation:
        completion = self._messages(completion, "assistant")
        if isinstance(completion, str):
            return completion
        history = self._messages(judgment.prompt, "user")
        if isinstance(history, str):
            raise DataError("a row must not mix a plain-text prompt with a completion of messages")
        return _Conversation(history, completion, self._render([*history, *completion], judgment))

    def _part(self, prompt: RenderedPrompt, completion: str | _Conversation, judgment: Judgment) -> Part:
        """What is encoded of a completion of that prompt."""
        if isinstance(completion, str):
            return Part((Piece(completion, marked=False), Piece(prompt.tail)))
        rendered = completion.text
        if self._guarded:
            # Special tokens part the text, so its end alone is tokenized.
            return Part((Piece(rendered[_common_prefix(prompt.text.rstrip(), rendered) :]),), prompt.anchor)
        if not _is_plain_turn(completion.completion) or not completion.begins(prompt.text):
            return self._with_markers(prompt, completion, judgment)
        body = rendered[len(prompt.text) :]
        tail = prompt.tail if body.endswith(prompt.tail) else ""
        content = body.removeprefix(prompt.lead)
        content = content[: len(content) - len(tail)]
        if prompt.lead.strip():
            return Part((Piece(prompt.gap + prompt.lead), Piece(content, marked=False), Piece(tail)))
        return Part((Piece(prompt.gap + prompt.lead + content, marked=False), Piece(tail)))

    def _with_markers(self, prompt: RenderedPrompt, whole: _Conversation, judgment: Judgment) -> Part:
        """Several turns, tool calls: the template's own markers stand inside, so the text is parsed.

        Special tokens that the messages spell are hidden from that, and tokenized as text.
        """
        names = {token: f"vrmSpelled{index}Token" for index, token in enumerate(self._special_tokens)}
        rendered = self._render([*whole.history, *_replaced(whole.completion, names)], judgment)
        text = rendered[_common_prefix(prompt.text.rstrip(), rendered) :]
        spelled = {name: token for token, name in names.items()}
        parts = re.split(f"({'|'.join(spelled)})", text) if spelled else [text]
        return Part(tuple(Piece(spelled.get(part, part), marked=part not in spelled) for part in parts))

    @cached_property
    def _special_tokens(self) -> list[str]:
        return special_tokens(self.tokenizer)

    def losses(self, judgment: Judgment) -> tuple[str, ...]:
        """What the chat template leaves out of a row, in words; see `vrm.data.template_losses`."""
        prompt = self._messages(judgment.prompt, "user")
        completions = [self._messages(text, "assistant") for text in judgment.completions]
        if isinstance(prompt, str):
            return ()
        return self._losses.of(prompt, [text for text in completions if not isinstance(text, str)], judgment)

    @cached_property
    def _losses(self) -> TemplateLosses:
        return TemplateLosses(self.tokenizer)

    def _messages(self, value: Text, role: str) -> Text:
        if isinstance(value, str) and self.wrap_text:
            return [{"role": role, "content": value}]
        return value

    def _answered(self, prompt: list[Message], judgment: Judgment) -> str:
        """The prompt with an answer; empty where the template refuses an answer here, as behind a call of a tool."""
        try:
            return self._render([*prompt, {"role": "assistant", "content": _SENTINEL}], judgment)
        except InvalidRowError:
            return ""

    def _render(self, messages: list[Message], judgment: Judgment, add_generation_prompt: bool = False) -> str:
        return render(self.tokenizer, messages, judgment, add_generation_prompt)


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
    # By halves: slices are compared faster than characters, and texts may be long.
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
