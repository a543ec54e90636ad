"""The application: operation, tokens, limits, errors and what is never said."""

from __future__ import annotations

import json
import logging

import pytest

from vrm import __version__
from vrm.errors import ConfigError, NumericsError
from vrm.inference.engine import RewardEngine
from vrm.inference.steering import Steering
from vrm.serve.service import Service
from vrm.serve.settings import ServeSettings

SECRET = "verysecretsentence"
GOOD = {"prompt": "how do i plan", "completions": ["well"]}


def error(response) -> dict:
    body = response.json()
    assert set(body) == {"error"}, body
    assert body["error"]["code"] == response.status_code
    return body["error"]


def test_health_and_readiness(client):
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}


def test_not_ready_while_stopping(make_client):
    client = make_client()
    service = client.app.state.service
    service.batcher.refuse_new()
    assert client.get("/health").status_code == 200
    assert (client.get("/ready").status_code, client.get("/ready").json()) == (503, {"status": "stopping"})
    refused = client.post("/v1/score", json=GOOD)
    assert (refused.status_code, error(refused)["type"]) == (503, "stopping")
    assert int(refused.headers["Retry-After"]) >= 1


def test_version(client, engine):
    assert client.get("/version").json() == {
        "version": __version__,
        "model": "tiny",
        "head": "vrm",
        "objectives": ["helpfulness", "safety", "brevity", "free_1"],
        "reward_scale": "raw",
        "max_input_tokens": 128,
        "on_overlong": "truncate",
    }


def test_metrics_count_routes_statuses_texts_and_tokens(make_client):
    client = make_client()
    client.post("/v1/score", json={"prompt": "how", "completions": ["a", "b"]})
    client.post("/v1/score", json={"prompt": "how"})
    client.get(f"/{SECRET}")
    page = client.get("/metrics").text
    assert 'vrm_requests_total{route="/v1/score",status="200"} 1.0' in page
    assert 'vrm_requests_total{route="/v1/score",status="422"} 1.0' in page
    assert 'vrm_requests_total{route="unmatched",status="404"} 1.0' in page
    assert 'vrm_request_seconds_count{route="/v1/score"} 2.0' in page
    assert "vrm_texts_total 2.0" in page
    assert "vrm_batch_texts_sum 2.0" in page
    assert "vrm_pending_texts 0.0" in page
    assert SECRET not in page


# The token


@pytest.fixture(scope="module")
def guarded(make_client):
    return make_client(token="right")


@pytest.mark.parametrize("path", ["/version", "/metrics", "/docs", "/openapi.json", "/nowhere"])
def test_without_the_token_only_health_and_readiness_answer(guarded, path):
    assert guarded.get("/health").status_code == guarded.get("/ready").status_code == 200
    refused = guarded.get(path)
    assert (refused.status_code, error(refused)["type"]) == (401, "unauthorized")
    assert refused.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["right", "Bearer wrong", "Basic right", "Bearer", "Bearer rightt", "bearer righ"])
def test_a_wrong_token_is_refused(guarded, header):
    assert guarded.post("/v1/score", json=GOOD, headers={"Authorization": header}).status_code == 401


@pytest.mark.parametrize("header", ["Bearer right", "bearer right"])
def test_the_right_token_is_let_in(guarded, header):
    assert guarded.post("/v1/score", json=GOOD, headers={"Authorization": header}).status_code == 200


