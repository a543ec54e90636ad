"""OpenRLHF's remote reward model: decoded texts in, rewards out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from vrm.serve.errors import RequestError
from vrm.serve.protocols.common import CHOICE_PARAMETERS, UrlChoice, protocol_router
from vrm.serve.service import Service
from vrm.serve.texts import Formatted, check_number


class GetRewardRequest(BaseModel):
    """What OpenRLHF posts. Further fields are its own bookkeeping and are not read."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "query": ["How do I boil an egg? Ten minutes in boiling water."],
                    "prompts": ["How do I boil an egg?"],
                    "labels": [None],
                }
            ]
        },
    )

    query: list[str] = Field(description="Prompt and completion, decoded with special tokens. May be empty.")
    prompts: list[str] = Field(
        default_factory=list,
        description="Each query's prompt. Where the query begins with it, it says where the completion begins; else "
        "the query must hold the chat template's generation prompt exactly once.",
    )
    labels: list[Any] | None = Field(None, description="Not read: a reward model has no use for the answer.")


class GetRewardResponse(BaseModel):
    """What OpenRLHF reads."""

    rewards: list[float] = Field(description="What the policy is trained on, one number a query.")
    scores: list[float] = Field(description="The same; OpenRLHF filters prompts by it.")
    extra_logs: dict[str, list[float]] = Field(description="Logged by OpenRLHF, one number a query each.")


def openrlhf_router(service: Service) -> APIRouter:
    """The route that OpenRLHF's own server has."""
    router = protocol_router("OpenRLHF", *CHOICE_PARAMETERS)

    @router.post("/get_reward", summary="OpenRLHF's remote reward model")
    async def get_reward(body: GetRewardRequest, request: Request, choice: UrlChoice) -> GetRewardResponse:
        """For `--reward.remote_url http://HOST:PORT/get_reward`; empty lists are answered with empty lists."""
        check_number(body.query, service.settings.max_texts, "query")
        if body.prompts and len(body.prompts) != len(body.query):
            raise RequestError(
                f"prompts: {len(body.prompts):,} prompts for {len(body.query):,} queries; one a query is needed, "
                "or none at all",
                "prompts",
            )
        prompts: list[str | None] = list(body.prompts) or [None] * len(body.query)
        items = [
            Formatted(query, prompt, f"query[{index}]")
            for index, (query, prompt) in enumerate(zip(body.query, prompts, strict=True))
        ]
        rows = await service.rewards(request, items, choice)
        rewards = [row.chosen[0] for row in rows]
        logs = {
            "reward_mean": [row.mean[0] for row in rows],
            "reward_std": [row.std[0] for row in rows],
            "truncated": [float(row.tokenized.truncated) for row in rows],
        }
        return GetRewardResponse(rewards=rewards, scores=rewards, extra_logs=logs)

    return router
