"""Models, runs and documents that version 0.1 wrote still load, and the commands still write the same.

`tests/fixtures/written_by_0_1` was made with the commands of that version on a tiny random encoder: a model of every
head with the rewards of `rows.jsonl`, a run, and one document of each command.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest

from vrm.cli.main import main
from vrm.inference.identifiability import ONE_RATER

WRITTEN = Path(__file__).parents[1] / "fixtures" / "written_by_0_1"
HEADS = ("vrm", "gated", "bottleneck", "mlp", "bt")
OF_THE_MACHINE = {"versions", "device", "precision"}
"""Keys whose values say where a document was written."""
ADDED = {
    "beta", "several_raters", "grouped", "p_tie", "disagreement", "columns", "repeated_completions", "judged_as",
    "parameters", "intervals", "unfamiliarity", "sentences",
}  # fmt: skip
"""Keys that documents have gained since. What they had is still there, and the same."""
ROWS = r"\.overlong(\.[ab])?: '(?P<count>\d+) judgments, (?P<rest>[^']*)' was '(?P=count) rows, (?P=rest)' now$"
CHANGED = {
    "evaluation": rf"\.accuracy\.(low|high): |\.identifiability\.statements: |{ROWS}",
    "audit": rf"\.length\.(model_prefers|labels_prefer)_longer\.(low|high): |\.spread_source: |{ROWS}",
    "comparison": rf"\.conclusions\[\d+\]: |{ROWS}",
    "doctor": r"\.details\.rate\.(low|high): |\.findings\[\d+\]\.message: ",
}
"""Places that differ on purpose: intervals of shares are honest at their edges, sentences write [low, high], and
explanations say what one judgment a pair leaves open.

`ROWS`: the same counts, called rows.
"""


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert not stop.value.code


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder as version 0.1 saw it, the models with their tokenizers beside them."""
    directory = tmp_path_factory.mktemp("written-before")
    for head in HEADS:
        model = directory / f"run-{head}" / "model"
        shutil.copytree(WRITTEN / "models" / head, model)
        shutil.copytree(WRITTEN / "tokenizer", model, dirs_exist_ok=True)
    for file in ("rows.jsonl", "bon.jsonl"):
        shutil.copy(WRITTEN / file, directory)
    shutil.copytree(WRITTEN / "run", directory / "run-vrm", dirs_exist_ok=True)
    return directory


@pytest.fixture
def there(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def differences(old, new, where=""):
    """Places where a document differs: missing or added keys, other words, numbers apart by more than rounding."""
    if isinstance(old, dict) and isinstance(new, dict):
        if set(old) != set(new) - (ADDED - set(old)):
            return [f"{where}: {sorted(set(old) ^ set(new))}"]
        return [
            line
            for key in old
            if key not in OF_THE_MACHINE
            for line in differences(old[key], new[key], f"{where}.{key}")
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            line for i, pair in enumerate(zip(old, new, strict=True)) for line in differences(*pair, f"{where}[{i}]")
        ]
    numbers = isinstance(old, int | float) and isinstance(new, int | float)
    if old == new or (numbers and math.isclose(old, new, rel_tol=1e-3, abs_tol=1e-4)):
        return []
    return [f"{where}: {old!r} was {new!r} now"]


@pytest.mark.parametrize("head", HEADS)
def test_a_model_gives_the_rewards_it_gave(there, tmp_path, head):
    output = tmp_path / "scores.jsonl"
    run("score", f"run-{head}/model", "rows.jsonl", "-o", output, "--precision", "float32")
    old, new = (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for file in (WRITTEN / "results" / f"scores-{head}.jsonl", output)
    )
    assert differences(old, new) == []


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("evaluation", ("evaluate", "run-vrm/model", "rows.jsonl", "bon=bon.jsonl")),
        ("comparison", ("compare", "run-vrm/model", "run-bt/model", "rows.jsonl", "bon=bon.jsonl")),
        ("audit", ("audit", "run-vrm/model", "rows.jsonl")),
        ("doctor", ("doctor", "rows.jsonl")),
    ],
)
def test_a_command_writes_the_document_it_wrote(there, name, arguments):
    precision = () if name == "doctor" else ("--precision", "float32")
    file = Path("results", f"{name}.json")
    run(*arguments, *precision, "--json", file)
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (WRITTEN / file, file))
    if name == "doctor":  # it looks for more than it did, and finds the same
        known = {finding["name"] for finding in old["findings"]}
        new["findings"] = [finding for finding in new["findings"] if finding["name"] in known]
    changed = re.compile(CHANGED.get(name, r"(?!)"))
    assert [line for line in differences(old, new) if not changed.search(line)] == []


def test_an_explanation_is_the_same(there, capsys):
    run("explain", "run-vrm/model", "rows.jsonl", "--line", 1, "--json", "--precision", "float32")
    old = json.loads((WRITTEN / "results" / "explanation.json").read_text(encoding="utf-8"))
    new = json.loads(capsys.readouterr().out)
    assert new["identifiability"]["statements"].pop() == ONE_RATER
    assert differences(old, new) == []


def test_a_report_reads_the_run_and_every_document(there, tmp_path):
    documents = [WRITTEN / "results" / f"{name}.json" for name in ("evaluation", "comparison", "audit", "doctor")]
    page = tmp_path / "report.html"
    run("report", "run-vrm", *documents, "-o", page)
    text = page.read_text(encoding="utf-8")
    evaluation = json.loads(documents[0].read_text(encoding="utf-8"))
    accuracy = evaluation["files"]["rows.jsonl"]["pairs"]["accuracy"]["estimate"]
    assert f"{100 * accuracy:.1f}" in text
    assert "run-vrm" in text


def test_a_card_tells_of_the_run_and_its_evaluation(there, tmp_path):
    run("export", "run-vrm/model", tmp_path / "exported", "--results", WRITTEN / "results" / "evaluation.json")
    card = (tmp_path / "exported" / "README.md").read_text(encoding="utf-8")
    assert "rows" in card
