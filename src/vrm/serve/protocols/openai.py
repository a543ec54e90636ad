"""OpenAI's list of models, by which programs find out what a server has."""

from __future__ import annotations

import time
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from vrm.serve.protocols.common import only_parameters
from vrm.serve.service import Service
from vrm.wire.schema import ErrorResponse


class ModelEntry(BaseModel):
    """A model that is served."""

    id: str = Field(description="Its name, which the fields `model` of answers have.")
    object: Literal["model"] = "model"
    created: int = Field(description="When the server started, in seconds since 1970.")
    owned_by: Literal["vrm"] = "vrm"
    max_model_len: int = Field(description="Tokens of prompt and completion together, at most, as vLLM gives them.")


class ModelList(BaseModel):
    """All models of the server: one."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


def openai_router(service: Service) -> APIRouter:
    """The route by which OpenAI's clients list models."""
    router = APIRouter(
        prefix="/v1", tags=["OpenAI"], responses={401: {"model": ErrorResponse}}, dependencies=[only_parameters()]
    )
    entry = ModelEntry(
        id=service.settings.name, created=int(time.time()), max_model_len=service.config.max_input_tokens
    )

    @router.get("/models", summary="What is served, in OpenAI's shape")
    async def models() -> ModelList:
        """One model; `/version` says more of it."""
        return ModelList(data=[entry])

    return router
