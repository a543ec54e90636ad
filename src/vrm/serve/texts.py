"""From texts of a request to tokenized judgments, within the server's limits. Errors name texts, not their contents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from vrm.data import fields, texts
from vrm.data.drafts import Draft
from vrm.data.encoding import Reader
from vrm.data.fields import RowCheck
from vrm.data.formatted import FormattedTokenizer
from vrm.data.problems import InvalidRowError
from vrm.data.schema import Judgment, Text
from vrm.data.tokenized import JudgmentTokenizer, TokenizedJudgment, encoded, with_words
from vrm.errors import OverlongError, VrmError
from vrm.inference.engine import RewardEngine
from vrm.serve.errors import RequestError, size_of
from vrm.serve.metrics import ServeMetrics
from vrm.serve.settings import ServeSettings
from vrm.serve.together import each
from vrm.wire.schema import JudgmentRequest, Message
from vrm.wire.schema import Text as WireText

SOURCE = "request"

T = TypeVar("T")


def check_number(values: Sequence[object], most: int, param: str) -> None:
    """Raise RequestError if there are too many texts."""
    if len(values) > most:
        raise RequestError(f"{param}: {len(values):,} texts; at most {most:,} in one request", param)


def check_text(text: str, most: int, param: str) -> str:
    """The text; RequestError if it has too many characters, or half of a surrogate pair."""
    _check_characters(len(text), most, param)
    check = RowCheck(SOURCE, 0)
    fields.text(check, param, text)
    _refuse(check)
    return text


def _check_characters(count: int, most: int, param: str) -> None:
    if count > most:
        raise RequestError(f"{param}: {count:,} characters; at most {most:,} are read", param)


def _refuse(check: RowCheck) -> None:
    for problem in check.problems:
        status = 400 if problem.kind == fields.INVALID_UNICODE else None
        raise RequestError(f"{problem.field}: {problem.reason.rstrip('.')}", problem.field, status=status)


@dataclass(frozen=True)
class Conversation:
    """A prompt and its completions.

    Attributes:
        judgment: the texts.
        prompt_param, completions_param: the fields of the request that they stand in.
    """

    judgment: Judgment
    prompt_param: str
    completions_param: str

    @property
    def count(self) -> int:
        """How many completions it has."""
        return len(self.judgment.completions)

    @property
    def params(self) -> tuple[str, str]:
        """The fields that prompt and completions stand in."""
        return self.prompt_param, self.completions_param


def conversation_of(request: JudgmentRequest, settings: ServeSettings) -> Conversation:
    """What a native request asks for.

    Raises:
        RequestError: for a text that is too long, a prompt that says nothing, or texts of two formats.
    """
    prompt = _text(request.prompt, "prompt", settings)
    _check_characters(len(json.dumps(request.tools or [])), settings.max_characters, "tools")
    named = [(f"completions[{index}]", value) for index, value in enumerate(request.completions)]
    completions = texts.as_messages(prompt, [(param, _text(value, param, settings)) for param, value in named])
    _check_together(prompt, completions, "prompt")
    judgment = Judgment(prompt, [value for _, value in completions], tools=request.tools, file=SOURCE)
    return Conversation(judgment, "prompt", "completions")


def plain_conversation(
    prompt: tuple[str, str], completions: Sequence[tuple[str, str]], settings: ServeSettings
) -> Conversation:
    """A conversation of plain texts, each given with the field that it stands in; raises as `conversation_of`."""
    for param, text in (prompt, *completions):
        check_text(text, settings.max_characters, param)
    prompt_param, prompt_text = prompt
    named: texts.Completions = list(completions)
    _check_together(prompt_text, named, prompt_param)
    return Conversation(Judgment(prompt_text, [text for _, text in named], file=SOURCE), prompt_param, named[0][0])


def _check_together(prompt: Text, completions: texts.Completions, prompt_param: str) -> None:
    check = RowCheck(SOURCE, 0, {"prompt": prompt_param})
    texts.check_texts(check, prompt, completions, allow_blank=True)
    _refuse(check)


def _text(value: WireText, param: str, settings: ServeSettings) -> Text:
    if isinstance(value, str):
        return check_text(value, settings.max_characters, param)
    return messages_of(value, param, settings)


def messages_of(messages: Sequence[Message], param: str, settings: ServeSettings) -> list[dict[str, Any]]:
    """Messages as the chat template reads them, checked and their text parts joined as those of files.

    Raises:
        RequestError: they are too long together, or hold half of a surrogate pair.
    """
    check = RowCheck(SOURCE, 0)
    # Templates read `content` of every message, also of one that only calls tools.
    dumped = [message.model_dump(exclude_none=True) for message in messages]
    read = fields.text(check, param, [{**entry, "content": entry.get("content", "")} for entry in dumped])
    further = [message.model_extra for message in messages if message.model_extra]
    _refuse(check)
    assert isinstance(read, list)
    count = sum(len(message["content"]) for message in read) + sum(len(json.dumps(extra)) for extra in further)
    _check_characters(count, settings.max_characters, param)
    return read


@dataclass(frozen=True)
class Formatted:
    """A text that the chat template has formatted.

    Attributes:
        text: prompt and completion.
        prompt: the prompt's text, if the request has it.
        param: the field that it stands in.
    """

    text: str
    prompt: str | None
    param: str
    count = 1

    @property
    def params(self) -> tuple[str, str]:
        """The fields that prompt and completion stand in."""
        return self.param, self.param


Items: TypeAlias = Sequence[Conversation | Formatted]
"""The texts of one request."""


class RequestTokenizer:
    """Tokenizes the texts of requests, many at once. Tokenizers keep state between calls: use it from one thread.

    Args:
        engine: gives the limit and the policy for overlong texts.
        settings: limits.
        metrics: where cut judgments are counted.
    """

    def __init__(self, engine: RewardEngine, settings: ServeSettings, metrics: ServeMetrics) -> None:
        self._tokenizer: JudgmentTokenizer = engine.tokenize
        self._settings, self._metrics = settings, metrics
        self._formatted = FormattedTokenizer(engine.tokenizer, wrap_text=engine.model.config.conversational)

    def __call__(self, requests: Sequence[Items]) -> list[list[TokenizedJudgment] | Exception]:
        """Token ids of each request's conversations and formatted texts, within the limit, or the request's error.

        That is a RequestError where the chat template refuses a text, the end of a prompt is not certain (see
        `FormattedTokenizer`), or a text does not fit into the model.
        """
        drafts = each(lambda items: [self._draft(item) for item in items], requests)
        good = [draft for drafted in drafts if isinstance(drafted, list) for draft in drafted]
        read = self._tokenizer.chat.together(good)
        whole = each(partial(self._judgments, read), list(zip(requests, drafts, strict=True)))
        return list(whole)

    def _draft(self, item: Conversation | Formatted) -> Draft:
        if isinstance(item, Conversation):
            return self._read(lambda: self._tokenizer.chat.draft(item.judgment), item)
        check_text(item.text, 2 * self._settings.max_characters, item.param)
        return self._read(lambda: self._formatted.draft_of(item.text, item.prompt), item)

    def _judgments(self, read: Reader, drafted: tuple[Items, list[Draft] | Exception]) -> list[TokenizedJudgment]:
        items, drafts = drafted
        if isinstance(drafts, Exception):
            raise drafts
        return [self._fitted(draft, read, item) for draft, item in zip(drafts, items, strict=True)]

    def _fitted(self, draft: Draft, read: Reader, item: Conversation | Formatted) -> TokenizedJudgment:
        whole = self._read(lambda: with_words(encoded(draft, read)), item)
        prompt_param, param = item.params
        if not whole.prompt:
            raise RequestError(f"{prompt_param}: the model reads no token of the prompt", prompt_param)
        try:
            fitted = self._tokenizer.fit(whole)
        except OverlongError:
            fitted = None
        if fitted is None:
            raise RequestError(
                f"{param}: prompt and completion have {whole.longest:,} tokens together; the model reads at most "
                f"{self._tokenizer.max_tokens:,}, and this server refuses what is longer "
                f"(--on-overlong {self._tokenizer.on_overlong})",
                param,
            )
        if fitted.truncated:
            self._metrics.truncated.inc()
        return fitted

    def _read(self, read: Callable[[], T], item: Conversation | Formatted) -> T:
        param, _ = item.params
        try:
            return read()
        except InvalidRowError as error:
            # A template's words may quote the messages.
            reason = _without_texts(error.reason, item, str(self._tokenizer.chat.tokenizer.chat_template))
        except VrmError as error:
            reason = str(error)
        except Exception as error:
            if any(not _encodable(text) for text in _texts_of(item)):
                reason = "a text holds half of a surrogate pair; repair the text's encoding"
                raise RequestError(f"{param}: {reason}", param, status=400) from None
            reason = f"the model's tokenizer cannot read these texts ({type(error).__name__})"
        raise RequestError(f"{param}: {reason}", param) from None


def _without_texts(reason: str, item: Conversation | Formatted, template: str) -> str:
    for text in sorted(_texts_of(item), key=len, reverse=True):
        # Short texts may be words of the template itself.
        if text.strip() and text in reason and text not in template:
            reason = reason.replace(text, f"({size_of(text)})")
    return reason


def _texts_of(item: Conversation | Formatted) -> Iterator[str]:
    if isinstance(item, Formatted):
        return iter((item.text,))
    return _strings([item.judgment.prompt, item.judgment.completions, item.judgment.tools])


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _strings([*value, *value.values()])
    elif isinstance(value, Sequence):
        for entry in value:
            yield from _strings(entry)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
