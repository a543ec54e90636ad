"""The native API: score and explain."""

from __future__ import annotations

from fastapi import APIRouter, Request

from vrm.inference.engine import RewardEngine
from vrm.inference.explain import explain_row
from vrm.inference.steering import Steering, steer
from vrm.serve.answers import (
    RewardChoice,
    named_scores,
    named_weights,
    preference_matrix,
    rewards_of,
    total_concentration,
)
from vrm.serve.protocols.common import ERRORS, only_parameters
from vrm.serve.service import ServedRow, Service
from vrm.serve.texts import check_number, judgment_of
from vrm.wire.schema import ExplainRequest, ExplainResponse, ScoreRequest, ScoreResponse


def native_router(service: Service) -> APIRouter:
    """Routes under /v1."""
    settings = service.settings
    router = APIRouter(prefix="/v1", tags=["native"], responses=ERRORS, dependencies=[only_parameters()])

    @router.post("/score", summary="Rewards of the completions of a prompt")
    async def score(body: ScoreRequest, request: Request) -> ScoreResponse:
        """Rewards, their standard deviations, objective weights and scores, and who beats whom how probably."""
        choice = RewardChoice(body.reward_scale, body.kappa)
        choice.check(service.config)
        steering = service.steering(body.emphasis, body.without)
        check_number(body.completions, settings.max_texts, "completions")
        judgment = judgment_of(body, settings)
        return await service.judge(
            request, [judgment], lambda rows: _score_response(rows[0], service, choice, steering, body.probabilities)
        )

    @router.post("/explain", summary="Why one completion is preferred to another")
    async def explain(body: ExplainRequest, request: Request) -> ExplainResponse:
        """Weights and rewards with intervals, contributions, reasons, and where the uncertainty comes from."""
        steering = service.steering(body.emphasis, body.without)
        check_number(body.completions, min(settings.max_explained, settings.max_texts), "completions")
        judgment = judgment_of(body, settings)
        return await service.judge(
            request, [judgment], lambda rows: _explain_response(rows[0], service, steering), slow=True
        )

    return router


def _score_response(
    row: ServedRow, service: Service, choice: RewardChoice, steering: Steering | None, probabilities: bool
) -> ScoreResponse:
    judged = steer(row.judged, steering)
    rewards = rewards_of(judged, service.config, choice)
    return ScoreResponse(
        model=service.settings.name,
        reward_scale=choice.reward_scale or service.config.reward_scale,
        rewards=rewards.mean,
        reward_std=rewards.std,
        kappa=choice.kappa,
        pessimistic_rewards=rewards.pessimistic,
        objective_weights=named_weights(judged),
        total_concentration=total_concentration(judged),
        objective_scores=named_scores(judged, rewards),
        probabilities=preference_matrix(judged) if probabilities else None,
        truncated=row.truncated,
        tokens=row.tokens,
    )


def _explain_response(row: ServedRow, service: Service, steering: Steering | None) -> ExplainResponse:
    served = service.engine
    # What explaining reads off an engine is its model and its steering.
    engine = RewardEngine(served.model, served.tokenizer, served.options, steering=steering)
    limit = served.report.limit
    notes = (f"Cut to fit into {limit} tokens.",) if row.truncated else ()
    explanation = explain_row(steer(row.judged, steering), 0, engine, notes)
    return ExplainResponse.model_validate({"model": service.settings.name, **explanation.to_dict()})
