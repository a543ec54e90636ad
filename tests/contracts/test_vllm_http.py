"""vLLM's /classify, /pooling and /score (0.2x to 0.33), as its own example clients ask them and read the answers."""

from __future__ import annotations

import math

import pytest
from transformers import AutoTokenizer

MESSAGES = [{"role": "user", "content": "how do i plan"}, {"role": "assistant", "content": "very well"}]


@pytest.fixture(scope="module")
def reward(scored):
    return scored([{"prompt": MESSAGES[:1], "completion": MESSAGES[1:]}])[0]


@pytest.fixture(scope="module")
def text(decoder_dir):
    return AutoTokenizer.from_pretrained(decoder_dir).apply_chat_template(MESSAGES, tokenize=False)


def test_classify(decoder_server, aiohttp_post, reward, text, close):
    body = aiohttp_post(decoder_server.url + "/classify", {"model": "reward", "input": [text, text]}).json()
    assert set(body) == {"id", "object", "created", "model", "data", "usage"}
    assert body["object"] == "list"
    assert [row["index"] for row in body["data"]] == [0, 1]
    for row in body["data"]:
        assert set(row) == {"index", "label", "probs", "num_classes"}
        assert row["num_classes"] == len(row["probs"]) == 1
        assert row["probs"][0] == close(reward)
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("key", ["input", "messages"])
def test_text_and_messages_give_the_same(decoder_server, aiohttp_post, reward, text, key, close):
    payload = {"model": "reward", key: text if key == "input" else MESSAGES}
    body = aiohttp_post(decoder_server.url + "/classify", payload).json()
    assert body["data"][0]["probs"] == close([reward])


def test_an_activation_is_the_logistic_function(decoder_server, aiohttp_post, reward, text, close):
    payload = {"model": "reward", "input": text, "use_activation": True}
    body = aiohttp_post(decoder_server.url + "/classify", payload).json()
    assert body["data"][0]["probs"] == close([1 / (1 + math.exp(-reward))])


def test_pooling(decoder_server, aiohttp_post, reward, text, close):
    body = aiohttp_post(decoder_server.url + "/pooling", {"model": "reward", "input": text}).json()
    assert body["data"] == [{"index": 0, "object": "pooling", "data": [close(reward)]}]


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"model": "reward"}, "give either 'input' or 'messages'"),
        ({"model": "reward", "input": [1, 2, 3]}, "valid string"),
        ({"model": "reward", "input": "no template"}, "does not hold the chat template's generation prompt"),
        ({"model": "reward", "messages": [*MESSAGES, MESSAGES[0]]}, "the last is the user's"),
        ({"model": "reward", "input": "x", "truncate_prompt_tokens": 5}, "truncate_prompt_tokens: Extra"),
    ],
)
def test_what_it_cannot_do_is_refused(decoder_server, aiohttp_post, payload, words):
    response = aiohttp_post(decoder_server.url + "/classify", payload)
    assert response.status_code == 422
    assert words in response.json()["error"]["message"]


# /score, whose texts are plain

PROMPT, COMPLETIONS = "how do i plan", ["very well", "no", "short and safe"]


@pytest.fixture(scope="module")
def rewards(scored):
    return scored([{"prompt": PROMPT, "completion": completion} for completion in COMPLETIONS])


def scores(server, aiohttp_post, **payload):
    body = aiohttp_post(server.url + "/score", {"model": "reward", **payload}).json()
    assert set(body) == {"id", "object", "created", "model", "data", "usage"}
    assert [(row["index"], row["object"]) for row in body["data"]] == [(i, "score") for i in range(len(body["data"]))]
    return [row["score"] for row in body["data"]]


@pytest.mark.parametrize("names", [("text_1", "text_2"), ("queries", "documents"), ("queries", "items")])
def test_one_prompt_for_all_or_one_for_each(decoder_server, aiohttp_post, rewards, names, close):
    for prompts in (PROMPT, [PROMPT], [PROMPT] * 3):
        payload = dict(zip(names, (prompts, COMPLETIONS), strict=True))
        assert scores(decoder_server, aiohttp_post, **payload) == close(rewards)
    payload = {**dict(zip(names, (PROMPT, COMPLETIONS[0]), strict=True)), "encoding_format": "float"}
    assert scores(decoder_server, aiohttp_post, **payload) == close(rewards[:1])


def test_scores_are_those_of_the_native_api(decoder_server, aiohttp_post, close):
    native = aiohttp_post(decoder_server.url + "/v1/score", {"prompt": PROMPT, "completions": COMPLETIONS, "kappa": 1})
    body = aiohttp_post(decoder_server.url + "/score?kappa=1", {"text_1": PROMPT, "text_2": COMPLETIONS}).json()
    expected = native.json()
    assert [row["score"] for row in body["data"]] == close(expected["pessimistic_rewards"])
    assert body["usage"]["prompt_tokens"] == expected["tokens"]


def test_an_activation_of_scores_and_no_scores(decoder_server, aiohttp_post, rewards, close):
    payload = {"text_1": PROMPT, "text_2": COMPLETIONS, "use_activation": True}
    expected = [1 / (1 + math.exp(-value)) for value in rewards]
    assert scores(decoder_server, aiohttp_post, **payload) == close(expected)
    assert scores(decoder_server, aiohttp_post, text_1=PROMPT, text_2=[]) == []


@pytest.mark.parametrize(
    ("payload", "param", "words"),
    [
        ({"text_1": PROMPT}, "text_2", "Field required"),
        ({"text_1": [PROMPT] * 2, "text_2": COMPLETIONS}, "text_1", "2 prompts for 3 completions"),
        ({"text_1": [], "text_2": COMPLETIONS}, "text_1", "0 prompts for 3 completions"),
        ({"text_1": "  ", "text_2": COMPLETIONS}, "text_1", "the prompt is empty or blank"),
        ({"text_1": [PROMPT, " "], "text_2": ["a", "b"]}, "text_1[1]", "the prompt is empty or blank"),
        ({"queries": PROMPT, "documents": [5]}, "documents[0]", "valid string"),
        ({"text_1": PROMPT, "text_2": ["a"] * 65}, "text_2", "65 texts; at most 64"),
        ({"text_1": PROMPT, "text_2": ["a"], "encoding_format": "base64"}, "encoding_format", "'float'"),
    ],
)
def test_pairs_that_it_cannot_score_are_refused(decoder_server, aiohttp_post, payload, param, words):
    response = aiohttp_post(decoder_server.url + "/score", payload)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (422, param)
    assert words in error["message"]
