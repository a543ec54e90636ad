"""Tiny models that every part of the test suite shares: an encoder and a decoder, random but of visible effect.

Fixtures, all of the session:
    tiny_encoder_backbone, tiny_decoder_backbone  directories for `VRMForSequenceClassification.from_backbone`
    tiny_model_dir, tiny_decoder_dir              saved models (head vrm, objectives below, one free objective)
    make_tiny_model                               make_tiny_model(head=..., kind=..., **VRMConfig fields) -> directory
    serve                                         with serve(directory, **ServeSettings fields) as server: server.url
    known_raters                                  known_raters({name: {objective: tilt}}), raters of these models
    tiny_policy_dir                               a random language model on the tiny decoder's tokenizer
    forked_vrm                                    a folder with a program `vrm` that starts at once
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# What the user's own commands have kept is neither read nor added to.
os.environ["VRM_FEATURE_CACHE"] = "none"
# Tables are as wide as without a terminal, whoever runs the tests.
os.environ.pop("COLUMNS", None)

OBJECTIVES = ["helpfulness", "safety", "brevity"]
_WORDS = (
    "the a is of to and you it that in how do what why can i we not with for very safe unsafe short long good bad "
    "user assistant system help plan doctor water city story number answer question please thank sorry sure no yes"
)


MODELS = {"make_tiny_model", "smollm2_backbone", "tiny_model_dir", "tiny_decoder_dir", "tiny_policy_dir", "serve"}
"""Fixtures that a test of a whole model asks for."""

HEAVY_FOLDERS = {"integration", "contracts", "train"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test-fast` leaves out; some files mark themselves."""
    for item in items:
        if MODELS & set(getattr(item, "fixturenames", ())) or item.path.parent.name in HEAVY_FOLDERS:
            item.add_marker("heavy")


