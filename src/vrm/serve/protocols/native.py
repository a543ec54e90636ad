"""The native API: score and explain."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from fastapi import APIRouter, Request

from vrm.inference.explain import explain_row
from vrm.inference.posterior import posterior_of
from vrm.inference.rewards import RewardView
from vrm.inference.sentences import LeftOut
from vrm.inference.steering import Steering
from vrm.serve.errors import RequestError
from vrm.serve.protocols.common import chosen_reward, protocol_router
from vrm.serve.service import Service
from vrm.serve.settings import ServeSettings
from vrm.serve.shares import Share
from vrm.serve.texts import Conversation, check_number, conversation_of
from vrm.wire.schema import ExplainRequest, ExplainResponse, ScoreRequest, ScoreResponse


def native_router(service: Service) -> APIRouter:
    """Routes under /v1."""
    settings = service.settings
    router = protocol_router("native", prefix="/v1")

    @router.post("/score", summary="Rewards of the completions of a prompt")
    async def score(body: ScoreRequest, request: Request) -> ScoreResponse:
        """Rewards, their standard deviations, objective weights and scores, and who beats whom how probably."""
        choice = chosen_reward(body.reward_scale, body.kappa, body.risk, body.beta)
        view = service.view(choice, body.emphasis, body.without, body.rater)
        check_number(body.completions, settings.max_texts, "completions")
        conversation = conversation_of(body, settings)
        return await service.judge(
            request, [conversation], lambda share: _score_response(share, service, view, body.probabilities)
        )

    @router.post("/explain", summary="Why one completion is preferred to another")
    async def explain(body: ExplainRequest, request: Request) -> ExplainResponse:
        """Weights and rewards with intervals, contributions, reasons, and where the uncertainty comes from."""
        view = service.view(emphasis=body.emphasis, without=body.without, rater=body.rater)
        check_number(body.completions, min(settings.max_explained, settings.max_texts), "completions")
        conversation = conversation_of(body, settings)
        items, left_out = [conversation], None
        if body.sentences:
            left_out = _left_out(conversation, settings)
            items.append(replace(conversation, judgment=left_out.variants))
        answer = partial(_explain_response, service=service, view=view, left_out=left_out, posterior=body.posterior)
        return await service.judge(request, items, answer, slow=True)

    return router


def _score_response(share: Share, service: Service, view: RewardView, probabilities: bool) -> ScoreResponse:
    (rewards,) = share.rewards(view)
    p_tie, disagreement = rewards.vote_matrices() if probabilities else (None, None)
    return ScoreResponse(
        model=service.settings.name,
        reward_scale=view.reward_scale,
        kappa=view.kappa,
        beta=view.beta,
        **rewards.to_dict(),
        probabilities=rewards.preference_matrix() if probabilities else None,
        p_tie=p_tie,
        disagreement=disagreement,
        truncated=rewards.tokenized.truncated,
        tokens=rewards.tokenized.tokens,
    )


def _left_out(conversation: Conversation, settings: ServeSettings) -> LeftOut:
    left_out = LeftOut.of(conversation.judgment)
    if left_out.count > settings.max_sentences:
        raise RequestError(
            f"completions: {left_out.count:,} sentences; at most {settings.max_sentences:,} are left out in turn",
            "completions",
        )
    return left_out


def _explain_response(
    share: Share, service: Service, view: RewardView, left_out: LeftOut | None, posterior: bool
) -> ExplainResponse:
    model, rater = service.engine.model, None if view.steering is None else view.steering.rater
    steered = share.part.steered(view.steering)
    explanation = explain_row(steered, 0, model)
    if left_out is not None:
        explanation = replace(explanation, sentences=left_out.effects(steered.row(1)))
    unsteered = share.part.row(0).steered(None if rater is None else Steering({}, rater=rater))
    report = posterior_of(unsteered, model.config) if posterior else None
    return ExplainResponse(model=service.settings.name, posterior=report, **vars(explanation))
