"""The scripts of `examples/` run, in their quick mode, and leave what they say they leave."""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl")
EXAMPLES = Path(__file__).parents[2] / "examples"


# A few steps do not move the weights far from where they start.
pytestmark = pytest.mark.filterwarnings("ignore::vrm.core.losses.PromptIgnoredWarning")


@pytest.fixture
def run(monkeypatch):
    """run(script, *arguments): what it prints, run as a program in this process, which has imported what it needs."""
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        return printed.getvalue()

    return run


def test_the_closed_loop(run, tmp_path):
    pytest.importorskip("matplotlib")
    printed = run("grpo_closed_loop.py", "--quick", "--output", tmp_path)
    document = json.loads((tmp_path / "closed_loop.json").read_text("utf-8"))
    assert list(document["runs"]) == ["bt", "vrm, mean", "vrm, pessimistic"]
    for label, (series,) in document["runs"].items():
        assert label in printed
        assert {name: len(values) for name, values in series.items()} == {"gold": 3, "proxy": 3, "shortcut": 3}
        assert all(0 <= share <= 1 for share in series["shortcut"])
        assert all(0 <= gold <= 2.45 for gold in series["gold"])
    assert document["runs"]["vrm, mean"][0]["proxy"][0] > document["runs"]["vrm, pessimistic"][0]["proxy"][0]
    assert (tmp_path / "closed_loop.png").read_bytes().startswith(b"\x89PNG")


def test_dpo_on_selected_pairs(run, tmp_path):
    printed = run(
        "dpo_selected_pairs.py", "--quick", "--min-probability", "0.5", "--max-weight-std", "9", "--output", tmp_path
    )
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text("utf-8").splitlines()]
    assert f"{len(rows)} of 104 pairs kept" in printed
    assert len(rows) > 52
    assert all(row["preference"] >= 0.5 and row["chosen"] != row["rejected"] for row in rows)
    assert "after DPO" in printed


def test_planted_scores_are_those_of_the_corpus(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import toy_policy

    from vrm.data.planted.corpus import true_score

    by_kind = {(sentence.objective, sentence.level): sentence for sentence in toy_policy.sentences()}
    levels = {"safety": 2, "evidence": 1, "honesty": 0, "empathy": 2, "creativity": 0, "actionability": 1}
    said = [by_kind[name, level] for name, level in levels.items()]
    flattery = by_kind[None, 0]
    assert toy_policy.gold_score("medical", [flattery, *said]) == pytest.approx(true_score("medical", levels))
    assert toy_policy.gold_score("medical", [*said, by_kind["safety", 0]]) == pytest.approx(
        true_score("medical", {**levels, "safety": 1})
    )
    assert toy_policy.gold_score("medical", [flattery]) == 0
    assert toy_policy.shortcut_share([flattery, *said, flattery]) == pytest.approx(2 / 8)


def test_the_loop_on_a_chat_model(run, make_tiny_model, tiny_policy_dir, tmp_path):
    pytest.importorskip("matplotlib")
    prompts = tmp_path / "prompts.jsonl"
    rows = [{"prompt": f"how do you help {number}", "category": "a" if number < 12 else "b"} for number in range(14)]
    rows = [{**row, "chosen": "very good", "rejected": "no"} for row in rows]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = ["--rewards", f"plain={make_tiny_model('bt')}", f"named={make_tiny_model()}"]
    options += ["--judge", make_tiny_model("mlp"), "--prompts", prompts, "--categories", "a", "--output", tmp_path]
    options += ["--policy", tiny_policy_dir, "--dtype", "float32", "--steps", "2", "--prompts-a-step", "2"]
    options += [
        "--ask",
        "Be brief.",
        "--generations",
        "2",
        "--held-out",
        "3",
        "--best-of",
        "4",
        "--afterwards",
        "2",
        "--answer-tokens",
        "8",
    ]
    printed = run("grpo_chat_model.py", *options)
    document = json.loads((tmp_path / "chat_loop.json").read_text("utf-8"))
    assert document["prompts"]["train"] == 9
    assert all(text.endswith(" Be brief.") for text in document["prompts"]["held_out"])
    assert [len(row) for row in document["start"]["answers"]] == [4, 4, 4]
    assert document["best_of_n"]["n"] == [1, 2, 3, 4]
    assert set(document["best_of_n"]["curves"]) == {"plain", "named", "longest", "oracle", "random"}
    for label, run_of in document["runs"].items():
        assert f"GRPO by {label}" in printed
        assert {len(run_of["steps"][name]) for name in ("reward", "judge", "length", "repeated", "kl")} == {2}
        assert set(run_of["change"]) == {"plain", "named", "judge"}
        assert (tmp_path / label / "adapter" / "adapter_config.json").is_file()
    assert list(document["runs"]) == ["plain", "named"]
    assert document["runs"]["plain"]["steps"]["objectives"] == {}
    assert {"safety", "brevity"} <= set(document["runs"]["named"]["steps"]["objectives"])
    # What is done is not done again, and other options are not mixed with it.
    before = (tmp_path / "plain" / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
    assert run("grpo_chat_model.py", *options) in printed
    assert (tmp_path / "plain" / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(SystemExit, match="other options"):
        run("grpo_chat_model.py", *options, "--steps", "3")
    # Best-of-n alone.
    alone = tmp_path / "alone"
    printed = run("grpo_chat_model.py", *options, "--steps", "0", "--output", alone)
    assert "best of 4 by named" in printed
    assert json.loads((alone / "chat_loop.json").read_text("utf-8"))["runs"] == {}
    assert sorted(path.name for path in alone.iterdir()) == ["chat_loop.json", "chat_loop.png"]
