"""The page of the API: written from its OpenAPI document, whole in itself, so that it needs no network."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markdown_it import MarkdownIt

from vrm.wire import TOKEN_VARIABLE

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'"
)
"""Header of the page: it loads nothing, and asks this server alone."""


@dataclass(frozen=True)
class Operation:
    """A method of a path, as the page shows it."""

    method: str
    path: str
    summary: str
    description: str
    parameters: list[dict[str, Any]]
    body: dict[str, Any] | None
    body_schema: dict[str, Any]
    example: str
    command: str
    responses: dict[str, Any]


def docs_page(document: Mapping[str, Any], base_url: str) -> str:
    """The page of an OpenAPI document.

    Args:
        document: its paths and schemas; descriptions are Markdown.
        base_url: of the server, for the commands that the page shows.
    """
    schemas = document.get("components", {}).get("schemas", {})
    tags: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            entry = _operation(method, path, operation, schemas, base_url.rstrip("/"))
            tags.setdefault(operation["tags"][0], []).append(entry)
    info = document["info"]
    return _template().render(
        title=info["title"],
        version=info["version"],
        description=info["description"],
        tags=tags,
        schemas=dict(sorted(schemas.items())),
    )


def _operation(
    method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any], base_url: str
) -> Operation:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    schema = schemas.get(str(body.get("$ref", "")).split("/")[-1], {}) if body else {}
    examples = schema.get("examples") or [{}]
    command = f"curl -sS {shlex.quote(base_url + path)}"
    if operation.get("security"):
        command += f' -H "Authorization: Bearer ${TOKEN_VARIABLE}"'
    if body:
        command += f" -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(examples[0], ensure_ascii=False))}"
    return Operation(
        method=method,
        path=path,
        summary=operation.get("summary", ""),
        description=operation.get("description", ""),
        parameters=operation.get("parameters", []),
        body=body,
        body_schema=schema,
        example=json.dumps(examples[0], indent=2, ensure_ascii=False),
        command=command,
        responses=operation["responses"],
    )


@cache
def _template() -> jinja2.Template:
    # HTML in a description stays text.
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    # What a schema lacks is undefined, and an undefined value has no parts.
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.ChainableUndefined)
    environment.filters["block"] = lambda text: markdown.render(str(text))
    environment.filters["inline"] = lambda text: markdown.renderInline(str(text))
    return environment.from_string((files(__package__) / "docs.html.jinja").read_text(encoding="utf-8"))
