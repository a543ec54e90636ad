"""What the contract tests share: servers, prompts for the tiny policy, and what `vrm score` says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

QUESTIONS = ["how do you help", "why is the city safe", "what is a good plan", "tell a short story"]


@pytest.fixture(scope="session", params=["decoder", "smollm2"])
def decoder_kind(request: pytest.FixtureRequest) -> str:
    """A random decoder with a small vocabulary, and a real chat model."""
    return str(request.param)


@pytest.fixture(scope="session")
def decoder_dir(decoder_kind: str, make_tiny_model: Callable[..., Path]) -> Path:
    return make_tiny_model(kind=decoder_kind)


@pytest.fixture(scope="session")
def close(decoder_kind: str) -> Callable[[Any], Any]:
    """close(rewards): equal but for what other batches do to the last digits of float32, in two layers or in thirty."""
    tolerance = 1e-4 if decoder_kind == "smollm2" else 1e-5
    return lambda rewards: pytest.approx(rewards, rel=tolerance, abs=tolerance)


@pytest.fixture(scope="session")
def decoder_server(serve: Callable[..., Any], decoder_dir: Path) -> Iterator[Any]:
    with serve(decoder_dir) as server:
        yield server


@pytest.fixture(scope="session")
def scored(decoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[float]]:
    """scored(rows): the rewards that `vrm score` writes for rows of one completion."""
    from vrm.cli.main import main

    def scored(rows: list[dict[str, Any]], *options: str) -> list[float]:
        directory = tmp_path_factory.mktemp("scored")
        source, output = directory / "rows.jsonl", directory / "out.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        with pytest.raises(SystemExit) as stop:
            main(["score", str(decoder_dir), str(source), "-o", str(output), "--device", "cpu", *options])
        assert not stop.value.code
        return [json.loads(line)["rewards"][0] for line in output.read_text(encoding="utf-8").splitlines()]

    return scored


@pytest.fixture(scope="session")
def aiohttp_post() -> Callable[..., httpx2.Response]:
    """aiohttp_post(url, payload): the request of aiohttp 3.13's `ClientSession().post(url, json=payload)`."""

    def post(url: str, payload: dict[str, Any]) -> httpx2.Response:
        headers = {
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": "Python/3.12 aiohttp/3.13.3",
            "Content-Type": "application/json",
        }
        # A session is made for every request, so a connection too.
        with httpx2.Client(headers=headers, timeout=60) as session:
            return session.post(url, content=json.dumps(payload).encode())

    return post


@pytest.fixture(scope="session")
def policy_tokenizer(tiny_policy_dir: Path) -> Any:
    """The policy's tokenizer, padding to the left, as generation wants it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_policy_dir, padding_side="left")


@pytest.fixture
def questions() -> Any:
    """Conversational prompts as a `datasets.Dataset`, with a further column that reward functions are handed."""
    from datasets import Dataset

    rows = [{"prompt": [{"role": "user", "content": text}], "topic": text.split()[-1]} for text in QUESTIONS]
    return Dataset.from_list(rows)


@pytest.fixture
def vrm_score(tmp_path: Path) -> Callable[..., list[float]]:
    """vrm_score(model directory, prompts, completions, *options): what the command writes, one reward a row."""
    from vrm.cli.main import main

    def score(model: Path, prompts: list[Any], completions: list[Any], *options: str, field: str = "rewards") -> Any:
        source, target = tmp_path / "rows.jsonl", tmp_path / "scores.jsonl"
        rows = [{"prompt": prompt, "completion": text} for prompt, text in zip(prompts, completions, strict=True)]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        target.unlink(missing_ok=True)
        with pytest.raises(SystemExit) as stop:
            main(["score", str(model), str(source), "-o", str(target), *options])
        assert not stop.value.code
        return [row[field][0] for row in map(json.loads, target.read_text("utf-8").splitlines())]

    return score
