"""Parts that all protocols share: the reward that a URL asks for, and the errors that a route may answer."""

from __future__ import annotations

from inspect import signature
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from vrm.choices import RewardScale, Risk
from vrm.errors import ConfigError
from vrm.inference.reward_choice import RewardChoice
from vrm.serve.bodies import JsonRoute
from vrm.serve.errors import RequestError
from vrm.wire.schema import Amount, Beta, ErrorResponse

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": description}
    for status, description in {
        400: "The body is no JSON, no UTF-8, or holds half of a surrogate pair; or Host has a foreign name.",
        401: "The token is missing or wrong.",
        408: "The body was not whole within the server's limit of time.",
        413: "The body is too large.",
        415: "The body is compressed, or declared to be in another encoding than UTF-8.",
        422: "A field is wrong: the message names it, its value and what is allowed.",
        429: "The queue is full: try again after `Retry-After` seconds.",
        500: "The model failed on this request.",
        503: "The server is shutting down.",
        504: "There was no answer within the server's limit of time.",
    }.items()
}


def protocol_router(tag: str, *parameters: str, prefix: str = "") -> APIRouter:
    """A router of routes that take JSON.

    Args:
        tag: of its routes in the document.
        parameters: what the URL may have.
        prefix: of its paths.
    """
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        responses=ERRORS,
        dependencies=[only_parameters(*parameters)],
        route_class=JsonRoute,
    )


def only_parameters(*allowed: str) -> Any:
    """A dependency that refuses parameters of the URL which the route does not read, so that none is ignored."""

    async def check(request: Request) -> None:
        unknown = sorted(set(request.query_params) - set(allowed))
        if unknown:
            name = unknown[0][:40]
            raise RequestError(
                f"{name}: no parameter of this URL; it may have {', '.join(allowed) or 'none'}. What is asked for "
                "beside goes into the body",
                name,
            )

    return Depends(check)


# Coroutines, though they wait for nothing: FastAPI calls plain functions in a thread, once a request each.
async def _reward_choice(
    reward_scale: Annotated[RewardScale | None, Query(description="Default: as the model is set.")] = None,
    kappa: Annotated[Amount | None, Query(description="Pessimistic: mean minus kappa standard deviations.")] = None,
    risk: Annotated[Risk | None, Query(description="`pessimistic` with kappa, `exponential` with beta.")] = None,
    beta: Annotated[Beta | None, Query(description="Effective: -beta log E exp(-r / beta).")] = None,
) -> RewardChoice:
    return chosen_reward(reward_scale, kappa, risk, beta)


def chosen_reward(
    reward_scale: RewardScale | None, kappa: float | None, risk: Risk | None, beta: float | None
) -> RewardChoice:
    """The reward that a request asks for; RequestError for numbers that do not go together."""
    try:
        return RewardChoice(reward_scale, kappa, risk=risk, beta=beta)
    except ConfigError as error:
        raise RequestError(str(error), "beta" if kappa is None else "kappa") from None


CHOICE_PARAMETERS = tuple(signature(_reward_choice).parameters)

UrlChoice = Annotated[RewardChoice, Depends(_reward_choice)]
"""The reward that the query of a URL chooses: programs whose bodies are fixed can still be given another URL."""
