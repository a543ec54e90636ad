"""Every dataset that TRL's `RewardTrainer` takes trains a VRM unchanged: the same files go through both programs."""

from __future__ import annotations

import json

import pytest
import yaml
from datasets import load_dataset
from trl import RewardConfig, RewardTrainer

from vrm.cli.main import main
from vrm.data.chat import ChatTokenizer
from vrm.data.load import Source, load_judgments
from vrm.inference.engine import RewardEngine

# A few steps on a random backbone do not move the weights far from where they start.
pytestmark = pytest.mark.filterwarnings("ignore::vrm.core.losses.PromptIgnoredWarning")

QUESTIONS = ["how do you help", "why is the city safe", "what is a good plan", "tell the story"]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def both_sides(index):
    return f"very good {QUESTIONS[index % 4][:7]} {index}", f"no {index}"


def rows_of(form):
    """24 rows of one format; the two sides of a row differ, so an implicit prompt can be found."""
    rows = []
    for index in range(24):
        question, (good, bad) = f"{QUESTIONS[index % 4]} {index}?", both_sides(index)
        rows.append(
            {
                "implicit, standard": {"chosen": f"{question} {good}", "rejected": f"{question} {bad}"},
                "implicit, conversational": {
                    "chosen": [user(question), assistant(good)],
                    "rejected": [user(question), assistant(bad)],
                },
                "explicit, standard": {"prompt": question, "chosen": f" {good}", "rejected": f" {bad}"},
                "explicit, conversational": {
                    "prompt": [user(question)],
                    "chosen": [assistant(good)],
                    "rejected": [assistant(bad)],
                },
            }[form]
        )
    return rows


FORMATS = ["implicit, standard", "implicit, conversational", "explicit, standard", "explicit, conversational"]
TOOLS = [{"type": "function", "function": {"name": "look", "description": "looks", "parameters": {"type": "object"}}}]


@pytest.fixture(params=[*FORMATS, "with options"])
def file(request, tmp_path):
    rows = rows_of("explicit, conversational" if request.param == "with options" else request.param)
    if request.param == "with options":
        rows = [
            {**row, "margin": 0.5, "tools": json.dumps(TOOLS), "chat_template_kwargs": {"loud": True}} for row in rows
        ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def train_theirs(file, tiny_policy_dir, policy_tokenizer, tmp_path):
    def train():
        args = RewardConfig(
            output_dir=str(tmp_path / "trl"),
            max_steps=1,
            per_device_train_batch_size=8,
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
        )
        dataset = load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
        trainer = RewardTrainer(
            model=str(tiny_policy_dir), args=args, train_dataset=dataset, processing_class=policy_tokenizer
        )
        trainer.train()
        return trainer

    return train


@pytest.fixture
def train_ours(file, tiny_decoder_backbone, tmp_path):
    def train():
        config = {
            "output_dir": str(tmp_path / "vrm"),
            "data": {"train": str(file), "held_out": 0.25},
            "model": {
                "backbone": str(tiny_decoder_backbone),
                "num_free_objectives": 2,
                "num_features": 4,
                "hidden_size_head": 16,
                "max_input_tokens": 256,
            },
            "train": {"epochs": 1, "batch_size": 8, "precision": "float32"},
        }
        (tmp_path / "vrm.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        with pytest.raises(SystemExit) as stop:
            main(["train", str(tmp_path / "vrm.yaml")])
        assert not stop.value.code
        return tmp_path / "vrm"

    return train


def test_the_same_file_trains_both(file, train_theirs, train_ours):
    theirs = train_theirs()
    assert theirs.state.global_step == 1
    assert len(theirs.train_dataset) == 24
    output = train_ours()
    summary = json.loads((output / "run.json").read_text("utf-8"))
    assert sum(summary["rows"].values()) == 24
    engine = RewardEngine.from_pretrained(output / "model")
    assert engine.model.config.conversational is ("role" in file.read_text("utf-8"))
    assert engine.model.config.guarded_template


@pytest.mark.parametrize("file", [*FORMATS[1::2], "with options"], indirect=True)
def test_messages_have_the_token_ids_that_trl_gives_them(file, train_theirs, policy_tokenizer):
    """Plain text has not: it is tokenized in two parts, so that the prompt's end is known."""
    rows = load_judgments([Source(str(file))]).judgments
    theirs = train_theirs().train_dataset
    chat = ChatTokenizer(policy_tokenizer)
    for row, chosen, rejected in zip(rows, theirs["chosen_ids"], theirs["rejected_ids"], strict=True):
        prompt = chat.prompt(row)
        ours = [prompt.ids + chat.completion(prompt, text, row) for text in row.completions]
        assert ours == [chosen, rejected]
