"""The page `/explore`, whole in itself, and what it asks for beside explanations."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import islice

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import RedirectResponse

from vrm import __version__
from vrm.core.disagreement import REPORTED_NODES
from vrm.core.distributions import DrawNoise
from vrm.core.predictive import NUM_DRAWS, NUM_NODES
from vrm.core.quadrature import gauss_hermite
from vrm.look import look
from vrm.serve.browsing import Browsed
from vrm.serve.errors import RequestError
from vrm.serve.protocols.common import protocol_router
from vrm.serve.service import Service
from vrm.wire.explanation import THE_CHOSEN
from vrm.wire.explorer import DrawsResponse, ExplorerResponse, RowResponse, RowsResponse, ServedModel

EXPLORE = "/explore"
SECOND = "/second"
"""Prefix of the routes of the model that the page sets beside the first."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Header of the page: scripts and styles are files of this server, and it asks this server alone."""

NUM_TRIALS = 6
"""Proposals of a gamma draw that the page gets: one in 10^12 needs more, and then the server's numbers stand."""


@dataclass(frozen=True)
class Explored:
    """What the page has beside the served model.

    Attributes:
        rows: of a file.
        second: another model, set beside the first.
    """

    rows: Browsed = field(default_factory=Browsed)
    second: Service | None = None

    def services(self, first: Service) -> list[tuple[str, Service]]:
        """The served models by the prefix of their routes."""
        return [("", first)] if self.second is None else [("", first), (SECOND, self.second)]


def explorer_router(service: Service, explored: Explored) -> APIRouter:
    """Routes under /v1 that the page asks; they want the token where there is one."""
    router = protocol_router("explorer", prefix="/v1")
    rows = explored.rows

    @router.get("/explorer", summary="What the page /explore begins with")
    async def explorer() -> ExplorerResponse:
        """Models, limits, and how many rows can be browsed."""
        settings = service.settings
        return ExplorerResponse(
            version=__version__,
            models=[_served(path, model) for path, model in explored.services(service)],
            max_completions=min(settings.max_explained, settings.max_texts),
            max_sentences=settings.max_sentences,
            rows=len(rows.summaries),
        )

    @router.get("/rows", summary="Rows of the file, without their texts")
    async def browse() -> RowsResponse:
        """Margins, disagreement, unfamiliarity and categories of the rows that `vrm explore` read."""
        return RowsResponse(file=rows.file, note=rows.note, first=rows.first, rows=list(rows.summaries))

    @router.get("/rows/{index}", summary="The texts of a row")
    async def row(index: int) -> RowResponse:
        """By its place in `/v1/rows`, from 0."""
        if not 0 <= index < len(rows.judgments):
            raise RequestError(f"index: {index} is no row; there are {len(rows.judgments):,}", "index", status=404)
        return _row(rows, index, min(service.settings.max_explained, service.settings.max_texts))

    @router.get("/draws/{objectives}", summary="The random numbers behind reported probabilities")
    async def draws(objectives: int) -> DrawsResponse:
        """For so many objectives, at most the model's."""
        most = max(model.config.num_objectives for _, model in explored.services(service))
        if not 1 <= objectives <= most:
            raise RequestError(f"objectives: {objectives} is not in 1 to {most}", "objectives", status=404)
        return draws_for(objectives)

    return router


def _served(path: str, service: Service) -> ServedModel:
    raters, config = service.engine.raters, service.config
    return ServedModel(
        path=path,
        name=service.settings.name,
        source=service.settings.source or service.settings.name,
        head=config.head,
        objectives=list(config.objective_names),
        raters=[] if raters is None else list(raters.names),
        raters_by=None if raters is None else raters.by,
        can_emphasize=config.has_weight_uncertainty,
    )


def _row(rows: Browsed, index: int, most: int) -> RowResponse:
    judgment = rows.judgments[index]
    count = len(judgment.completions)
    note = f"The first {most} of {count} completions." if count > most else ""
    if rows.summaries[index].has_chosen and count > 1:
        note = THE_CHOSEN
    return RowResponse(line=judgment.line, prompt=judgment.prompt, completions=judgment.completions[:most], note=note)


@cache
def draws_for(num_objectives: int) -> DrawsResponse:
    """The random numbers for so many objectives; see `DrawsResponse`."""
    noise = DrawNoise(NUM_DRAWS, num_objectives)
    trials = list(islice(noise.trials(), NUM_TRIALS))
    boosts = noise.boosts()
    nodes = {number: gauss_hermite(number, boosts[0]) for number in {NUM_NODES, *REPORTED_NODES}}
    return DrawsResponse(
        boosts=[values.tolist() for values in boosts],
        normals=[normal.tolist() for normal, _ in trials],
        log_uniforms=[log_uniform.tolist() for _, log_uniform in trials],
        nodes={str(number): [values.tolist() for values in pair] for number, pair in sorted(nodes.items())},
    )


def add_explorer_page(app: FastAPI) -> None:
    """The page and its files. They say nothing about the model, so they ask for no token: the page asks for it."""

    @app.get(EXPLORE, include_in_schema=False)
    async def page() -> Response:
        return RedirectResponse("explore/")

    @app.get(f"{EXPLORE}/", include_in_schema=False)
    @app.get(f"{EXPLORE}/{{name}}", include_in_schema=False)
    async def file(name: str = "index.html") -> Response:
        content = _files().get(name)
        if content is None:
            raise RequestError(f"{name[:40]}: the page has no such file", "name", status=404)
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Referrer-Policy": "no-referrer"}
        headers |= {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(content, media_type=kind, headers=headers)


@cache
def _files() -> dict[str, bytes]:
    folder = files(__package__) / "page"
    own = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}
    return own | {"look.css": look().encode()}
