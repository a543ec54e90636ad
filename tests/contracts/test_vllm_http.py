"""vLLM's /classify and /pooling (0.2x to 0.33), as its own example clients ask them and read the answers."""

from __future__ import annotations

import math

import pytest
from transformers import AutoTokenizer

MESSAGES = [{"role": "user", "content": "how do i plan"}, {"role": "assistant", "content": "very well"}]


@pytest.fixture(scope="module")
def reward(scored):
    return scored([{"prompt": MESSAGES[:1], "completion": MESSAGES[1:]}])[0]


@pytest.fixture(scope="module")
def text(tiny_decoder_dir):
    return AutoTokenizer.from_pretrained(tiny_decoder_dir).apply_chat_template(MESSAGES, tokenize=False)


def test_classify(decoder_server, aiohttp_post, reward, text):
    body = aiohttp_post(decoder_server.url + "/classify", {"model": "reward", "input": [text, text]}).json()
    assert set(body) == {"id", "object", "created", "model", "data", "usage"}
    assert body["object"] == "list"
    assert [row["index"] for row in body["data"]] == [0, 1]
    for row in body["data"]:
        assert set(row) == {"index", "label", "probs", "num_classes"}
        assert row["num_classes"] == len(row["probs"]) == 1
        assert row["probs"][0] == pytest.approx(reward, abs=1e-5)
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("key", ["input", "messages"])
def test_text_and_messages_give_the_same(decoder_server, aiohttp_post, reward, text, key):
    payload = {"model": "reward", key: text if key == "input" else MESSAGES}
    body = aiohttp_post(decoder_server.url + "/classify", payload).json()
    assert body["data"][0]["probs"] == pytest.approx([reward], abs=1e-5)


def test_an_activation_is_the_logistic_function(decoder_server, aiohttp_post, reward, text):
    payload = {"model": "reward", "input": text, "use_activation": True}
    body = aiohttp_post(decoder_server.url + "/classify", payload).json()
    assert body["data"][0]["probs"] == pytest.approx([1 / (1 + math.exp(-reward))], abs=1e-5)


def test_pooling(decoder_server, aiohttp_post, reward, text):
    body = aiohttp_post(decoder_server.url + "/pooling", {"model": "reward", "input": text}).json()
    assert body["data"] == [{"index": 0, "object": "pooling", "data": [pytest.approx(reward, abs=1e-5)]}]


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
