"""Hashes and rows of result documents."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

from vrm.benchmarks import BenchmarkExample, ExampleRewards
from vrm.benchmarks.document import reward_rows, write_rows
from vrm.data.schema import Judgment
from vrm.data.tokenized import OverlongReport
from vrm.results.header import overlong_counts, template_sha256


def test_templates_are_hashed_as_text():
    assert template_sha256(SimpleNamespace(chat_template=None)) is None
    assert template_sha256(SimpleNamespace(chat_template="{{ x }}")) == hashlib.sha256(b"{{ x }}").hexdigest()
    first, second = ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    assert template_sha256(SimpleNamespace(chat_template=first)) == template_sha256(
        SimpleNamespace(chat_template=second)
    )


def test_counts_of_overlong_rows_have_no_examples():
    counts = overlong_counts(OverlongReport(128, total=3, dropped=1, examples=["a text"]))
    assert counts["dropped"] == 1
    assert counts["limit"] == 128
    assert "examples" not in counts


def test_reward_rows_hold_rewards_and_no_text(tmp_path):
    example = BenchmarkExample("x", Judgment("secret prompt", ["secret", "text"]), {"set": "s"}, ((0, 1),), "A>B", "g")
    (scored, dropped) = reward_rows(
        [example, example], [ExampleRewards((1.0, 2.0), (0.1, 0.2), (0.0, 0.3)), None], None
    )
    assert scored == {
        "id": "x",
        "labels": {"set": "s"},
        "group": "g",
        "label": "A>B",
        "lengths": [6, 4],
        "rewards": [1.0, 2.0],
        "reward_std": [0.1, 0.2],
        "relative_std": [0.0, 0.3],
        "outcome": {},
    }
    assert dropped["rewards"] is dropped["reward_std"] is dropped["relative_std"] is None
    (plain,) = reward_rows([example], [ExampleRewards((1.0, 2.0), (0.1, 0.2))], None)
    assert plain["relative_std"] is None
    write_rows(tmp_path / "new" / "x.jsonl", [scored, dropped])
    text = (tmp_path / "new" / "x.jsonl").read_text()
    assert len(text.splitlines()) == 2
    assert "secret" not in text
