"""slime's remote reward model: the body of the answer is the reward."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from vrm.data.schema import Judgment
from vrm.serve.errors import RequestError
from vrm.serve.protocols.common import CHOICE_PARAMETERS, UrlChoice, protocol_router
from vrm.serve.service import Service
from vrm.serve.texts import SOURCE, Conversation, Formatted, check_text, messages_of
from vrm.wire.schema import Text


class SlimeRequest(BaseModel):
    """What slime posts. Further fields are its own bookkeeping and are not read."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {"prompt": "How do I boil an egg?", "response": "Ten minutes in boiling water.", "label": None}
            ]
        },
    )

    prompt: Text = Field(description="Formatted by the reward model's chat template, plain text, or messages.")
    response: str = Field(description="What the policy wrote, with or without its end of turn.")
    label: Any = Field(None, description="Not read: a reward model has no use for the answer.")


class SlimeReward(BaseModel):
    """An object for slime's `--reward-key`."""

    reward: float = Field(description="What the URL chooses: the mean, or the pessimistic or effective reward.")
    reward_mean: float
    reward_std: float
    truncated: bool


def slime_router(service: Service) -> APIRouter:
    """The route for slime's `--rm-url`."""
    router = protocol_router("slime", *CHOICE_PARAMETERS, "details", prefix="/slime")

    @router.post("/reward", summary="slime's remote reward model")
    async def reward(
        body: SlimeRequest,
        request: Request,
        choice: UrlChoice,
        details: Annotated[
            bool, Query(description="An object, of which `--reward-key` takes a field, instead of a number.")
        ] = False,
    ) -> float | SlimeReward:
        """For `--rm-type remote_rm --rm-url http://HOST:PORT/slime/reward`: one number."""
        (rewards,) = await service.rewards(request, [_item(body, service)], choice)
        if not details:
            return rewards.chosen[0]
        return SlimeReward(
            reward=rewards.chosen[0],
            reward_mean=rewards.mean[0],
            reward_std=rewards.std[0],
            truncated=rewards.tokenized.truncated,
        )

    return router


def _item(body: SlimeRequest, service: Service) -> Conversation | Formatted:
    settings = service.settings
    check_text(body.response, settings.max_characters, "response")
    if not isinstance(body.prompt, str):
        messages = messages_of(body.prompt, "prompt", settings)
        judgment = Judgment(messages, [[{"role": "assistant", "content": body.response}]], file=SOURCE)
        return Conversation(judgment, "prompt", "response")
    check_text(body.prompt, settings.max_characters, "prompt")
    if not body.prompt.strip():
        raise RequestError("prompt: it is empty or blank; there is nothing to judge the response by", "prompt")
    return Formatted(body.prompt + body.response, body.prompt, "prompt")
