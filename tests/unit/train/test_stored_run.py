"""Runs whose rows are on the disk: the same rows, reports, costs, features and weights as runs that hold them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vrm.data import load_judgments
from vrm.data.chat import ChatTokenizer
from vrm.data.spans import row_spans
from vrm.data.stored import making, tokens
from vrm.data.stored.tokens import StoredTokens, stored_tokens
from vrm.data.tokenized import JudgmentTokenizer
from vrm.errors import OverlongError
from vrm.inference import feature_table
from vrm.model.checkpoint import load_tokenizer
from vrm.train.passes import cost_of, costs_of
from vrm.train.run import run_training

pytestmark = pytest.mark.filterwarnings("ignore::vrm.core.losses.PromptIgnoredWarning")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of this test alone, tables in small parts, and features of few rows at a time."""
    monkeypatch.setenv("VRM_ROW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tokens, "row_spans", partial(row_spans, size=7))
    monkeypatch.setattr(making, "free_cores", lambda: 1)
    monkeypatch.setattr(feature_table, "STORED_ROWS", 5)


def lines(rows):
    for number, row in enumerate(rows):
        long = " city" * 70 if number % 5 == 0 else ""
        entry = {"prompt": row.prompt + long, "chosen": row.completions[0], "rejected": row.completions[1]}
        if number % 7 == 0:
            entry["rejected"] += " bad" * 90
        if row.ratings:
            entry |= {"chosen_ratings": row.ratings[0], "rejected_ratings": row.ratings[1]}
        if row.objective_votes:
            entry["objective_votes"] = row.objective_votes
        if number % 11 == 0:
            entry["judgments"] = [{"annotator": "a", "preference": 1}, {"annotator": "b", "preference": 0.5}]
        yield json.dumps(entry)
    yield json.dumps({"prompt": "what", "objective_votes": {"care": 1.0}})
    yield json.dumps({"prompt": "how", "completions": ["the plan", "the water", "is"], "scores": [1, 2, 3]})


@pytest.fixture
def file(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines(rows(48))) + "\n")
    return path


@pytest.mark.parametrize("on_overlong", ["drop", "truncate_prompt", "truncate"])
def test_tokens_report_and_costs_are_those_of_memory(file, tiny_encoder_backbone, on_overlong):
    chat = ChatTokenizer(load_tokenizer(tiny_encoder_backbone))
    in_memory, stored = (JudgmentTokenizer(chat, 64, on_overlong, on_bad_rows="skip") for _ in range(2))
    memory, disk = (load_judgments(file, storage=storage).judgments for storage in ("memory", "disk"))
    held = list(in_memory.many(memory[3:40]))
    found = stored_tokens(disk[3:40], stored, "key")
    assert list(found) == held
    assert stored.report == in_memory.report
    assert 0 < len(held) < 37 or on_overlong != "drop"
    for kind in ("encoder", "decoder"):
        assert costs_of(found, kind).tolist() == [cost_of(item, kind) for item in held]


def test_policies_stop_at_the_first_row_that_was_asked_for(file, tiny_encoder_backbone):
    chat = ChatTokenizer(load_tokenizer(tiny_encoder_backbone))
    rows = load_judgments(file, storage="disk").judgments
    for first in (0, 8):
        with pytest.raises(OverlongError) as error:
            stored_tokens(rows[first:], JudgmentTokenizer(chat, 64), "key")
        with pytest.raises(OverlongError) as in_memory:
            list(JudgmentTokenizer(chat, 64).many(rows[first:]))
        assert str(error.value) == str(in_memory.value)
    assert len(stored_tokens(rows[1:5], JudgmentTokenizer(chat, 64), "key")) == 4


CASES = {
    "frozen": {},
    "votes of ratings": {"data.ratings_as_votes": True, "model.head": "gated"},
    "without objectives": {"model.head": "bt"},
    "tuned": {"model.tuning": "full"},
}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_weights_are_those_of_a_run_in_memory(make_config, file, changes):
    weights, summaries = [], []
    for storage in ("memory", "disk"):
        config = make_config(
            {"data.train": [str(file)], "data.storage": storage, "data.held_out": 0.3, "train.epochs": 1, **changes},
            output=f"{storage} run",
        )
        result = run_training(config)
        weights.append(load_file(result.model_dir / "model.safetensors"))
        summaries.append(result.summary)
    memory, disk = summaries
    assert disk.rows == memory.rows
    assert disk.overlong == memory.overlong
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-5, atol=1e-6, msg=name)
    inputs = [Path(f"{file.parent}/{name} run/run_inputs.json").read_text() for name in ("memory", "disk")]
    assert inputs[0] == inputs[1]


def test_a_second_run_tokenizes_nothing(make_config, file, monkeypatch):
    changes = {"data.train": [str(file)], "data.storage": "disk", "train.epochs": 1}
    run_training(make_config(changes, output="first"))
    monkeypatch.setattr(JudgmentTokenizer, "read_many", lambda *_: pytest.fail("tokenized again"))
    # Other weights of sources and another split take the same tokens.
    source = {"path": str(file), "weight": 1.5}
    result = run_training(make_config(changes | {"data.train": [source], "seed": 3}, output="second"))
    assert result.summary.rows.train > 48


def test_stored_tokens_are_sequences(file, tiny_encoder_backbone):
    chat = ChatTokenizer(load_tokenizer(tiny_encoder_backbone))
    found = stored_tokens(load_judgments(file, storage="disk").judgments, JudgmentTokenizer(chat, 512), "key")
    assert isinstance(found[2:4], StoredTokens)
    assert list(found[2:4]) == [found[2], found[3]]


def test_processes_tokenize_after_threads_have(file, tiny_encoder_backbone, monkeypatch):
    # A forked process waits for ever for the threads of a tokenizer, which do not come along.
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    monkeypatch.setattr(making, "free_cores", lambda: 2)
    chat = ChatTokenizer(load_tokenizer(tiny_encoder_backbone))
    tokenize = partial(JudgmentTokenizer, chat, 512)
    memory, disk = (load_judgments(file, storage=storage).judgments for storage in ("memory", "disk"))
    held = list(tokenize().many(memory))
    assert list(stored_tokens(disk, tokenize(), "key")) == held
