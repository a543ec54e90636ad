"""From texts of a request to tokenized judgments, within the server's limits. Errors name texts, not their contents."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vrm.data import texts
from vrm.data.fields import RowCheck
from vrm.data.formatted import FormattedTokenizer
from vrm.data.schema import Judgment, Text
from vrm.data.tokenized import JudgmentTokenizer, TokenizedJudgment
from vrm.errors import BoundaryError, OverlongError, VrmError
from vrm.inference.engine import RewardEngine
from vrm.serve.errors import RequestError
from vrm.serve.metrics import ServeMetrics
from vrm.serve.settings import ServeSettings
from vrm.wire.schema import JudgmentRequest, Message
from vrm.wire.schema import Text as WireText

SOURCE = "request"


def check_number(values: Sequence[object], most: int, param: str) -> None:
    """Raise RequestError if there are too many texts."""
    if len(values) > most:
        raise RequestError(f"{param}: {len(values):,} texts; at most {most:,} in one request", param)


def check_characters(count: int, most: int, param: str) -> None:
    """Raise RequestError if there are too many characters."""
    if count > most:
        raise RequestError(f"{param}: {count:,} characters; at most {most:,} are read", param)


def judgment_of(request: JudgmentRequest, settings: ServeSettings) -> Judgment:
    """The judgment that a native request asks for.

    Raises:
        RequestError: for a text that is too long, a prompt that says nothing, or texts of two formats.
    """
    prompt = _text(request.prompt, "prompt", settings)
    check_characters(len(json.dumps(request.tools or [])), settings.max_characters, "tools")
    named = [(f"completions[{index}]", value) for index, value in enumerate(request.completions)]
    completions = texts.as_messages(prompt, [(param, _text(value, param, settings)) for param, value in named])
    check = RowCheck(SOURCE, 0)
    texts.check_texts(check, prompt, completions, allow_blank=True)
    for problem in check.problems:
        raise RequestError(f"{problem.field}: {problem.reason}", problem.field)
    return Judgment(prompt, [value for _, value in completions], tools=request.tools, file=SOURCE)


def _text(value: WireText, param: str, settings: ServeSettings) -> Text:
    if isinstance(value, str):
        check_characters(len(value), settings.max_characters, param)
        return value
    return messages_of(value, param, settings)


def messages_of(messages: Sequence[Message], param: str, settings: ServeSettings) -> list[dict[str, Any]]:
    """Messages as the chat template reads them; RequestError if they are too long together."""
    further = [message.model_extra for message in messages if message.model_extra]
    count = sum(len(message.content or "") for message in messages) + sum(len(json.dumps(extra)) for extra in further)
    check_characters(count, settings.max_characters, param)
    # Templates read `content` of every message, also of one that only calls tools.
    return [{**message.model_dump(exclude_none=True), "content": message.content or ""} for message in messages]


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


class RequestTokenizer:
    """Tokenizes the texts of requests. Tokenizers keep state between calls: use it from one thread.

    Args:
        engine: gives the limit and the policy for overlong texts.
        settings: limits.
        metrics: where cut judgments are counted.
    """

    def __init__(self, engine: RewardEngine, settings: ServeSettings, metrics: ServeMetrics) -> None:
        self._tokenizer: JudgmentTokenizer = engine.tokenize
        self._settings, self._metrics = settings, metrics
        self._formatted = FormattedTokenizer(engine.tokenizer, wrap_text=engine.model.config.conversational)

    def __call__(self, item: Judgment | Formatted) -> TokenizedJudgment:
        """Token ids of a judgment or formatted text, within the limit.

        Raises:
            RequestError: the chat template refuses it, the end of the prompt is not certain (see `FormattedTokenizer`),
                or it does not fit into the model.
        """
        if isinstance(item, Judgment):
            return self._fitted(_tokenized(lambda: self._tokenizer.whole(item), "prompt"), "completions")
        check_characters(len(item.text), 2 * self._settings.max_characters, item.param)
        return self._fitted(
            _tokenized(lambda: self._formatted.tokenize(item.text, item.prompt), item.param), item.param
        )

    def _fitted(self, whole: TokenizedJudgment, param: str) -> TokenizedJudgment:
        if not whole.prompt:
            raise RequestError("prompt: the model reads no token of it", "prompt")
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


def _tokenized(tokenize: Callable[[], TokenizedJudgment], param: str) -> TokenizedJudgment:
    try:
        return tokenize()
    except BoundaryError as error:
        raise RequestError(f"{param}: {error}", param) from None
    except VrmError as error:
        raise RequestError(str(error), param) from None
    except Exception as error:
        # Templates are programs: they may fail in any way, and their errors may quote the text.
        reason = type(error).__name__
        raise RequestError(
            f"{param}: the model's chat template cannot render these messages ({reason})", param
        ) from None
