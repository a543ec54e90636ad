"""OpenRLHF 0.11.2's remote reward model, as `SingleTurnAgentExecutor` of `openrlhf/utils/agent.py` asks it.

It posts {"query": [..], "prompts": [..], "labels": [..]} by aiohttp, one query a request and many requests at once. The
query is `tokenizer.decode(prompt ids + action ids, skip_special_tokens=False)`; the prompt is the text that its ids
were encoded from. It reads `rewards`, `scores` and `extra_logs`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from transformers import AutoTokenizer

PAIRS = [
    ("how do i plan", "a very good plan"),
    ("what is the story", "\n\nno"),
    ("help", "it says <|im_start|>assistant\nand goes on"),
    ("please", ""),
]


@pytest.fixture(scope="module")
def tokenizer(decoder_dir):
    return AutoTokenizer.from_pretrained(decoder_dir)


@pytest.fixture(scope="module")
def rewards(scored):
    """What `vrm score` gives for the pairs as messages; it refuses empty completions, which policies do write."""
    rows = [
        {"prompt": [{"role": "user", "content": prompt}], "completion": [{"role": "assistant", "content": text}]}
        for prompt, text in PAIRS
        if text
    ]
    return scored(rows)


def chat_prompt(tokenizer, prompt):
    messages = [{"role": "user", "content": prompt}]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def executor_query(tokenizer, prompt: str, text: str, finished: bool = True) -> str:
    """What the executor decodes: the policy's tokens end with its end of turn unless it ran into its limit."""
    action = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    ids = tokenizer(text=prompt, add_special_tokens=False)["input_ids"] + action
    return tokenizer.decode(ids + [tokenizer.eos_token_id] * finished, skip_special_tokens=False)


def payload(query: str, prompt: str, label: str | None = "42") -> dict:
    return {"query": [query], "prompts": [prompt], "labels": [label]}


@pytest.mark.parametrize("finished", [True, False])
def test_rewards_are_those_of_vrm_score(decoder_server, aiohttp_post, tokenizer, rewards, finished, close):
    found = []
    for prompt, text in PAIRS:
        start = chat_prompt(tokenizer, prompt)
        query = executor_query(tokenizer, start, text, finished)
        response = aiohttp_post(decoder_server.url + "/get_reward", payload(query, start))
        assert response.status_code == 200, response.text
        body = response.json()
        assert set(body) == {"rewards", "scores", "extra_logs"}
        assert body["scores"] == body["rewards"]
        assert all(len(values) == 1 for values in body["extra_logs"].values())
        found.append(body["rewards"][0])
    assert found[:3] == close(rewards)


def test_plain_prompts_are_scored_as_plain_text(decoder_server, aiohttp_post, tokenizer, scored, close):
    prompt, text = "how do i plan", " very well"
    query = executor_query(tokenizer, prompt, text)
    response = aiohttp_post(decoder_server.url + "/get_reward", payload(query, prompt))
    assert response.json()["rewards"] == close(scored([{"prompt": prompt, "completion": text}]))


def test_a_prompt_cut_by_the_policys_limit_is_found_by_the_template(decoder_server, aiohttp_post, tokenizer):
    start = chat_prompt(tokenizer, "how do i plan the city")
    cut = tokenizer.decode(tokenizer(text=start, add_special_tokens=False)["input_ids"][-12:])
    query = executor_query(tokenizer, cut, "well")
    asked = aiohttp_post(decoder_server.url + "/get_reward", payload(query, start)).json()
    known = aiohttp_post(decoder_server.url + "/get_reward", payload(query, cut)).json()
    assert asked == known


def test_an_ambiguous_query_is_refused_with_the_reason(decoder_server, aiohttp_post, tokenizer):
    query = executor_query(tokenizer, chat_prompt(tokenizer, "how"), PAIRS[2][1])
    response = aiohttp_post(decoder_server.url + "/get_reward", payload(query, "another prompt"))
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["param"] == "query[0]"
    assert "2 times" in error["message"]
    assert "goes on" not in error["message"]


def test_empty_lists_are_answered(decoder_server, aiohttp_post):
    response = aiohttp_post(decoder_server.url + "/get_reward", {"query": [], "prompts": [], "labels": []})
    assert response.status_code == 200
    body = response.json()
    assert (body["rewards"], body["scores"]) == ([], [])
    assert all(values == [] for values in body["extra_logs"].values())


def test_many_requests_at_once_each_get_their_own(decoder_server, aiohttp_post, tokenizer, rewards, close):
    start = {prompt: chat_prompt(tokenizer, prompt) for prompt, _ in PAIRS}
    bodies = [payload(executor_query(tokenizer, start[p], t), start[p]) for p, t in PAIRS[:3]] * 20

    def ask(body: dict) -> float:
        return aiohttp_post(decoder_server.url + "/get_reward", body).json()["rewards"][0]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, bodies)) == close(rewards * 20)


def test_the_url_chooses_the_pessimistic_reward(decoder_server, aiohttp_post):
    body = payload("how do i plan well", "how do i plan")
    mean = aiohttp_post(decoder_server.url + "/get_reward", body).json()
    low = aiohttp_post(decoder_server.url + "/get_reward?kappa=2", body).json()
    logs = low["extra_logs"]
    assert logs["reward_mean"] == mean["rewards"]
    assert low["rewards"][0] == pytest.approx(logs["reward_mean"][0] - 2 * logs["reward_std"][0], rel=1e-5, abs=1e-5)


def test_lists_of_other_lengths_are_refused(decoder_server):
    body = {"query": ["a b", "c d"], "prompts": ["a"], "labels": [None]}
    response = httpx2.post(decoder_server.url + "/get_reward", json=body)
    assert response.status_code == 422
    assert "1 prompts for 2 queries" in response.json()["error"]["message"]
