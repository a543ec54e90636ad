"""Every architecture of docs/backbones.md: its row, and that rewards are the same however a text is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from studies.backbones import (
    DECODERS,
    ENCODERS,
    HEAD,
    REFUSED,
    TAIL,
    Architecture,
    load,
    refusal_of,
    row_of,
    save_backbone,
)

from vrm.config import LoraSettings
from vrm.data.schema import Judgment
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.model import load_model, save_model
from vrm.train.adapters import with_adapters

pytestmark = pytest.mark.heavy

PAGE = (Path(__file__).parents[3] / "docs" / "backbones.md").read_text(encoding="utf-8")
FAST = {
    "llama", "qwen3", "gemma3_text", "mistral", "phi", "olmo2", "gpt_neox", "mixtral", "mamba", "falcon_h1",
    "bert", "roberta", "modernbert", "deberta-v2", "t5",
}  # fmt: skip
"""Looked at in the default run; the others with `make test-all`."""


def user(text):
    return [{"role": "user", "content": text}]


def answer(text):
    return [{"role": "assistant", "content": text}]


ROWS = [
    Judgment(user("how can i help the doctor"), [answer(text) for text in ("very good", "no", "the short story " * 6)]),
    Judgment(user("plan"), [answer("bad"), answer("sure yes")]),
]
ALONE = [Judgment(row.prompt, [completion]) for row in ROWS for completion in row.completions]


def judge(model, tokenizer, rows=ROWS):
    """Rewards of all completions, (completions,)."""
    moments = RewardEngine(model, tokenizer, ExtractionOptions(precision="float32")).judge(rows).moments.mean
    return torch.cat([moments[index, : len(row.completions)] for index, row in enumerate(rows)])


def visible(model):
    """A head whose rewards differ: a fresh one's are all near zero."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in model.score.parameters():
            parameter.data += 0.5 * torch.randn_like(parameter)
    return model


def batch(tokenizer, side):
    texts = [tokenizer.apply_chat_template([*row.prompt, *row.completions[0]], tokenize=False) for row in ALONE]
    return tokenizer(texts, return_tensors="pt", padding=True, padding_side=side, add_special_tokens=False)


def close(one, other):
    tolerance = 2e-5 * max(float(one.abs().max()), 1.0)
    assert float(one.std()) > 50 * tolerance
    torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


def cases():
    found = []
    for architecture in (*DECODERS, *ENCODERS):
        marks = [] if architecture.model_type in FAST else [pytest.mark.slow]
        found.append(pytest.param(architecture, marks=marks, id=architecture.name))
    return found


@pytest.fixture
def made(request, tmp_path) -> tuple[Architecture, Path]:
    architecture = request.param
    save_backbone(architecture, tmp_path / "backbone")
    return architecture, tmp_path


@pytest.mark.parametrize("made", cases(), indirect=True)
def test_rewards_are_the_same_however_a_text_is_read(made):
    architecture, folder = made
    model, tokenizer = load(folder / "backbone")
    visible(model)
    rewards = judge(model, tokenizer)
    alone = torch.cat([judge(model, tokenizer, [row]) for row in ALONE])
    close(alone, rewards)
    with torch.no_grad():
        for side in ("left", "right"):
            close(alone, model(**batch(tokenizer, side)).logits[:, 0])
    save_model(model, tokenizer, folder / "model")
    again, tokenizer = load_model(folder / "model")
    again.__dict__["packing_problem"] = "the test wants padded rows"
    close(rewards, judge(again, tokenizer))

    adapted = with_adapters(model, LoraSettings(r=2)).train()
    optimizer = torch.optim.SGD([value for value in adapted.parameters() if value.requires_grad], lr=0.02)
    for _ in range(2):
        (adapted(**batch(tokenizer, "right")).logits[:, 0] * torch.linspace(-1, 1, len(ALONE))).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    trained = judge(adapted.get_base_model().eval(), tokenizer)
    assert float((trained - rewards).abs().max()) > 0.05
    save_model(adapted, tokenizer, folder / "adapter")
    close(trained, judge(*load_model(folder / "adapter")))

    fresh, _ = load(folder / "backbone")
    assert f"\n{row_of(architecture, fresh)}\n" in PAGE


@pytest.mark.parametrize("architecture", REFUSED, ids=lambda architecture: architecture.name)
def test_what_is_refused_is_refused_in_one_line(architecture, tmp_path):
    row = refusal_of(architecture, tmp_path)
    assert f"{row}\n" in PAGE


def test_the_page_has_these_rows_alone():
    assert PAGE.startswith(HEAD)
    assert PAGE.endswith(TAIL)
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| backbone")]
    assert len(rows) == len(DECODERS) + len(ENCODERS) + len(REFUSED)


def test_a_probe_that_fails_in_any_way_means_padded_rows(monkeypatch, tiny_decoder_backbone):
    model, _ = load(tiny_decoder_backbone)

    def fails(*_, **__):
        raise IndexError("index out of range in self")

    monkeypatch.setattr("vrm.model.backbones.encode_packed", fails)
    assert model.packing_problem == "IndexError: index out of range in self"
