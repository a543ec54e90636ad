"""Bodies of requests: what is said of one that is compressed, not UTF-8, no JSON, or holds half a surrogate pair."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

JSON = {"Content-Type": "application/json"}
GOOD = json.dumps({"prompt": "how do i plan", "completions": ["well"]}).encode()
LATIN = '{"prompt": "un café", "completions": ["well"]}'.encode("latin-1")
ROUTES = {
    "/v1/score": b'{"prompt": "how", "completions": ["w%s"]}',
    "/v1/explain": b'{"prompt": "how", "completions": ["w%s"]}',
    "/get_reward": b'{"query": ["how w%s"], "prompts": ["how"]}',
    "/slime/reward": b'{"prompt": "how", "response": "w%s"}',
    "/score": b'{"text_1": "how", "text_2": ["w%s"]}',
    "/classify": b'{"input": "how [SEP] w%s"}',
    "/pooling": b'{"messages": [{"role": "user", "content": "how"}, {"role": "assistant", "content": "w%s"}]}',
}


def refused(client, path, body, headers=JSON):
    answer = client.post(path, content=body, headers=headers)
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    return answer.status_code, error["message"], error["param"]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("encoding", "compress", "named"),
    [
        ("gzip", gzip.compress, "gzip"),
        ("deflate", zlib.compress, "deflate"),
        ("br", bytes, "br"),
        (None, gzip.compress, "gzip"),
        (None, zlib.compress, "zlib"),
        ("identity", gzip.compress, "gzip"),
    ],
)
def test_compressed_bodies_are_not_read(client, path, encoding, compress, named):
    headers = JSON if encoding is None else {**JSON, "Content-Encoding": encoding}
    found = refused(client, path, compress(ROUTES[path] % b""), headers)
    assert found == (415, f"body: it is compressed ({named}), which is not read; send it uncompressed", None)


def test_the_refusal_says_what_is_accepted(client):
    answer = client.post("/v1/score", content=GOOD, headers={**JSON, "Content-Encoding": "gzip"})
    assert answer.headers["Accept-Encoding"] == "identity"
    assert client.post("/v1/score", content=GOOD, headers={**JSON, "Content-Encoding": "identity"}).status_code == 200


@pytest.mark.parametrize("path", ROUTES)
def test_latin_1_is_named(client, path):
    status, message, _ = refused(client, path, ROUTES[path] % b"\xe9")
    assert status == 400
    assert "not valid UTF-8" in message
    assert "0xE9, as in Latin-1" in message
    declared = {"Content-Type": 'application/json; charset="ISO-8859-1"'}
    status, message, _ = refused(client, path, ROUTES[path] % b"\xe9", declared)
    assert status == 415
    assert "it is iso-8859-1" in message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_what_json_tells_apart_is_read(client, encoding):
    body = json.dumps({"prompt": "un café", "completions": ["well"]}, ensure_ascii=False).encode(encoding)
    assert client.post("/v1/score", content=body, headers=JSON).status_code == 200
    assert client.post(
        "/v1/score", content=GOOD, headers={"Content-Type": "application/json; charset=latin-1"}
    ).is_success


PARAMS = {
    "/v1/score": "completions[0]",
    "/v1/explain": "completions[0]",
    "/get_reward": "query[0]",
    "/slime/reward": "response",
    "/score": "text_2[0]",
    "/classify": "input",
    "/pooling": "messages[1].content",
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("half", ["d83d", "DE00"])
def test_half_of_a_surrogate_pair_is_named(client, path, half):
    status, message, param = refused(client, path, ROUTES[path] % rf"\u{half}".encode())
    assert (status, param) == (400, PARAMS[path])
    assert f"is '\\u{half.lower()}', half of a surrogate pair; repair the text's encoding" in message
    assert client.post(path, content=ROUTES[path] % rb"\ud83d\ude00", headers=JSON).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"prompt": "\xed\xa0\x80", "completions": ["a"]}', 400),
        (b'{"prompt": "p", "completions": ["a"], "\\ud800": 1}', 400),
        (b'{"prompt": [{"role": "\\ud800", "content": "a"}], "completions": ["a"]}', 400),
        (
            b'{"prompt": [{"role": "user", "content": [{"type": "text", "text": "\\ud800"}]}], "completions": ["a"]}',
            400,
        ),
        (b'{"prompt": "p", "completions": ["a"], "reward_scale": "\\ud800"}', 400),
        (b'{"prompt": "p", "completions": ["a"], "emphasis": {"\\ud800": 1}}', 422),
        (b'{"prompt": "p", "completions": ["a"], "without": ["\\ud800"]}', 422),
    ],
)
def test_half_of_a_surrogate_pair_anywhere_is_no_failure(client, body, status):
    found, message, _ = refused(client, "/v1/score", body)
    assert found == status
    assert "surrogate" in message or "\\ud800" in message


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/get_reward", b'{"query": ["how well"], "prompts": ["how"], "labels": ["\\ud800"], "more": "\\ud800"}'),
        ("/slime/reward", b'{"prompt": "how", "response": "well", "label": "\\ud800"}'),
    ],
)
def test_what_is_not_read_may_hold_anything(client, path, body):
    assert client.post(path, content=body, headers=JSON).status_code == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"prompt": "a\nb"}', "body: no JSON: Invalid control character at (line 1, column 14)"),
        (b'{\n"prompt": }', "body: no JSON: Expecting value (line 2, column 11)"),
        (b"[" * 100_000, "body: it is nested too deeply"),
        (b'{"kappa": ' + b"9" * 5000 + b"}", "body: a number has too many digits"),
    ],
)
def test_what_is_no_json_is_named_with_its_place(client, body, words):
    assert refused(client, "/v1/score", body) == (400, words, None)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"prompt": "p", "completions": ["a"], "prompt": "q"}', "prompt"),
        (b'{"prompt": [{"role": "user", "content": "a", "content": "b"}], "completions": ["a"]}', "prompt[0].content"),
        (b'{"prompt": "p", "completions": ["a"], "emphasis": {"safety": 1, "safety": 2}}', "emphasis.safety"),
    ],
)
def test_a_key_given_twice_is_named(client, body, param):
    key = param.rpartition(".")[2]
    words = f"{param}: the key '{key}' is given twice; keep one of them"
    assert refused(client, "/v1/score", body) == (400, words, param)


def test_deep_bodies_with_a_key_twice_are_no_failure(client):
    body = b'{"a": ' * 900 + b'{"b": 1, "b": 2}' + b"}" * 900
    assert refused(client, "/v1/score", body)[0] == 400


# Text parts


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


def test_text_parts_are_joined_as_in_files(client):
    plain = [{"role": "user", "content": "how do i plan"}]
    split = [{"role": "user", "content": parts("how do", " i ", "plan")}]
    expected = client.post("/v1/score", json={"prompt": plain, "completions": ["very well"]}).json()
    turn = [{"role": "assistant", "content": parts("very ", "well")}]
    for body in ({"prompt": split, "completions": ["very well"]}, {"prompt": split, "completions": [turn]}):
        assert client.post("/v1/score", json=body).json()["rewards"] == pytest.approx(expected["rewards"], abs=1e-6)
    pooled = client.post("/pooling", json={"messages": [*split, *turn]}).json()
    assert pooled["data"][0]["data"] == pytest.approx(expected["rewards"], abs=1e-6)
    slime = client.post("/slime/reward", json={"prompt": split, "response": "very well"}).json()
    assert slime == pytest.approx(expected["rewards"][0], abs=1e-6)


def test_parts_may_have_further_keys_and_be_none(client):
    part = {"type": "text", "text": "how", "cache_control": {"type": "ephemeral"}}
    prompt = [
        {"role": "user", "content": [part]},
        {"role": "assistant", "content": []},
        {"role": "user", "content": "so"},
    ]
    assert client.post("/v1/score", json={"prompt": prompt, "completions": ["well"]}).status_code == 200


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url", "image_url": {"url": "verysecretsentence"}}, "prompt[0].content[0].type"),
        ({"type": "text", "text": 5}, "prompt[0].content[0].text"),
        ("verysecretsentence", "prompt[0].content[0]"),
    ],
)
def test_parts_that_are_no_text_are_refused(client, part, param):
    body = json.dumps({"prompt": [{"role": "user", "content": [part]}], "completions": ["a"]}).encode()
    status, message, place = refused(client, "/v1/score", body)
    assert (status, place) == (422, param)
    assert "verysecretsentence" not in message


def test_the_limit_counts_all_parts(make_client):
    limited = make_client(max_characters=100)
    body = {"prompt": [{"role": "user", "content": parts("x" * 60, "x" * 60)}], "completions": ["a"]}
    answer = limited.post("/v1/score", json=body).json()["error"]
    assert (answer["param"], answer["message"]) == ("prompt", "prompt: 120 characters; at most 100 are read")
