"""What the chat template refuses: its own words reach the client, and texts of the request do not."""

from __future__ import annotations

import pytest

from vrm.inference.engine import RewardEngine

RULES = """\
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif -%}
{%- for message in messages -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Roles must alternate, got ' + message['role'] + ' for ' + message['content']) }}
{%- endif -%}
{%- if message['name'] is defined %}{{ message['name'] }}{% endif -%}
{%- if message['weight'] is defined %}{{ message['weight'] + 1 }}{% endif -%}
{%- endfor -%}
"""
SECRET = "verysecretsentence"
SYSTEM, USER, TURN = ({"role": role, "content": f"{role} {SECRET}"} for role in ("system", "user", "assistant"))


@pytest.fixture(scope="module")
def client(make_client, tiny_decoder_dir):
    engine = RewardEngine.from_pretrained(tiny_decoder_dir)
    client = make_client(engine)
    engine.tokenizer.chat_template = RULES + engine.tokenizer.chat_template
    return client


def bodies(prompt):
    """Each route's request for the messages, and the field that they stand in."""
    return {
        "/v1/score": ({"prompt": prompt, "completions": ["so"]}, "prompt"),
        "/v1/explain": ({"prompt": prompt, "completions": ["so", "no"]}, "prompt"),
        "/slime/reward": ({"prompt": prompt, "response": "so"}, "prompt"),
        "/classify": ({"messages": [*prompt, TURN]}, "messages"),
        "/pooling": ({"messages": [*prompt, TURN]}, "messages"),
    }


def refused(client, path, body):
    answer = client.post(path, json=body)
    error = answer.json()["error"]
    assert SECRET not in answer.text
    return answer.status_code, error["param"], error["message"]


@pytest.mark.parametrize("path", bodies([]))
def test_the_templates_own_words_are_given(client, path):
    body, field = bodies([SYSTEM, USER])[path]
    words = f"{field}: the model's chat template refuses these messages: System role not supported"
    assert refused(client, path, body) == (422, field, words)
    assert client.post(path, json=bodies([USER])[path][0]).status_code == 200


@pytest.mark.parametrize("path", bodies([]))
def test_a_text_in_the_templates_words_is_left_out(client, path):
    body, field = bodies([USER, USER])[path]
    status, param, message = refused(client, path, body)
    assert (status, param) == (422, field)
    assert "Roles must alternate, got user for (a text of 23 characters)" in message


def test_an_error_inside_the_template_is_a_refusal(client):
    body = {"prompt": [{**USER, "weight": "heavy"}], "completions": ["so"]}
    status, param, message = refused(client, "/v1/score", body)
    assert (status, param) == (422, "prompt")
    assert "the model's chat template refuses these messages: TypeError" in message


def test_half_of_a_surrogate_pair_in_what_the_template_prints(client):
    prompt = b'[{"role": "user", "content": "how", "name": "\\ud800"}]'
    body = b'{"prompt": %s, "completions": ["so"]}' % prompt
    answer = client.post("/v1/score", content=body, headers={"Content-Type": "application/json"})
    words = "prompt[0].name: character 0 is '\\ud800', half of a surrogate pair; repair the text's encoding"
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, words)


def test_one_refusal_does_not_touch_other_requests(client):
    good = {"prompt": [USER], "completions": ["so"]}
    before = client.post("/v1/score", json=good).json()["rewards"]
    refused(client, "/v1/score", {"prompt": [SYSTEM, USER], "completions": ["so"]})
    assert client.post("/v1/score", json=good).json()["rewards"] == before