def test_the_document_names_the_token(guarded, client):
    document = guarded.get("/openapi.json", headers={"Authorization": "Bearer right"}).json()
    assert document["paths"]["/v1/score"]["post"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in client.get("/openapi.json").json()["paths"]["/v1/score"]["post"]


# Limits


@pytest.fixture(scope="module")
def limited(make_client):
    return make_client(max_body_bytes=2000, max_texts=3, max_explained=2, max_characters=100)


def test_a_large_body_is_refused_by_its_length(limited):
    refused = limited.post("/v1/score", json={"prompt": "x" * 3000, "completions": ["a"]})
    assert (refused.status_code, error(refused)["type"]) == (413, "body_too_large")
    assert "at most 2,000" in error(refused)["message"]


def test_a_large_body_in_chunks_is_refused_as_it_comes(limited):
    chunks = (part.encode() for part in ['{"prompt": "', *["x" * 500] * 6, '", "completions": ["a"]}'])
    refused = limited.post("/v1/score", content=chunks, headers={"Content-Type": "application/json"})
    assert (refused.status_code, error(refused)["type"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("path", "body", "param", "words"),
    [
        ("/v1/score", {"prompt": "p", "completions": ["a"] * 4}, "completions", "4 texts; at most 3"),
        ("/v1/explain", {"prompt": "p", "completions": ["a"] * 3}, "completions", "3 texts; at most 2"),
        ("/v1/score", {"prompt": "x" * 101, "completions": ["a"]}, "prompt", "101 characters; at most 100"),
        ("/v1/score", {"prompt": "p", "completions": ["a", "y" * 101]}, "completions[1]", "101 characters"),
        ("/get_reward", {"query": ["a"] * 4}, "query", "4 texts; at most 3"),
        ("/get_reward", {"query": ["y" * 201]}, "query[0]", "201 characters; at most 200"),
        ("/classify", {"input": ["a"] * 4}, "input", "4 texts; at most 3"),
        ("/slime/reward", {"prompt": "p", "response": "y" * 101}, "response", "101 characters"),
        ("/v1/score", {"prompt": "p", "completions": ["a"], "tools": [{"name": "z" * 99}]}, "tools", "at most 100"),
        (
            "/v1/score",
            {"prompt": [{"role": "user", "content": "p", "name": "z" * 99}], "completions": ["a"]},
            "prompt",
            "at most 100",
        ),
    ],
)
def test_limits_name_the_field_the_value_and_what_is_allowed(limited, path, body, param, words):
    refused = limited.post(path, json=body)
    assert refused.status_code == 422
    assert error(refused)["param"] == param
    assert words in error(refused)["message"]


def test_overlong_texts_are_cut_or_refused(make_client, tiny_model_dir, client):
    body = {"prompt": "how do i plan", "completions": ["water " * 300]}
    cut = client.post("/v1/score", json=body).json()
    assert (cut["truncated"], cut["tokens"]) == (True, 128)
    assert client.post("/v1/score", json=GOOD).json()["truncated"] is False
    for policy in ("error", "truncate_prompt"):
        strict = make_client(RewardEngine.from_pretrained(tiny_model_dir, on_overlong=policy))
        refused = strict.post("/v1/score", json=body)
        assert refused.status_code == 422
        assert "307 tokens together; the model reads at most 128" in error(refused)["message"]
        assert strict.post("/v1/score", json=GOOD).status_code == 200
    assert "vrm_truncated_prompts_total 1.0" in client.get("/metrics").text


# Errors


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "prompt", "prompt: Field required; completions: Field required"),
        ({**GOOD, "kapa": 1}, "kapa", "kapa: Extra inputs are not permitted"),
        ({**GOOD, "text_1": "a"}, "text_1", "vLLM's shape is answered at POST /score"),
        ({**GOOD, "kappa": -1}, "kappa", "greater than or equal to 0 (got -1)"),
        ({**GOOD, "kappa": "1"}, "kappa", "(got '1')"),
        ({**GOOD, "reward_scale": "percent"}, "reward_scale", "'raw' or 'standardized' (got 'percent')"),
        ({**GOOD, "completions": []}, "completions", "at least 1 item"),
        ({**GOOD, "prompt": "  "}, "prompt", "empty or blank"),
        ({**GOOD, "prompt": []}, "prompt", "at least 1 item"),
        ({**GOOD, "prompt": [{"role": "human", "content": "x"}]}, "prompt[0].role", "'system', 'developer', 'user'"),
        ({**GOOD, "completions": [[{"role": "assistant", "content": "x"}]]}, "completions[0]", "the prompt is a text"),
        ({**GOOD, "emphasis": {"style": 1}}, "emphasis", "objectives are: helpfulness, safety, brevity, free_1"),
        ({**GOOD, "emphasis": {"safety": -1}}, "emphasis.safety", "greater than or equal to 0"),
        ({**GOOD, "without": ["helpfulness", "safety", "brevity", "free_1"]}, "without", "at least one objective"),
        ({**GOOD, "emphasis": {"safety": 1}, "without": ["safety"]}, "without", "left out and emphasized"),
    ],
)
def test_errors_name_the_field_and_what_is_allowed(client, body, param, words):
    refused = client.post("/v1/score", json=body)
    assert refused.status_code == 422
    assert error(refused)["param"] == param
    assert words in error(refused)["message"]


