"""What the page `/explore` is sent: its files, what is served, rows, and random numbers."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from vrm.data.schema import Judgment
from vrm.serve.app import create_app
from vrm.serve.browsing import Browsed, summaries_of
from vrm.serve.explorer import Explored
from vrm.serve.service import Service
from vrm.serve.settings import ServeSettings

ROWS = [
    Judgment("how do i plan", ["very good", "no"], category="advice", line=1),
    Judgment("why is water long", ["please help"], line=4),
]


@pytest.fixture(scope="module")
def browsing(engine):
    service, second = (Service(engine, ServeSettings(name=name, queue_delay=0)) for name in ("one", "two"))
    browsed = Browsed("rows.jsonl", ROWS, summaries_of(engine, ROWS, other=engine), "The first 2 rows.")
    with TestClient(
        create_app(service, Explored(browsed, second)), "http://localhost", raise_server_exceptions=False
    ) as client:
        yield client


def test_the_page_and_its_files_run_no_script_but_their_own(client):
    page = client.get("/explore")
    assert page.status_code == 200
    assert page.url.path == "/explore/"
    assert "<script>" not in page.text
    assert "style=" not in page.text
    for name, kind in {
        "main.js": "text/javascript",
        "formulas.js": "text/javascript",
        "explore.css": "text/css",
    }.items():
        file = client.get(f"/explore/{name}")
        assert file.status_code == 200
        assert file.headers["content-type"].startswith(kind)
        policy = file.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "unsafe" not in policy
        assert "http" not in file.text.replace("http://www.w3.org", "")
    assert client.get("/explore/other.js").status_code == 404


def test_a_server_with_a_token_gives_the_page_and_nothing_else(make_client):
    client = make_client(token="sesame")
    assert client.get("/explore/main.js").status_code == 200
    for path in ("/v1/explorer", "/v1/rows", "/v1/rows/0", "/v1/draws/2", "/explorer"):
        assert client.get(path).status_code == 401
    assert client.get("/v1/explorer", headers={"Authorization": "Bearer sesame"}).status_code == 200


@pytest.mark.parametrize("path", ["/reward/explore", "/explore"])
def test_behind_a_proxy_with_a_prefix(make_client, path):
    page = make_client(root_path="/reward", token="sesame").get(path)
    assert page.status_code == 200
    assert page.url.path == f"{path}/"


def test_what_is_served(browsing, engine):
    answer = browsing.get("/v1/explorer").json()
    assert [(model["path"], model["name"]) for model in answer["models"]] == [("", "one"), ("/second", "two")]
    assert answer["models"][0]["objectives"] == list(engine.objectives)
    assert answer["rows"] == 2
    body = {"prompt": "how", "completions": ["good"]}
    assert browsing.post("/second/v1/explain", json=body).json()["model"] == "two"


def test_rows_have_the_numbers_that_scoring_gives(browsing, client):
    answer = browsing.get("/v1/rows").json()
    assert (answer["file"], answer["note"]) == ("rows.jsonl", "The first 2 rows.")
    first, second = answer["rows"]
    score = client.post("/v1/score", json={"prompt": ROWS[0].prompt, "completions": ROWS[0].completions}).json()
    assert first["margin"] == pytest.approx(score["rewards"][0] - score["rewards"][1], abs=1e-4)
    assert first["probability"] == pytest.approx(score["probabilities"][0][1], abs=1e-4)
    assert first["other_probability"] == pytest.approx(first["probability"], abs=1e-5)
    assert (first["category"], first["line"], first["completions"]) == ("advice", 1, 2)
    assert (second["margin"], second["probability"], second["line"]) == (None, None, 4)


def test_texts_of_a_row(browsing):
    row = browsing.get("/v1/rows/1").json()
    assert (row["prompt"], row["completions"], row["line"]) == (ROWS[1].prompt, ROWS[1].completions, 4)
    assert browsing.get("/v1/rows/2").status_code == 404
    assert browsing.get("/v1/rows/x").status_code == 422


def test_draws_are_for_as_many_objectives_as_there_are(client, engine):
    count = len(engine.objectives)
    draws = client.get(f"/v1/draws/{count}").json()
    assert [len(draws["boosts"]), len(draws["boosts"][0]), len(draws["boosts"][0][0])] == [4, 64, count]
    assert {number: len(nodes) for number, (nodes, _) in draws["nodes"].items()} == {"16": 16, "32": 32}
    assert client.get(f"/v1/draws/{count + 1}").status_code == 404
    assert client.get("/v1/draws/0").status_code == 404
