"""`vrm adapt` from end to end, and `--rater` where it applies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from vrm.cli.main import main
from vrm.results import Kind, read_document

PROMPTS = [f"how do you {word} the city" for word in ("plan", "help", "answer", "thank", "doctor", "water", "story")]
COMPLETIONS = [("it is very safe", "no"), ("long story of the doctor", "short"), ("yes please", "sorry it is unsafe")]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def rows(raters: dict[str, float], **further: object) -> list[dict[str, object]]:
    """Each rater votes for the first completion with this preference, on every pair."""
    return [
        {
            "prompt": prompt,
            "chosen": chosen,
            "rejected": rejected,
            "judgments": [{"annotator": name, "preference": vote} for name, vote in raters.items()],
            **further,
        }
        for prompt in PROMPTS
        for chosen, rejected in COMPLETIONS
    ]


def write(path: Path, lines: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def model(make_tiny_model, tmp_path: Path) -> Path:
    """A copy, in which raters may be written."""
    return Path(shutil.copytree(make_tiny_model(models_ties=True, learned_disagreement=True), tmp_path / "model"))


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    few = rows({"few": 0.0})[:2]
    return write(tmp_path / "votes.jsonl", rows({"likes": 1.0, "dislikes": 0.0, "ties": 0.5}) + few)


@pytest.fixture
def adapted(model: Path, votes: Path, capsys) -> Path:
    assert run("adapt", model, votes) == 0
    capsys.readouterr()
    return model


def test_raters_are_fitted_said_and_kept(model, votes, tmp_path, capsys):
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    assert run("adapt", model, votes, "--json", tmp_path / "adapted.json") == 0
    captured = capsys.readouterr()
    for words in ("4 raters by annotator", "likes", "few", "1 rater with fewer than 5 comparisons", "NLL a judgment"):
        assert words in " ".join(captured.out.split())
    assert "raters: use --rater NAME" in captured.err
    assert {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()} == before
    document = read_document(tmp_path / "adapted.json", [Kind.ADAPTATION])
    assert list(document.raters) == ["dislikes", "likes", "ties", "few"]
    assert [rater.comparisons for rater in document.raters.values()] == [21, 21, 21, 2]
    assert set(document.raters["likes"].tilts) == {"helpfulness", "safety", "brevity", "free_1"}
    assert document.raters["ties"].tie_threshold.low > document.tie_threshold
    assert document.held_out.votes == 63
    assert document.held_out.own.low > 0


def test_raters_that_are_there_are_kept_unless_overwritten(adapted, votes, capsys):
    assert run("adapt", adapted, votes) == 1
    assert "replace them with --overwrite" in capsys.readouterr().err
    assert run("adapt", adapted, votes, "--overwrite") == 0


def scores(model: Path, source: Path, capsys, *options: str) -> list[list[float]]:
    assert run("score", model, source, *options) == 0
    return [json.loads(line)["rewards"] for line in capsys.readouterr().out.splitlines()]


def test_rewards_of_a_rater(adapted, votes, capsys):
    def favoured(*options: str) -> float:
        rewards = scores(adapted, votes, capsys, *options)
        return sum(first - second for first, second in rewards) / len(rewards)

    assert favoured("--rater", "likes") > favoured() > favoured("--rater", "dislikes")
    assert favoured("--rater", "likes", "--without", "brevity") != favoured("--rater", "likes")


def test_an_explanation_says_how_the_rater_weighs(adapted, votes, capsys):
    assert run("explain", adapted, votes, "--rater", "dislikes", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    judged_as = report["judged_as"]
    assert (judged_as["name"], judged_as["comparisons"]) == ("dislikes", 21)
    for completion in report["completions"]:
        assert sum(completion["contributions"].values()) == pytest.approx(completion["reward"]["mean"])
        for entry in report["weights"]:
            factor = entry["weight"]["mean"] + judged_as["tilts"][entry["objective"]]["mean"]
            score = completion["objective_scores"][entry["objective"]]
            assert completion["contributions"][entry["objective"]] == pytest.approx(factor * score)
    assert run("explain", adapted, votes, "--rater", "dislikes") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "As dislikes judges: what is added to these weights" in text
    assert "By 21 judgments. Calls a tie where the margin is below about" in text


def test_an_evaluation_as_a_rater(adapted, tmp_path, capsys):
    own = write(
        tmp_path / "own.jsonl", [{**row, "judgments": [row["judgments"][0]]} for row in rows({"dislikes": 0.0})]
    )
    found = {}
    for options in ((), ("--rater", "dislikes")):
        assert run("evaluate", adapted, own, *options, "--json", "-") == 0
        document = json.loads(capsys.readouterr().out)
        found[options] = document["files"][str(own)]["several_raters"]["joint_nll"]["estimate"]
    assert document["settings"]["steering"]["rater"] == ["dislikes"]
    assert found["--rater", "dislikes"] < found[()]


@pytest.mark.parametrize("command", ["score", "explain", "evaluate"])
@pytest.mark.parametrize(
    ("name", "words"), [("like", "did you mean 'likes' or 'dislikes'?"), ("zzz", "it knows dislikes, likes, ties, ...")]
)
def test_unknown_raters_are_named_with_the_nearest(adapted, votes, capsys, command, name, words):
    assert run(command, adapted, votes, "--rater", name) == 1
    assert words in capsys.readouterr().err


def test_a_model_that_knows_nobody_says_how_to_change_that(model, votes, capsys):
    assert run("explain", model, votes, "--rater", "likes") == 1
    assert "the model knows no raters, so 'likes' is not among them: fit them with vrm adapt" in capsys.readouterr().err


@pytest.mark.parametrize(("by", "groups"), [("category", ["b", "a"]), ("country", ["b", "a"])])
def test_groups_by_a_column(model, tmp_path, capsys, by, groups):
    """Groups of a row's own, and rows in long form of two groups that judged one pair."""
    lines = rows({"one": 1.0, "two": 1.0}, **{by: "a"}) + rows({"one": 0.0, "two": 0.5}, **{by: "b"}) * 2
    source = write(tmp_path / "groups.jsonl", lines)
    assert run("adapt", model, source, "--by", by, "--json", tmp_path / "adapted.json") == 0
    document = read_document(tmp_path / "adapted.json", [Kind.ADAPTATION])
    assert (document.by, list(document.raters)) == (by, groups)
    assert [rater.comparisons for rater in document.raters.values()] == [84, 42]