def test_a_message_that_calls_tools_needs_no_content(client):
    call = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "f"}}]}
    prompt = [{"role": "user", "content": "how"}, call, {"role": "tool", "content": "so"}]
    assert client.post("/v1/score", json={"prompt": prompt, "completions": ["good"]}).status_code == 200


def test_a_completion_of_messages_ends_with_the_assistants(client):
    prompt = [{"role": "user", "content": "how"}]
    refused = client.post("/v1/score", json={"prompt": prompt, "completions": [prompt]})
    assert "completions[0]: the last message is the user's" in error(refused)["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b'{"prompt": "\\ud800", "completions": ["a"]}', b"\xff"])
def test_what_is_no_json_or_no_text_is_refused(client, body):
    refused = client.post("/v1/score", content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code in (400, 422)
    assert error(refused)["message"]


@pytest.mark.parametrize("path", ["/nowhere", "/v1/score"])
def test_unknown_routes_and_methods_have_the_same_form(client, path):
    assert error(client.get(path))["type"] == "invalid_request"


def test_an_error_nobody_expected_is_a_500_that_says_nothing(make_client, engine, monkeypatch, caplog):
    client = make_client()

    def broken(*_):
        raise RuntimeError(f"could not read {SECRET}")

    monkeypatch.setattr(client.app.state.service.engine, "judge_tokenized", broken)
    with caplog.at_level(logging.DEBUG):
        failed = client.post("/v1/score", json={"prompt": SECRET, "completions": ["a"]})
    assert failed.status_code == 500
    assert "RuntimeError" in error(failed)["message"]
    assert "RuntimeError in" in caplog.text
    assert SECRET not in caplog.text + failed.text


def test_a_reward_that_is_not_finite_is_a_500_that_says_so(make_client, tiny_model_dir):
    import torch

    broken = RewardEngine.from_pretrained(tiny_model_dir)
    client = make_client(broken)
    with torch.no_grad():
        broken.model.score.decoder.fill_(float("nan"))
    failed = client.post("/v1/score", json=GOOD)
    assert (failed.status_code, error(failed)["type"]) == (500, "computation_failed")
    assert "not finite" in error(failed)["message"]


def test_a_model_that_gives_nothing_finite_is_not_served_nor_explained(make_client, tiny_model_dir):
    import torch

    broken = RewardEngine.from_pretrained(tiny_model_dir)
    client = make_client(broken)
    with torch.no_grad():
        for parameter in broken.model.score.parameters():
            parameter.fill_(float("nan"))
    failed = client.post("/v1/explain", json=GOOD)
    assert (failed.status_code, error(failed)["type"]) == (500, "computation_failed")
    with pytest.raises(NumericsError, match="not finite"):
        Service(broken).try_model()


@pytest.mark.parametrize(
    ("url", "body", "allowed"),
    [
        ("/v1/score?kappa=1", GOOD, "none"),
        ("/v1/explain?without=x", GOOD, "none"),
        ("/get_reward?kapa=1", {"query": []}, "reward_scale, kappa, risk, beta"),
        ("/classify?emphasis=x", {"input": []}, "reward_scale, kappa, risk, beta"),
        ("/pooling?details=1", {"input": []}, "reward_scale, kappa, risk, beta"),
        ("/slime/reward?detail=1", {"prompt": "p", "response": "a"}, "reward_scale, kappa, risk, beta, details"),
    ],
)
def test_parameters_of_the_url_that_no_route_reads_are_refused(client, url, body, allowed):
    refused = client.post(url, json=body)
    name = url.split("?")[1].split("=")[0]
    assert (refused.status_code, error(refused)["param"]) == (422, name)
    assert f"{name}: no parameter of this URL; it may have {allowed}." in error(refused)["message"]


def test_a_request_for_nothing_is_answered_with_nothing(client):
    assert client.post("/get_reward", json={"query": []}).json()["rewards"] == []
    assert client.post("/pooling", json={"input": []}).json()["data"] == []
    assert client.post("/get_reward?reward_scale=percent", json={"query": []}).status_code == 422


def test_json_that_is_not_called_so_is_told(client):
    refused = client.post("/v1/score", content=json.dumps(GOOD), headers={"Content-Type": "text/plain"})
    assert refused.status_code == 422
    assert error(refused)["message"] == "body: send it with the header Content-Type: application/json"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/score", {"prompt": SECRET, "completions": [SECRET], "kappa": -1}),
        ("/v1/score", {"prompt": {SECRET: SECRET}, "completions": SECRET}),
        ("/v1/score", {"prompt": [{"role": SECRET, "content": "x"}], "completions": [[SECRET]]}),
        ("/v1/score", {"prompt": SECRET, "completions": [[{"role": "assistant", "content": SECRET}]]}),
        ("/v1/score", [SECRET]),
        ("/v1/score", SECRET),
        ("/get_reward", {"query": SECRET, "prompts": [SECRET]}),
        ("/get_reward", {"query": [SECRET], "prompts": ["another"]}),
        ("/slime/reward", {"prompt": [SECRET], "response": 5}),
        ("/classify", {"input": SECRET}),
        ("/score", {"text_1": {SECRET: SECRET}, "text_2": [5]}),
        ("/score", {"queries": [SECRET], "documents": SECRET, "more": 1}),
        ("/classify", {"input": {"x": SECRET}}),
    ],
)
def test_no_text_in_errors_and_logs(client, caplog, path, body):
    with caplog.at_level(logging.DEBUG):
        refused = client.post(path, json=body)
    assert refused.status_code == 422
    assert SECRET not in refused.text
    assert SECRET not in caplog.text


