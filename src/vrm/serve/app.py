"""The application: routes, errors and middleware around one service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from vrm import __version__
from vrm.errors import NumericsError
from vrm.serve.docs import CONTENT_SECURITY_POLICY, docs_page
from vrm.serve.errors import RequestError, error_response, invalid_body, plain_error
from vrm.serve.explorer import SECOND, Explored, add_explorer_page, explorer_router
from vrm.serve.metrics import CONTENT_TYPE
from vrm.serve.middleware import Gate, KnownHosts, Observe, UnderPrefix, WithoutBody
from vrm.serve.protocols.native import native_router
from vrm.serve.protocols.openai import openai_router
from vrm.serve.protocols.openrlhf import openrlhf_router
from vrm.serve.protocols.slime import slime_router
from vrm.serve.protocols.vllm import vllm_router
from vrm.serve.service import Service
from vrm.wire.schema import ErrorResponse, VersionResponse

DESCRIPTION = """
Rewards of a variational reward model: how good each completion is, how sure the model is of it, and which objectives
it weighed for the prompt.

Served: **{name}**, head `{head}`. Objectives: {objectives}. It reads at most {limit:,} tokens of prompt and completion
together.

| route | for |
|---|---|
| `POST /v1/score`, `POST /v1/explain` | the native API; `vrm.client` is its Python client |
| `GET /explore` | a page to see why, and to turn the knobs; it asks `/v1/explorer`, `/v1/rows` and `/v1/draws` beside |
| `POST /get_reward` | OpenRLHF, `--reward.remote_url` |
| `POST /slime/reward` | slime, `--rm-url` |
| `POST /classify`, `/pooling`, `/score` | programs that read vLLM's shapes, such as verl |
| `GET /v1/models` | programs that ask for OpenAI's list of models |
| `GET /health`, `/ready`, `/version`, `/metrics` | operation |

Errors have one form, `{{"error": {{"message", "type", "param", "code"}}}}`; a message names the field, what was wrong
with it and what is allowed, and never repeats a text. `429` and `503` carry `Retry-After`.
"""


class Health(BaseModel):
    """The state of the server."""

    status: str


def create_app(service: Service, explored: Explored | None = None) -> FastAPI:
    """The ASGI application of a service, which starts and stops with it.

    Args:
        service: the model and its limits.
        explored: what the page `/explore` has beside it: a file's rows, a second model.
    """
    config, settings = service.config, service.settings
    explored = explored or Explored()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        batchers = [each.batcher for _, each in explored.services(service)]
        for batcher in batchers:
            await batcher.start()
        yield
        for batcher in batchers:
            await batcher.stop()

    app = FastAPI(
        title="VRM reward server",
        version=__version__,
        description=DESCRIPTION.format(
            name=settings.name,
            head=config.head,
            objectives=", ".join(f"`{name}`" for name in config.objective_names),
            limit=config.max_input_tokens,
        ),
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load their scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    protected = [] if settings.token is None else [Security(HTTPBearer(auto_error=False))]
    for router in (native_router, openai_router, openrlhf_router, slime_router, vllm_router):
        app.include_router(router(service), dependencies=protected)
    app.include_router(explorer_router(service, explored), dependencies=protected)
    if explored.second is not None:
        app.include_router(native_router(explored.second), prefix=SECOND, dependencies=protected)
    add_explorer_page(app)
    _add_operation(app, service)
    _add_page(app)
    _add_errors(app)
    _add_middleware(app, service)
    service.metrics.info.labels(__version__, settings.name).set(1)
    return app


def _add_middleware(app: FastAPI, service: Service) -> None:
    settings = service.settings
    # The last one added is the outermost.
    app.add_middleware(Gate, settings=settings)
    app.add_middleware(KnownHosts, patterns=settings.host_patterns)
    app.add_middleware(Observe, metrics=service.metrics)
    app.add_middleware(WithoutBody)
    app.add_middleware(UnderPrefix, prefix=settings.root_path)
    if settings.cors_origins:
        # Outermost: browsers ask for permission without a token, and read refusals too.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "HEAD"),
            allow_headers=("Authorization",),
            expose_headers=("Retry-After",),
        )


def _add_operation(app: FastAPI, service: Service) -> None:
    config = service.config

    @app.get("/health", tags=["operation"], summary="Whether the process answers")
    async def health() -> Health:
        """Answers as long as the event loop runs; asks for no token."""
        return Health(status="ok")

    unready: dict[int | str, dict[str, Any]] = {
        503: {"model": Health, "description": "It does not, and sends `stopping`."}
    }

    @app.get("/ready", tags=["operation"], summary="Whether it takes requests", responses=unready)
    async def ready(response: Response) -> Health:
        """The model is loaded and requests are accepted; asks for no token."""
        if not service.batcher.accepting:
            response.status_code = 503
            return Health(status="stopping")
        return Health(status="ready")

    version_responses: dict[int | str, dict[str, Any]] = {401: {"model": ErrorResponse}}

    @app.get("/version", tags=["operation"], summary="What is served", responses=version_responses)
    async def version() -> VersionResponse:
        """Version of the package, and the model with its objectives and limits."""
        return VersionResponse(
            version=__version__,
            model=service.settings.name,
            head=config.head,
            objectives=list(config.objective_names),
            reward_scale=config.reward_scale,
            max_input_tokens=config.max_input_tokens,
            on_overlong=service.engine.tokenize.on_overlong,
        )

    @app.get("/metrics", tags=["operation"], summary="Prometheus metrics", response_class=Response)
    async def metrics() -> Response:
        """Requests, latencies, the queue, sizes of batches, and tokens, in Prometheus's text format."""
        return Response(service.metrics.render(), media_type=CONTENT_TYPE)


def _add_page(app: FastAPI) -> None:
    @app.get("/redoc", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        page = docs_page(app.openapi(), str(request.base_url))
        return HTMLResponse(page, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def refused(_: Any, error: RequestError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Any, error: RequestValidationError) -> JSONResponse:
        return invalid_body(error)

    @app.exception_handler(NumericsError)
    async def not_finite(_: Any, error: NumericsError) -> JSONResponse:
        return error_response(RequestError(str(error), kind="computation_failed"))

    async def by_status(_: Any, error: HTTPException) -> JSONResponse:
        kind = "body_too_large" if error.status_code == 413 else "invalid_request"
        return plain_error(error.status_code, kind, str(error.detail), headers=error.headers)

    # What routing and the reading of bodies raise themselves.
    for status in (400, 404, 405, 413, 415):
        app.add_exception_handler(status, by_status)  # type: ignore[arg-type]
