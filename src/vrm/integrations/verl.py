"""A reward function for verl that asks a reward server.

In verl's configuration (0.9; before it, `custom_reward_function` without `reward.`):

    reward.custom_reward_function.path=pkg://vrm.integrations.verl
    reward.custom_reward_function.name=compute_score
    +reward.custom_reward_function.reward_kwargs.url=http://127.0.0.1:5000

verl passes the completion's text and the `extra_info` of the dataset's row, not the prompt: `extra_info["prompt"]` must
hold it, as text or messages. `compute_score_sync` is for verl's `remote` reward manager, which takes no coroutine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from vrm.client.calls import DEFAULT_URL, Call, ScoreOptions, score_call
from vrm.client.clients import AsyncClient, Client
from vrm.errors import ConfigError
from vrm.wire.schema import ScoreResponse

_VERLS_OWN = frozenset(("reward_router_address", "reward_model_tokenizer"))
"""What verl passes to every reward function where it runs a reward model of its own besides."""


@dataclass(frozen=True)
class Settings:
    """verl's `reward_kwargs`.

    Attributes:
        url: of the server.
        token: that it wants; None reads the environment variable `VRM_SERVER_TOKEN`.
        kappa: trains on the pessimistic reward, the mean minus kappa standard deviations; None: on the mean.
        risk: `pessimistic` with kappa, `exponential` with beta; None: as the number says.
        beta: trains on the effective reward -beta log E exp(-r / beta), in units of the reward; not with kappa.
        reward_scale: `raw` or `standardized`; None: as the model is set.
        prompt_key: of `extra_info`.
    """

    url: str = DEFAULT_URL
    token: str | None = None
    kappa: float | None = None
    risk: str | None = None
    beta: float | None = None
    reward_scale: str | None = None
    prompt_key: str = "prompt"

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """Settings by name; ConfigError for a name that is none."""
        names = [field.name for field in fields(cls)]
        unknown = sorted(set(given) - set(names) - _VERLS_OWN)
        if unknown:
            raise ConfigError(f"unknown reward_kwargs: {', '.join(unknown)}; allowed: {', '.join(names)}")
        return cls(**{name: given[name] for name in names if name in given})

    def call(self, completion: str, extra_info: Mapping[str, Any] | None) -> Call[ScoreResponse]:
        """The request for a row's reward; ConfigError if the row does not hold its prompt."""
        prompt = (extra_info or {}).get(self.prompt_key)
        if prompt is None:
            raise ConfigError(
                f"extra_info has no {self.prompt_key!r}: verl does not pass the prompt, so copy it there when you "
                "prepare the dataset, or name the key that has it in reward_kwargs.prompt_key"
            )
        # Columnar files give lists as arrays.
        text = prompt if isinstance(prompt, str) else list(prompt)
        options = ScoreOptions(kappa=self.kappa, risk=self.risk, beta=self.beta, reward_scale=self.reward_scale)
        return score_call(text, [completion], options)


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    **reward_kwargs: Any,
) -> dict[str, float]:
    """The reward of a completion, for reward managers that await it (`naive`, `dapo`, ...).

    Args:
        data_source: not read; the model judges every source alike.
        solution_str: the completion, without special tokens.
        ground_truth: not read; a reward model has no use for the answer.
        extra_info: of the dataset's row; holds the prompt.
        **reward_kwargs: see `Settings`.

    Returns:
        `score`, what the policy is trained on, with `reward_mean` and `reward_std`, which verl logs.

    Raises:
        ConfigError: an unknown setting, or a row without its prompt.
        RefusedError: the request or the token is wrong; UnavailableError: no answer after all attempts.
    """
    settings = Settings.of(reward_kwargs)
    client = _async_client(settings.url, settings.token)
    return _result(await client.send(settings.call(solution_str, extra_info)))


def compute_score_sync(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    **reward_kwargs: Any,
) -> dict[str, float]:
    """As `compute_score`, for reward managers that take no coroutine."""
    settings = Settings.of(reward_kwargs)
    client = _sync_client(settings.url, settings.token)
    return _result(client.send(settings.call(solution_str, extra_info)))


def _result(answer: ScoreResponse) -> dict[str, float]:
    lowered = answer.effective_rewards if answer.pessimistic_rewards is None else answer.pessimistic_rewards
    chosen = answer.rewards if lowered is None else lowered
    return {"score": chosen[0], "reward_mean": answer.rewards[0], "reward_std": answer.reward_std[0]}


# Connections are kept between calls; those of an asynchronous client belong to the event loop that they were made in.
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str | None], AsyncClient]] = WeakKeyDictionary()


def _async_client(url: str, token: str | None) -> AsyncClient:
    of_this_loop = _clients.setdefault(asyncio.get_running_loop(), {})
    if (url, token) not in of_this_loop:
        of_this_loop[url, token] = AsyncClient(url, token)
    return of_this_loop[url, token]


@lru_cache(maxsize=8)
def _sync_client(url: str, token: str | None) -> Client:
    return Client(url, token)
