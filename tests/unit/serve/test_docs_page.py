"""The page `/docs`: it needs no network, names every route and schema, and asks the server that it is from."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from vrm.serve.docs import docs_page


class Elements(HTMLParser):
    """Tags with their attributes, and whether every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "input", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


@pytest.fixture(scope="module")
def page(client):
    answer = client.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer


def test_it_loads_nothing(page):
    for tag, attributes in Elements(page.text).found:
        assert "src" not in attributes, tag
        assert tag != "link"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    assert set(re.findall(r"https?://[^/\s\"'<]+", page.text)) <= {"http://localhost", "http://HOST:PORT"}
    for word in ("cdn", "jsdelivr", "fonts."):
        assert word not in page.text


def test_it_names_every_route_schema_and_field(page, client):
    document = client.get("/openapi.json").json()
    forms = [attributes for tag, attributes in Elements(page.text).found if tag == "form"]
    asked = {(form["data-method"], form["data-path"]) for form in forms}
    routes = {(method.upper(), path[1:]) for path, methods in document["paths"].items() for method in methods}
    assert asked == routes
    places = {attributes.get("id") for _, attributes in Elements(page.text).found}
    links = {str(attributes["href"]) for tag, attributes in Elements(page.text).found if tag == "a"}
    assert {link for link in links if not link.startswith("#")} == {"openapi.json"}
    assert {link.removeprefix("#") for link in links} - {"openapi.json"} <= places
    for name, schema in document["components"]["schemas"].items():
        assert name in places
        assert all(f"<code>{field}</code>" in page.text for field in schema.get("properties", {}))


def test_commands_show_refusals_and_the_address(make_client):
    bearer = {"Authorization": "Bearer right"}
    client = make_client(token="right", root_path="/reward")
    page = client.get("/docs", headers=bearer).text
    assert "curl -sS http://localhost/reward/v1/score" in page
    assert "curl -sSf" not in page
    assert "Authorization: Bearer $VRM_SERVER_TOKEN" in page
    assert client.get("/reward/docs", headers=bearer).text == page
    assert client.get("/redoc", headers=bearer).text == page


def test_descriptions_are_markdown_without_html():
    schema = {"description": "A <script>alert(1)</script> of `code`.", "properties": {"a": {"type": "string"}}}
    operation = {
        "tags": ["t"],
        "summary": "<i>",
        "description": "**bold**",
        "responses": {"200": {"description": "<b>"}},
    }
    document = {
        "info": {"title": "<title>", "version": "1", "description": "| a |\n|---|\n| b |\n"},
        "paths": {"/x": {"get": operation}},
        "components": {"schemas": {"S": schema}},
    }
    page = docs_page(document, "http://host/'")
    assert "<script>alert" not in page
    assert "<i>" not in page
    assert "<strong>bold</strong>" in page
    assert "<th>a</th>" in page
    assert "<code>code</code>" in page
