"""vLLM's shapes of /classify and /pooling, as verl and others read them."""

from __future__ import annotations

import time
import uuid
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from scipy.special import expit

from vrm.data.schema import Judgment
from vrm.inference.rewards import RowRewards
from vrm.serve.errors import RequestError
from vrm.serve.protocols.common import CHOICE_PARAMETERS, UrlChoice, protocol_router
from vrm.serve.service import Service
from vrm.serve.texts import SOURCE, Formatted, check_number, messages_of
from vrm.wire.schema import Message
from vrm.wire.schema import Request as Body

LABEL = "LABEL_0"


class PoolingRequest(Body):
    """One conversation, or texts that the reward model's chat template has formatted."""

    model: str | None = Field(None, description="Not checked: this server has one model, which the answer names.")
    input: str | list[str] | None = Field(None, description="Each text holds the generation prompt exactly once.")
    messages: list[Message] | None = Field(
        None, min_length=2, description="A conversation that ends with the assistant."
    )


class ClassifyRequest(PoolingRequest):
    """As for pooling."""

    use_activation: bool | None = Field(
        None, description="True: the logistic function of the reward. Default: the reward itself, as of a regression."
    )


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


def vllm_router(service: Service) -> APIRouter:
    """Routes that vLLM's server has."""
    router = protocol_router("vLLM", *CHOICE_PARAMETERS)

    @router.post("/classify", summary="Rewards in vLLM's shape of a classification")
    async def classify(body: ClassifyRequest, request: Request, choice: UrlChoice) -> ClassifyResponse:
        """The reward is `data[i].probs[0]`."""
        rows = await service.rewards(request, _items(body, service), choice)
        values = [row.chosen[0] for row in rows]
        if body.use_activation:
            values = expit(values).tolist()
        data = [ClassificationData(index=index, probs=[value]) for index, value in enumerate(values)]
        return ClassifyResponse(data=data, **_envelope("classify", service, rows))

    @router.post("/pooling", summary="Rewards in vLLM's shape of a pooled output")
    async def pooling(body: PoolingRequest, request: Request, choice: UrlChoice) -> PoolingResponse:
        """The reward is `data[i].data[0]`."""
        rows = await service.rewards(request, _items(body, service), choice)
        data = [PoolingData(index=index, data=[row.chosen[0]]) for index, row in enumerate(rows)]
        return PoolingResponse(data=data, **_envelope("pool", service, rows))

    return router


def _items(body: PoolingRequest, service: Service) -> list[Judgment | Formatted]:
    if (body.input is None) == (body.messages is None):
        raise RequestError("input: give either 'input' or 'messages'", "input")
    if body.messages is not None:
        messages = messages_of(body.messages, "messages", service.settings)
        if messages[-1]["role"] != "assistant":
            role = messages[-1]["role"]
            raise RequestError(f"messages: the last is the {role}'s; the assistant's is judged", "messages")
        return [Judgment(messages[:-1], [messages[-1:]], file=SOURCE)]
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
