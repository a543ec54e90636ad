"""Pages in a browser read nothing through a name of their own, and nothing that they send without asking is judged."""

from __future__ import annotations

import socket

import pytest

from vrm.errors import ConfigError
from vrm.serve.hosts import own_names
from vrm.serve.settings import ServeSettings

GOOD = {"prompt": "how do i plan", "completions": ["well"]}
FOREIGN = {"Origin": "http://attacker.example", "Sec-Fetch-Site": "cross-site"}
BODIES = {
    "/v1/score": GOOD,
    "/v1/explain": GOOD,
    "/get_reward": {"query": ["how well"], "prompts": ["how "], "labels": [None]},
    "/slime/reward": {"prompt": "how", "response": "well"},
    "/classify": {"messages": [{"role": "user", "content": "how"}, {"role": "assistant", "content": "well"}]},
    "/pooling": {"messages": [{"role": "user", "content": "how"}, {"role": "assistant", "content": "well"}]},
    "/score": {"text_1": "how", "text_2": ["well"]},
}


LOCAL = ("localhost", "localhost:5000", "LOCALHOST.", "a.localhost:80")
ADDRESSES = ("127.0.0.1", "127.0.0.1:5000", "10.1.2.3:5000", "0.0.0.0:5000", "[::1]", "[::1]:5000", "[fe80::1]:5000")
NAMES = ("attacker.example", "attacker.example:5000", "localhost.attacker.example", "127.0.0.1.attacker.example:5000")
DISGUISED = (
    "localhost@attacker.example",
    "attacker.example:80:localhost",
    "notlocalhost",
    "127.1",
    "[::1",
    "a b",
    "*",
    "",
)


@pytest.mark.parametrize("host", [*LOCAL, *ADDRESSES])
def test_addresses_and_localhost_are_answered(client, host):
    assert client.get("/version", headers={"Host": host}).status_code == 200
    assert client.post("/v1/score", json=GOOD, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", [*NAMES, *DISGUISED])
@pytest.mark.parametrize("path", ["/version", "/explore/", "/v1/explorer", "/v1/rows", "/metrics", "/docs", "/nowhere"])
def test_a_foreign_name_is_refused(client, path, host):
    answer = client.get(path, headers={"Host": host})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "unknown_host", "Host")
    assert "--allowed-host" in error["message"]


def test_orchestrators_ask_by_any_name(client):
    for path in ("/health", "/ready"):
        assert client.get(path, headers={"Host": "reward.namespace.svc"}).status_code == 200
    assert client.get("/health/", headers={"Host": "reward.namespace.svc"}, follow_redirects=False).status_code == 400


def test_the_header_stands_there_once(client):
    doubled = client.get("/version", headers=[("Host", "localhost"), ("Host", "attacker.example")])
    assert doubled.status_code == 400
    assert "must be there once, and is there 2 times" in doubled.json()["error"]["message"]


def test_names_that_are_allowed(make_client):
    client = make_client(allowed_hosts=("Reward.Example.org", "*.cluster.local"))
    known = ("reward.example.org:443", "a.cluster.local", "localhost", "10.0.0.1:5000")
    unknown = ("cluster.local", "xcluster.local", "other.example.org", "a.reward.example.org")
    status = {host: client.get("/version", headers={"Host": host}).status_code for host in (*known, *unknown)}
    assert list(status.values()) == [200, 200, 200, 200, 400, 400, 400, 400], status


def test_all_names_or_those_that_a_token_allows(make_client):
    foreign = {"Host": "attacker.example"}
    assert make_client(allowed_hosts=("*",)).get("/version", headers=foreign).status_code == 200
    guarded = make_client(token="right")
    assert guarded.get("/version", headers=foreign).status_code == 401
    assert guarded.get("/version", headers={**foreign, "Authorization": "Bearer right"}).status_code == 200
    narrow = make_client(token="right", allowed_hosts=())
    assert narrow.get("/version", headers={**foreign, "Authorization": "Bearer right"}).status_code == 400


@pytest.mark.parametrize("name", ["https://example.org", "example.org:80", "a.*.org", "", "*.", "a..b", "exa mple"])
def test_names_are_checked(name):
    with pytest.raises(ConfigError, match=r"allowed_hosts: .* is no name of a host; it looks like reward\.example"):
        ServeSettings(allowed_hosts=(name,))


def test_the_names_of_the_machine(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "GPU7")
    assert own_names("0.0.0.0") == own_names("::") == ("gpu7",)
    assert own_names("node.example.org") == ("gpu7", "node.example.org")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
@pytest.mark.parametrize("path", BODIES)
def test_what_a_page_may_send_without_asking_is_not_judged(client, path, kind):
    """Browsers ask a server whether a page of another origin may send it JSON, but not for these kinds of body."""
    texts = "vrm_texts_total"
    registry = client.app.state.service.metrics.registry
    before = registry.get_sample_value(texts)
    request = client.build_request("POST", path, json=BODIES[path], headers=FOREIGN)
    del request.headers["Content-Type"]
    if kind is not None:
        request.headers["Content-Type"] = kind
    answer = client.send(request)
    assert answer.status_code == 422, answer.text
    assert "Content-Type: application/json" in answer.json()["error"]["message"]
    assert registry.get_sample_value(texts) == before
    assert client.post(path, json=BODIES[path]).status_code == 200


@pytest.mark.parametrize("path", BODIES)
def test_a_foreign_page_that_asks_is_refused(client, path):
    wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = client.options(path, headers={**FOREIGN, **wish})
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]