def test_the_log_has_route_status_and_time(client, caplog):
    with caplog.at_level(logging.INFO, logger="vrm.serve"):
        client.post("/get_reward?kappa=1", json={"query": [SECRET + " a"], "prompts": [SECRET]})
        client.get(f"/{SECRET}")
    messages = [record.getMessage() for record in caplog.records if record.name == "vrm.serve"]
    assert [message.rsplit(" ", 2)[0] for message in messages] == ["POST /get_reward 200", "GET unmatched 404"]
    assert SECRET not in caplog.text


# The document


def test_the_openapi_page_explains_itself(client):
    document = client.get("/openapi.json").json()
    assert "`helpfulness`, `safety`" in document["info"]["description"]
    operations = [entry for path in document["paths"].values() for entry in path.values()]
    assert len(operations) >= 9
    for operation in operations:
        assert operation["summary"]
        assert operation["description"]
    bodies = (
        "ScoreRequest",
        "ExplainRequest",
        "GetRewardRequest",
        "SlimeRequest",
        "PairsRequest",
        "ClassifyRequest",
        "PoolingRequest",
    )
    for name in bodies:
        schema = document["components"]["schemas"][name]
        assert schema["examples"], name
        assert all("description" in field for field in schema["properties"].values()), name


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/v1/score", "ScoreRequest"),
        ("/v1/explain", "ExplainRequest"),
        ("/get_reward", "GetRewardRequest"),
        ("/slime/reward", "SlimeRequest"),
        ("/score", "PairsRequest"),
        ("/classify", "ClassifyRequest"),
        ("/pooling", "PoolingRequest"),
    ],
)
def test_the_documents_examples_work(client, path, schema):
    examples = client.get("/openapi.json").json()["components"]["schemas"][schema]["examples"]
    for example in examples:
        answer = client.post(path, content=json.dumps(example), headers={"Content-Type": "application/json"})
        assert answer.status_code == 200, answer.text


# Settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"queue_delay": -1}, "queue_delay must be a finite number of at least 0"),
        ({"request_timeout": float("inf")}, "request_timeout"),
        ({"max_texts": 0}, "max_texts must be"),
        ({"max_texts": 10, "max_queue_texts": 5}, "must not exceed max_queue_texts"),
        ({"token": "  "}, "the token is empty"),
    ],
)
def test_settings_that_make_no_sense_are_errors(settings, words):
    with pytest.raises(ConfigError, match=words):
        ServeSettings(**settings)


def test_a_steered_engine_is_not_served(tiny_model_dir):
    steered = RewardEngine.from_pretrained(tiny_model_dir, steering=Steering({"safety": 1.0}))
    with pytest.raises(ConfigError, match="must not be steered"):
        Service(steered)