@pytest.fixture
def hub_may_be_asked(monkeypatch):
    """Names that are no directories pass as the Hub's; nothing asks it before a model is loaded."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture(scope="session")
def tiny_encoder_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of 2 layers and width 32 with a WordPiece tokenizer of its own."""
    import torch
    from transformers import BertConfig, BertModel

    from vrm.testing import wordpiece_tokenizer

    directory = tmp_path_factory.mktemp("tiny-encoder-backbone")
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    tokenizer = wordpiece_tokenizer([*characters, *(f"##{char}" for char in characters), *_WORDS.split()])
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config, add_pooling_layer=False).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_decoder_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3 of 2 layers and width 32 with a byte-level BPE and a ChatML template."""
    import torch
    from transformers import Qwen3Config, Qwen3Model

    from vrm.testing import byte_level_tokenizer

    directory = tmp_path_factory.mktemp("tiny-decoder-backbone")
    # Two line ends in the texts make them one token, the merge across the prompt's end that real vocabularies have.
    tokenizer = byte_level_tokenizer([f"{_WORDS}\n\n{_WORDS}\n"] * 4, size=360)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=64,
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Qwen3Model(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def known_raters() -> Callable[[dict[str, dict[str, float]]], Any]:
    """known_raters({name: {objective: tilt}}): raters of the tiny models, after 20 comparisons each, nearly sure."""
    import torch

    from vrm.core.raters import FittedRaters, RaterPrior
    from vrm.inference.known_raters import KnownRaters

    names = (*OBJECTIVES, "free_1")

    def make(tilts: dict[str, dict[str, float]]) -> KnownRaters:
        values = torch.tensor([[tilt.get(name, 0.0) for name in names] for tilt in tilts.values()])
        prior = RaterPrior(torch.ones(len(names)), torch.tensor(0.25), None, torch.zeros(len(names)))
        fitted = FittedRaters(values, 1e-4 * torch.eye(len(names)).expand(len(tilts), -1, -1), prior)
        return KnownRaters("annotator", tuple(tilts), (20,) * len(tilts), names, fitted)

    return make


@pytest.fixture(scope="session")
def smollm2_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded decoder cut to two layers, with its language head and tokenizer; skips without its package.

    Real embeddings and a real vocabulary, in a fifteenth of the time.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from vrm.errors import MissingExtraError
    from vrm.model.checkpoint import load_tokenizer
    from vrm.model.embedded import resolve_backbone

    try:
        source = resolve_backbone("embedded-decoder")
    except MissingExtraError as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("smollm2-backbone")
    config = AutoConfig.from_pretrained(source, num_hidden_layers=2)
    AutoModelForCausalLM.from_pretrained(source, config=config, dtype=torch.float32).save_pretrained(directory)
    load_tokenizer(source).save_pretrained(directory)
    return directory


MakeTinyModel = Callable[..., Path]


@pytest.fixture(scope="session")
def make_tiny_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MakeTinyModel:
    """make_tiny_model(head="vrm", kind="encoder", **fields of VRMConfig): directory of a saved model, made once.

    Kinds are `encoder` and `decoder`, of random weights, and `smollm2`, a decoder with a real tokenizer.
    """
    backbones = {
        "encoder": "tiny_encoder_backbone", "decoder": "tiny_decoder_backbone", "smollm2": "smollm2_backbone"
    }  # fmt: skip
    made: dict[str, Path] = {}

    def make(head: str = "vrm", kind: str = "encoder", **fields: Any) -> Path:
        key = json.dumps([head, kind, fields], sort_keys=True)
        if key not in made:
            backbone, directory = (
                request.getfixturevalue(backbones[kind]),
                tmp_path_factory.mktemp(f"tiny-{kind}-{head}"),
            )
            made[key] = _save_tiny(backbone, directory, head, kind, fields)
        return made[key]

    return make


def _save_tiny(backbone: Path, directory: Path, head: str, kind: str, fields: dict[str, Any]) -> Path:
    import torch
    from transformers import AutoTokenizer

    from vrm.data.chat import describe_prompts, ensure_chat_template
    from vrm.model import VRMForSequenceClassification, save_model

    tokenizer = AutoTokenizer.from_pretrained(backbone)
    ensure_chat_template(tokenizer, kind)
    settings: dict[str, Any] = {
        "objectives": OBJECTIVES,
        "num_free_objectives": 1,
        "num_features": 6,
        "hidden_size_head": 16,
        "loss": "marginal",
        "max_input_tokens": 128,
        "reward_mean": 0.25,
        "reward_std": 1.5,
        "objectives_with_ratings": OBJECTIVES,
        **describe_prompts(tokenizer),
        **fields,
    }
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = VRMForSequenceClassification.from_backbone(str(backbone), head=head, **settings)
        _amplify(model, tokenizer)
    save_model(model, tokenizer, directory)
    return directory


def _amplify(model: Any, tokenizer: Any) -> None:
    """Undo the caution of a fresh head, whose rewards are all near zero and whose weights are near flat."""
    import torch

    from vrm.data.schema import Judgment
    from vrm.inference.engine import RewardEngine
    from vrm.inference.extraction import ExtractionOptions, FeatureExtractor

    words = _WORDS.split()
    rows = [Judgment(" ".join(words[i : i + 5]), [" ".join(words[i + 5 : i + 9 + i % 7])]) for i in range(len(words))]
    tokenized = list(RewardEngine(model, tokenizer).tokenize.many(rows))
    store = FeatureExtractor(model, options=ExtractionOptions(precision="float32")).table(tokenized)
    head = model.score
    with torch.no_grad():
        head.completion_norm.fit(torch.from_numpy(store.store.take(store.completions[:, 0])))
        last = head.features if isinstance(head.features, torch.nn.Linear) else head.features[-1]
        last.weight[: head.num_features].mul_(15.0)
        if hasattr(head, "weights"):
            head.prompt_norm.fit(torch.from_numpy(store.store.take(store.prompts)))
            head.weights[-1].weight.mul_(10.0)


@pytest.fixture(scope="session")
def tiny_model_dir(make_tiny_model: MakeTinyModel) -> Path:
    """Encoder, head vrm, three named objectives with ratings and a free one, 128 tokens at most."""
    return make_tiny_model()


@pytest.fixture(scope="session")
def tiny_decoder_dir(make_tiny_model: MakeTinyModel) -> Path:
    """Decoder with a ChatML template, otherwise as `tiny_model_dir`."""
    return make_tiny_model(kind="decoder")


@dataclass
class RunningServer:
    """A server in a thread of this process; `stop` is what SIGTERM does to one of its own."""

    url: str
    service: Any
    _server: Any
    _thread: threading.Thread

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), "the server does not end"


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    """with serve(directory, on_overlong=, raters=, explored=, **ServeSettings fields) as server: a `RunningServer`."""
    import uvicorn

    from vrm.inference.engine import RewardEngine
    from vrm.inference.extraction import ExtractionOptions
    from vrm.serve.run import listen, url_of, uvicorn_config
    from vrm.serve.service import Service
    from vrm.serve.settings import ServeSettings

    @contextmanager
    def serve(
        directory: Path, on_overlong: str = "truncate", raters: Any = None, explored: Any = None, **settings: Any
    ) -> Iterator[RunningServer]:
        options = ExtractionOptions(precision="float32")
        engine = RewardEngine.from_pretrained(directory, options=options, on_overlong=on_overlong)
        engine.raters = raters or engine.raters
        service = Service(engine, ServeSettings(name="tiny", **settings))
        bound = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn_config(service, explored))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        running = RunningServer(url_of(bound), service, server, thread)
        limit = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < limit, "the server does not start"
            time.sleep(0.01)
        try:
            yield running
        finally:
            running.stop()

    return serve


@pytest.fixture(scope="session")
def tiny_policy_dir(tiny_decoder_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3 of one layer with a language head, for trainers of policies."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    directory = tmp_path_factory.mktemp("tiny-policy")
    tokenizer = AutoTokenizer.from_pretrained(tiny_decoder_backbone)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size=32,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(2)
        Qwen3ForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def forked_vrm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `vrm` as in `tests/forked_command.py`, for the PATH of tests that run many commands."""
    folder = tmp_path_factory.mktemp("bin")
    server = [sys.executable, str(Path(__file__).with_name("forked_command.py")), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    with subprocess.Popen(server, env=environment) as process:
        try:
            limit = time.monotonic() + 300
            while not (folder / "vrm").exists():
                assert process.poll() is None, "the server of commands did not start"
                assert time.monotonic() < limit, "the server of commands does not start"
                time.sleep(0.05)
            yield folder
        finally:
            process.terminate()