def test_rows_in_long_form_and_without_a_name(model, tmp_path, capsys):
    lines = [
        {**{key: value for key, value in row.items() if key != "judgments"}, "preference": vote, **named}
        for row in rows({"": 0.0})
        for vote, named in ((1.0, {"annotator": "x"}), (0.0, {"annotator": "y"}), (1.0, {}))
    ]
    source = write(tmp_path / "long.jsonl", lines)
    assert run("adapt", model, source) == 0
    text = capsys.readouterr().out
    assert "2 raters by annotator" in text
    assert "21 judgments of nobody named left out." in text


def test_one_group_of_five_comparisons_is_enough(make_tiny_model, tmp_path, capsys):
    """A model that has seen no ties has no thresholds, and a single prompt tells nothing of held-out votes."""
    model = Path(shutil.copytree(make_tiny_model("gated"), tmp_path / "gated"))
    source = write(tmp_path / "five.jsonl", [{**row, "prompt": PROMPTS[0]} for row in rows({"only": 0.0})[:5]])
    assert run("adapt", model, source) == 0
    text = capsys.readouterr().out
    assert "Too few prompts or judgments to tell what knowing raters is worth." in text
    assert "Ties below" not in text
    assert run("explain", model, source, "--rater", "only") == 0


@pytest.mark.parametrize("head", ["bt", "bottleneck"])
def test_heads_without_objectives_have_nothing_to_tilt(make_tiny_model, votes, capsys, head):
    assert run("adapt", make_tiny_model(head), votes) == 1
    assert f"head '{head}' has one objective, the reward itself" in capsys.readouterr().err


def test_files_that_name_nobody(model, tmp_path, capsys):
    source = write(tmp_path / "nobody.jsonl", [{"prompt": "how", "chosen": "yes", "rejected": "no"}] * 3)
    assert run("adapt", model, source) == 1
    assert "no comparison says who judged it (3 do not): name the column with --by" in capsys.readouterr().err


def test_raters_of_another_model_are_not_used(adapted, make_tiny_model, votes, tmp_path, capsys):
    other = Path(shutil.copytree(make_tiny_model("gated"), tmp_path / "other"))
    shutil.copytree(adapted / "raters", other / "raters")
    assert run("explain", other, votes, "--rater", "likes") == 1
    assert "was fitted to another model: run vrm adapt with --overwrite" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="the model's raters are left out"):
        assert run("explain", other, votes) == 0


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"raters": ["likes"]}'])
def test_a_damaged_list_of_raters_is_named(adapted, votes, capsys, damage):
    (adapted / "raters" / "raters.json").write_bytes(damage)
    assert run("explain", adapted, votes, "--rater", "likes") == 1
    error = capsys.readouterr().err
    assert "raters.json" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("parameters", lambda old: old * float("nan"), "not finite"),
        ("covariance", lambda old: -old, "not above 0"),
        ("tie_threshold", lambda old: -old, "not above 0"),
        ("tie_threshold", lambda old: old[:0].clone(), "does not fit the 4 raters"),
        ("threshold_variance", lambda old: old[:0].clone(), "does not fit the 4 raters"),
        ("shift", lambda old: old[:-1].clone(), "does not fit the 4 raters"),
        ("shift", lambda old: old[:, None].clone(), "does not fit the 4 raters"),
    ],
)
def test_damaged_tilts_are_named(adapted, votes, capsys, name, values, message):
    file = adapted / "raters" / "tilts.safetensors"
    tensors = load_file(file)
    save_file({**tensors, name: values(tensors[name])}, file)
    assert run("explain", adapted, votes, "--rater", "likes") == 1
    error = capsys.readouterr().err
    assert "tilts.safetensors" in error
    assert message in error
    assert f"'{name}'" in error


def test_raters_in_a_later_format_are_named(adapted, votes, capsys):
    file = adapted / "raters" / "raters.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 2}))
    assert run("explain", adapted, votes, "--rater", "likes") == 1
    assert "has the format 2, but this version reads 1" in capsys.readouterr().err


def test_raters_know_that_others_differ(adapted, votes, capsys):
    """Chances of votes are those of further raters like the known ones; rewards and margins are as before."""
    found = []
    for _ in range(2):
        assert run("explain", adapted, votes, "--json") == 0
        found.append(json.loads(capsys.readouterr().out))
        shutil.rmtree(adapted / "raters", ignore_errors=True)
    with_raters, without = found
    assert with_raters["completions"] == without["completions"]
    assert with_raters["pairs"][0]["margin"] == without["pairs"][0]["margin"]
    for name in ("disagreement", "p_tie"):
        assert abs(with_raters["pairs"][0][name] - without["pairs"][0][name]) > 0.01
