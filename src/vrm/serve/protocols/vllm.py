"""vLLM's shapes of /classify, /pooling and /score, as verl and others read them."""

from __future__ import annotations

import time
import uuid
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import AliasChoices, ConfigDict, Field
from scipy.special import expit

from vrm.data.schema import Judgment
from vrm.inference.rewards import RowRewards
from vrm.serve.errors import RequestError
from vrm.serve.protocols.common import CHOICE_PARAMETERS, UrlChoice, protocol_router
from vrm.serve.service import Service
from vrm.serve.settings import ServeSettings
from vrm.serve.texts import SOURCE, Conversation, Formatted, check_number, messages_of, plain_conversation
from vrm.wire.schema import Message, Texts
from vrm.wire.schema import Request as Body

LABEL = "LABEL_0"


class VllmRequest(Body):
    """What all requests may have."""

    model: str | None = Field(None, description="Not checked: this server has one model, which the answer names.")
    encoding_format: Literal["float"] | None = Field(None, description="Numbers are given as numbers.")


class PoolingRequest(VllmRequest):
    """One conversation, or texts that the reward model's chat template has formatted."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "messages": [
                        {"role": "user", "content": "How do I boil an egg?"},
                        {"role": "assistant", "content": "Ten minutes in boiling water."},
                    ]
                }
            ]
        }
    )

    input: Texts | None = Field(None, description="Each text holds the generation prompt exactly once.")
    messages: list[Message] | None = Field(
        None, min_length=2, description="A conversation that ends with the assistant."
    )


_ACTIVATION = "True: the logistic function of the reward. Default: the reward itself, as of a regression."


class ClassifyRequest(PoolingRequest):
    """As for pooling."""

    use_activation: bool | None = Field(None, description=_ACTIVATION)


class PairsRequest(VllmRequest):
    """Prompts and completions: one prompt for all completions, or one for each."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"text_1": "How do I boil an egg?", "text_2": ["Ten minutes in boiling water.", "No idea."]},
            ]
        }
    )

    text_1: Texts = Field(
        validation_alias=AliasChoices("text_1", "queries", "data_1"),
        description="The prompt of all completions, or a list of one a completion. Also `queries` and `data_1`.",
    )
    text_2: Texts = Field(
        validation_alias=AliasChoices("text_2", "documents", "items", "data_2"),
        description="The completion, or a list. Also `documents`, `items` and `data_2`.",
    )
    use_activation: bool | None = Field(None, description=_ACTIVATION)


class Usage(Body):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: Literal[0] = 0


class ClassificationData(Body):
    """The reward of one input, in the place of a class's probability."""

    index: int
    label: str = LABEL
    probs: list[float] = Field(description="One number.")
    num_classes: Literal[1] = 1


class Listed(Body):
    """The fields that all answers of vLLM have."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    usage: Usage


class ClassifyResponse(Listed):
    """vLLM's answer."""

    data: list[ClassificationData]


class PoolingData(Body):
    """The reward of one input."""

    index: int
    object: Literal["pooling"] = "pooling"
    data: list[float] = Field(description="One number.")


class PoolingResponse(Listed):
    """vLLM's answer."""

    data: list[PoolingData]


class ScoreData(Body):
    """The reward of one completion."""

    index: int
    object: Literal["score"] = "score"
    score: float


class PairsResponse(Listed):
    """vLLM's answer."""

    data: list[ScoreData]


def vllm_router(service: Service) -> APIRouter:
    """Routes that vLLM's server has."""
    router = protocol_router("vLLM", *CHOICE_PARAMETERS)

    @router.post("/classify", summary="Rewards in vLLM's shape of a classification")
    async def classify(body: ClassifyRequest, request: Request, choice: UrlChoice) -> ClassifyResponse:
        """The reward is `data[i].probs[0]`."""
        rows = await service.rewards(request, _items(body, service), choice)
        values = _activated(rows, body.use_activation)
        data = [ClassificationData(index=index, probs=[value]) for index, value in enumerate(values)]
        return ClassifyResponse(data=data, **_envelope("classify", service, rows))

    @router.post("/pooling", summary="Rewards in vLLM's shape of a pooled output")
    async def pooling(body: PoolingRequest, request: Request, choice: UrlChoice) -> PoolingResponse:
        """The reward is `data[i].data[0]`."""
        rows = await service.rewards(request, _items(body, service), choice)
        data = [PoolingData(index=index, data=[row.chosen[0]]) for index, row in enumerate(rows)]
        return PoolingResponse(data=data, **_envelope("pool", service, rows))

    @router.post("/score", summary="Rewards in vLLM's shape of scores of pairs of texts")
    async def score(body: PairsRequest, request: Request, choice: UrlChoice) -> PairsResponse:
        """The reward of completion `i` is `data[i].score`, as `/v1/score` gives it to the same plain texts."""
        rows = await service.rewards(request, _pairs(body, service.settings), choice)
        values = _activated(rows, body.use_activation)
        data = [ScoreData(index=index, score=value) for index, value in enumerate(values)]
        return PairsResponse(data=data, **_envelope("score", service, rows))

    return router


def _activated(rows: list[RowRewards], use_activation: bool | None) -> list[float]:
    values = [value for row in rows for value in row.chosen]
    return expit(values).tolist() if use_activation else values


def _pairs(body: PairsRequest, settings: ServeSettings) -> list[Conversation | Formatted]:
    prompts, completions = _named(body.text_1, "text_1"), _named(body.text_2, "text_2")
    check_number(max(prompts, completions, key=len), settings.max_texts, "text_2")
    if completions and len(prompts) not in (1, len(completions)):
        raise RequestError(
            f"text_1: {len(prompts):,} prompts for {len(completions):,} completions; one for all or one for each is "
            "needed",
            "text_1",
        )
    if len(prompts) == 1:
        return [plain_conversation(prompts[0], completions, settings)] if completions else []
    return [plain_conversation(prompt, [completion], settings) for prompt, completion in zip(prompts, completions)]


def _named(texts: str | list[str], param: str) -> list[tuple[str, str]]:
    if isinstance(texts, str):
        return [(param, texts)]
    return [(f"{param}[{index}]", text) for index, text in enumerate(texts)]


def _items(body: PoolingRequest, service: Service) -> list[Conversation | Formatted]:
    if (body.input is None) == (body.messages is None):
        raise RequestError("input: give either 'input' or 'messages'", "input")
    if body.messages is not None:
        messages = messages_of(body.messages, "messages", service.settings)
        if messages[-1]["role"] != "assistant":
            role = messages[-1]["role"]
            raise RequestError(f"messages: the last is the {role}'s; the assistant's is judged", "messages")
        return [Conversation(Judgment(messages[:-1], [messages[-1:]], file=SOURCE), "messages", "messages")]
    if isinstance(body.input, str):
        return [Formatted(body.input, None, "input")]
    texts = body.input or []
    check_number(texts, service.settings.max_texts, "input")
    return [Formatted(text, None, f"input[{index}]") for index, text in enumerate(texts)]


def _envelope(kind: str, service: Service, rows: list[RowRewards]) -> dict[str, Any]:
    tokens = sum(row.tokenized.tokens for row in rows)
    return {
        "id": f"{kind}-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": service.settings.name,
        "usage": Usage(prompt_tokens=tokens, total_tokens=tokens),
    }
