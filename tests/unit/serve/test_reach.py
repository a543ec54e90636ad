"""How a server is reached: HEAD, a prefix of the path, pages of other origins, and its name in OpenAI's list."""

from __future__ import annotations

import httpx2
import pytest

from vrm.client import Client
from vrm.errors import ConfigError
from vrm.serve.settings import OWN_PREFIXES, ServeSettings

GOOD = {"prompt": "how do i plan", "completions": ["well"]}
PAGE = "https://pages.example.org"


@pytest.mark.parametrize("path", ["/health", "/ready", "/version", "/v1/models", "/metrics", "/docs", "/nowhere"])
def test_head_is_get_without_the_body(client, path):
    asked, got = client.head(path), client.get(path)
    assert (asked.status_code, asked.content) == (got.status_code, b"")
    assert asked.headers["content-type"] == got.headers["content-type"]


def test_head_does_not_judge(client):
    assert client.head("/v1/score").status_code == client.get("/v1/score").status_code == 405


def test_the_name_is_in_openais_list(make_client):
    client = make_client(token="right")
    assert client.get("/v1/models").status_code == 401
    body = client.get("/v1/models", headers={"Authorization": "Bearer right"}).json()
    (entry,) = body["data"]
    assert body["object"] == "list"
    assert (entry["id"], entry["object"], entry["max_model_len"]) == ("tiny", "model", 128)
    assert isinstance(entry["created"], int)


@pytest.fixture(scope="module")
def prefixed(make_client):
    return make_client(root_path="/reward/", token="right")


@pytest.mark.parametrize("prefix", ["", "/reward"])
def test_a_prefix_may_be_left_or_taken_off_by_the_proxy(prefixed, prefix):
    bearer = {"Authorization": "Bearer right"}
    assert prefixed.get(f"{prefix}/health").status_code == 200
    assert prefixed.head(f"{prefix}/ready").status_code == 200
    assert prefixed.get(f"{prefix}/version").status_code == 401
    assert prefixed.post(f"{prefix}/v1/score", json=GOOD, headers=bearer).status_code == 200
    document = prefixed.get(f"{prefix}/openapi.json", headers=bearer).json()
    assert document["servers"] == [{"url": "/reward"}]
    assert "/v1/score" in document["paths"]
    metrics = prefixed.get(f"{prefix}/metrics", headers=bearer).text
    assert 'route="/v1/score",status="200"' in metrics
    assert prefixed.get(f"{prefix}/nowhere", headers=bearer).status_code == 404
    assert prefixed.get("/rewards/version", headers=bearer).status_code == 404


def test_the_client_takes_a_url_with_a_prefix(serve, tiny_model_dir):
    with serve(tiny_model_dir, root_path="/reward") as server:
        for url in (server.url, f"{server.url}/reward/"):
            with Client(url) as client:
                assert len(client.score(GOOD["prompt"], GOOD["completions"]).rewards) == 1
        answer = httpx2.head(f"{server.url}/reward/health")
        assert (answer.status_code, answer.content) == (200, b"")


def test_a_prefix_that_the_servers_own_routes_have_is_refused(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {f"/{path.split('/')[1]}" for path in paths if path.count("/") > 1} == set(OWN_PREFIXES)
    for prefix in OWN_PREFIXES:
        with pytest.raises(ConfigError, match=f"routes of the server itself begin with {prefix}"):
            ServeSettings(root_path=f"{prefix}/")


def test_pages_of_listed_origins_may_ask(make_client):
    client = make_client(cors_origins=(f"{PAGE}/",), token="right")
    wish = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    wish["Access-Control-Request-Headers"] = "authorization,content-type"
    allowed = client.options("/v1/score", headers=wish)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, PAGE)
    # A refusal can be read by the page too.
    refused = client.post("/v1/score", json=GOOD, headers={"Origin": PAGE})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)
    answer = client.post("/v1/score", json=GOOD, headers={"Origin": PAGE, "Authorization": "Bearer right"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    other = {**wish, "Origin": "https://elsewhere.example.org"}
    assert client.options("/v1/score", headers=other).status_code == 400
    assert "access-control-allow-origin" not in client.get("/health", headers=other).headers


def test_all_origins_or_none(make_client, client):
    assert make_client(cors_origins=("*",)).get("/health", headers={"Origin": PAGE}).headers[
        "access-control-allow-origin"
    ] == ("*")
    assert "access-control-allow-origin" not in client.get("/health", headers={"Origin": PAGE}).headers


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"root_path": "reward"}, "root_path: 'reward' is no prefix of a path; it looks like /reward"),
        ({"root_path": "https://example.org/reward"}, "no prefix of a path"),
        ({"root_path": "/a b"}, "no prefix of a path"),
        ({"cors_origins": ("example.org",)}, "cors_origins: 'example.org' is no origin"),
        ({"cors_origins": (PAGE, f"{PAGE}/page")}, "no origin; it looks like https://example.org:8080"),
    ],
)
def test_prefixes_and_origins_are_checked(settings, words):
    with pytest.raises(ConfigError, match=words):
        ServeSettings(**settings)


@pytest.mark.parametrize("prefix", ["/reward", "/models/reward-v1.2", "/", ""])
def test_prefixes_that_are_taken(prefix):
    assert ServeSettings(root_path=prefix).root_path == prefix.rstrip("/")
