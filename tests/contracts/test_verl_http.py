"""verl 0.9.1: the built-in discriminative reward model's request, and our `compute_score` as its managers call it.

`RewardLoopWorker.compute_score_disrm` of `verl/experimental/reward_loop/reward_loop.py` posts {"model", "input",
"use_activation": false} to /classify, without the template's first token, and reads `data[-1]["probs"][-1]`.
`NaiveRewardManager.run_single` calls `compute_score(data_source=, solution_str=, ground_truth=, extra_info=)`, awaits
it if `inspect.iscoroutinefunction` says so, and takes `score` of a dictionary; with a reward model of its own verl also
passes `reward_router_address` and `reward_model_tokenizer`. `load_extern_object` imports `pkg://MODULE`.
"""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from importlib import import_module

import numpy as np
import pytest
from transformers import AutoTokenizer

from vrm.errors import ConfigError, RefusedError

PROMPT = [{"role": "user", "content": "how do i plan"}]


@pytest.fixture(scope="module")
def reward(scored):
    return scored([{"prompt": PROMPT, "completion": [{"role": "assistant", "content": "very well"}]}])[0]


def test_the_built_in_request(decoder_server, aiohttp_post, decoder_dir, reward, close):
    tokenizer = AutoTokenizer.from_pretrained(decoder_dir)
    chat = [*PROMPT, {"role": "assistant", "content": "very well"}]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=False, tokenize=False)
    payload = {"model": "~/models/reward", "input": text, "use_activation": False}
    output = aiohttp_post(f"{decoder_server.url}/classify", payload).json()
    assert output["data"][-1]["probs"][-1] == close(reward)


def custom_reward_function(path: str, name: str, reward_kwargs: dict):
    """As `get_custom_reward_fn` builds it: the settings of the configuration win over the call's."""
    raw = getattr(import_module(path.removeprefix("pkg://").replace("/", ".")), name)

    def call(raw, extra, **kwargs):
        return raw(**{**kwargs, **extra})

    async def call_async(raw, extra, **kwargs):
        return await raw(**{**kwargs, **extra})

    return partial(call_async if inspect.iscoroutinefunction(raw) else call, raw, reward_kwargs)


def run_single(function, solution: str, extra_info: dict, **reward_router) -> dict:
    """As `NaiveRewardManager.run_single` calls a reward function and reads its result."""
    arguments = {"data_source": "chat", "solution_str": solution, "ground_truth": None, "extra_info": extra_info}

    async def run():
        if inspect.iscoroutinefunction(function):
            return await function(**arguments, **reward_router)
        call = partial(function, **arguments, **reward_router)
        return await asyncio.get_running_loop().run_in_executor(None, call)

    result = asyncio.run(run())
    return {"reward_score": result["score"], "reward_extra_info": dict(result)}


@pytest.mark.parametrize("name", ["compute_score", "compute_score_sync"])
def test_compute_score(decoder_server, reward, name, close):
    function = custom_reward_function("pkg://vrm.integrations.verl", name, {"url": decoder_server.url})
    assert inspect.iscoroutinefunction(function) == (name == "compute_score")
    extra_info = {"prompt": np.array(PROMPT, dtype=object), "num_turns": None, "rollout_reward_scores": {}}
    router = {"reward_router_address": "127.0.0.1:1", "reward_model_tokenizer": None}
    result = run_single(function, "very well", extra_info, **router)
    assert result["reward_score"] == close(reward)
    assert set(result["reward_extra_info"]) == {"score", "reward_mean", "reward_std"}


def test_an_empty_completion_has_a_reward(decoder_server):
    function = custom_reward_function("pkg://vrm.integrations.verl", "compute_score", {"url": decoder_server.url})
    result = run_single(function, "", {"prompt": PROMPT})
    assert np.isfinite(result["reward_score"])


def test_the_pessimistic_reward_and_another_key(decoder_server):
    settings = {"url": decoder_server.url, "kappa": 1.0, "prompt_key": "question"}
    function = custom_reward_function("pkg://vrm.integrations.verl", "compute_score", settings)
    info = run_single(function, "well", {"question": "how do i plan"})["reward_extra_info"]
    assert info["score"] == pytest.approx(info["reward_mean"] - info["reward_std"], rel=1e-5, abs=1e-5)


def test_a_batch_of_samples_is_gathered(decoder_server, reward, close):
    function = custom_reward_function("pkg://vrm.integrations.verl", "compute_score", {"url": decoder_server.url})
    arguments = {"data_source": "chat", "ground_truth": None, "extra_info": {"prompt": PROMPT}}

    async def compute_score_batch():
        tasks = [asyncio.create_task(function(solution_str="very well", **arguments)) for _ in range(32)]
        return await asyncio.gather(*tasks)

    assert [result["score"] for result in asyncio.run(compute_score_batch())] == close([reward] * 32)


@pytest.mark.parametrize(
    ("settings", "extra_info", "words"),
    [
        ({}, {"index": 1}, "extra_info has no 'prompt'"),
        ({"kapa": 1}, {"prompt": PROMPT}, "unknown reward_kwargs: kapa"),
    ],
)
def test_wrong_settings_are_loud(decoder_server, settings, extra_info, words):
    settings = {"url": decoder_server.url, **settings}
    function = custom_reward_function("pkg://vrm.integrations.verl", "compute_score_sync", settings)
    with pytest.raises(ConfigError, match=words):
        run_single(function, "well", extra_info)


def test_a_refused_request_is_loud(decoder_server):
    settings = {"url": decoder_server.url, "reward_scale": "percent"}
    function = custom_reward_function("pkg://vrm.integrations.verl", "compute_score_sync", settings)
    with pytest.raises(RefusedError, match="reward_scale"):
        run_single(function, "well", {"prompt": PROMPT})
