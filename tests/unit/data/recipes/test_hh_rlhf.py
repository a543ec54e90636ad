from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from vrm.data.recipes import base, get_recipe
from vrm.data.recipes.turns import NOT_ALTERNATING
from vrm.errors import RowError

SHARED = Path(__file__).parents[5] / "shared" / "data" / "preferences"

ROW = {
    "prompt": [
        {"role": "user", "content": "Can you help me?"},
        {"role": "assistant", "content": "Gladly. With what?"},
        {"role": "user", "content": "A stain on wool."},
    ],
    "chosen": [{"role": "assistant", "content": "Dab it with cold water.\n\nDo not rub."}],
    "rejected": [{"role": "assistant", "content": "Use scissors."}],
}


def test_transcripts_become_messages_and_the_rest_is_counted(run, table):
    rows, skipped = run("hh-rlhf", table("hh-rlhf"))
    assert rows == [ROW | {"source": "hh-rlhf"}]
    assert skipped == {
        base.HISTORIES_DIFFER: 1,
        base.EMPTY_SIDE: 1,
        base.NO_FINAL_ASSISTANT: 1,
        NOT_ALTERNATING: 1,
    }


@pytest.mark.parametrize(
    ("name", "category"), [("hh-rlhf-helpful-online", "helpful"), ("hh-rlhf-harmless-base", "harmless")]
)
def test_subsets_know_their_folder_and_category(run, table, name, category):
    rows, _ = run(name, table("hh-rlhf")[:1])
    assert rows == [ROW | {"source": name, "category": category}]
    assert get_recipe(name).hub_data_dir == name.removeprefix("hh-rlhf-")


def test_text_without_turns_is_an_error():
    row = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "Just text"}
    with pytest.raises(RowError, match="field 'rejected': 'Just text' is not allowed; expected turns that begin"):
        get_recipe("hh-rlhf").convert(row)
    with pytest.raises(RowError, match="field 'chosen': None is not allowed; expected a string"):
        get_recipe("hh-rlhf").convert(row | {"chosen": None})


@pytest.mark.shared
@pytest.mark.parametrize("fold", ["hh_helpful", "hh_harmless"])
def test_transcripts_of_real_conversations_come_back_as_they_were(run, fold):
    path = SHARED / f"{fold}.dev.jsonl.gz"
    if not path.exists():
        pytest.skip(f"needs ../shared/data/preferences/{path.name}")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    raw = [{side: transcript(row["prompt"] + row[side]) for side in ("chosen", "rejected")} for row in rows]
    converted, skipped = run("hh-rlhf", raw)
    assert len(converted) + sum(skipped.values()) == len(rows)
    assert len(converted) > 0.95 * len(rows)
    wanted = {json.dumps([stripped(row[part]) for part in ("prompt", "chosen", "rejected")]) for row in rows}
    found = {json.dumps([row[part] for part in ("prompt", "chosen", "rejected")]) for row in converted}
    assert found <= wanted


def transcript(messages):
    names = {"user": "Human", "assistant": "Assistant"}
    return "".join(f"\n\n{names[message['role']]}: {message['content']}" for message in messages)


def stripped(messages):
    return [{"role": message["role"], "content": message["content"].strip()} for message in messages]
