"""RewardBench's own program, with the rewards of a running `vrm serve`.

The package `rewardbench` (0.1.4) pins a transformers that cannot load models of transformers 5, so it runs in an
environment of its own and asks a server for rewards. This module needs nothing but torch there:

    from rewardbench import REWARD_MODEL_CONFIG
    from rewardbench.rewardbench import main

    from vrm.integrations.rewardbench import registry_entry

    REWARD_MODEL_CONFIG["vrm"] = registry_entry("http://127.0.0.1:8000")
    main()  # --model vrm --tokenizer MODEL_DIRECTORY --dataset ...

Nothing here touches a GPU, which RewardBench's own pipeline insists on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import torch
from torch import Tensor

from vrm.errors import ModelError

TEXTS_A_REQUEST = 32
TIMEOUT = 180.0
"""Seconds that one request may take."""


@dataclass(frozen=True)
class ServedModel:
    """A reward model behind a server, in the place where RewardBench expects one of transformers.

    Attributes:
        url: of the server, such as `http://127.0.0.1:8000`.
        token: bearer token, if the server wants one.
        config: the part of a model's configuration that RewardBench reads; the server pads by itself.
    """

    url: str
    token: str | None = None
    config: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(pad_token_id=0))

    def rewards(self, texts: Sequence[str]) -> list[float]:
        """E[r] of texts that the model's chat template has formatted, in order.

        Raises:
            ModelError: if the server does not answer, refuses a text, or answers something else than one reward a text.
        """
        rewards: list[float] = []
        for start in range(0, len(texts), TEXTS_A_REQUEST):
            chunk = list(texts[start : start + TEXTS_A_REQUEST])
            rows = self._post("/classify", {"input": chunk, "use_activation": False}).get("data", [])
            by_index = {row["index"]: float(row["probs"][-1]) for row in rows}
            if sorted(by_index) != list(range(len(chunk))):
                raise ModelError(f"{self.url}: {len(chunk)} texts were sent, but {len(rows)} rewards came back")
            rewards += [by_index[index] for index in range(len(chunk))]
        return rewards

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        request = Request(self.url.rstrip("/") + path, json.dumps(body).encode(), headers)
        try:
            with urlopen(request, timeout=TIMEOUT) as response:
                return json.loads(response.read())
        except HTTPError as error:
            text = error.read().decode(errors="replace")[:500]
            raise ModelError(f"{request.full_url} answers {error.code}: {text}") from error
        except (URLError, TimeoutError) as error:
            raise ModelError(f"{request.full_url}: no answer ({error}). Is `vrm serve` running there?") from error


class ServedPipeline:
    """RewardBench's pipeline protocol: a list of texts to rewards (texts, 1)."""

    def __init__(self, task: str, model: ServedModel, tokenizer: Any) -> None:
        self.task, self.model, self.tokenizer = task, model, tokenizer

    def __call__(self, samples: Sequence[str], **_: Any) -> Tensor:
        """Rewards (texts, 1), float32. Batch size, padding and truncation are the server's, whatever is passed."""
        return torch.tensor(self.model.rewards(samples), dtype=torch.float32).unsqueeze(1)


def registry_entry(url: str, token: str | None = None) -> dict[str, Any]:
    """Entry of `rewardbench.REWARD_MODEL_CONFIG` for the model that a server holds.

    Args:
        url: of the server.
        token: bearer token, if the server wants one.
    """

    def build(name: str, **_: Any) -> ServedModel:
        # RewardBench passes how weights are to be loaded; they are loaded already.
        return ServedModel(url, token)

    return {
        "model_builder": build,
        "pipeline_builder": ServedPipeline,
        "quantized": False,
        "custom_dialogue": False,
        "model_type": "Seq. Classifier",
        "torch_dtype": torch.float32,
    }
