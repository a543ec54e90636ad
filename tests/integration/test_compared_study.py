"""The probes behind docs/compared.md: their helpers, the page against the kept results, and toy runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from studies.compared import __main__ as command
from studies.compared import probing
from studies.compared.questions import QUESTIONS, ROWS, TOOLS

PAGE = Path(__file__).parents[2] / "docs" / "compared.md"


@pytest.fixture(scope="module")
def results() -> dict:
    return json.loads(command.RESULTS.read_text(encoding="utf-8"))


def test_the_page_has_the_tables_of_the_results(results: dict) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for block in (command.tables(results), command.evidence(results)):
        assert block in page


def test_every_package_answers_every_question(results: dict) -> None:
    assert set(results) == set(TOOLS)
    assert set(ROWS) == {key for questions in QUESTIONS.values() for key in questions}
    for found in results.values():
        assert set(found["cells"]) == set(ROWS)


def test_no_cell_is_a_failed_probe_and_each_says_what_it_rests_on(results: dict) -> None:
    for found in results.values():
        for cell in found["cells"].values():
            assert cell["says"] != "failed"
            assert cell["basis"] in (probing.RAN, probing.LOOKED, probing.UNTRIED)
            assert cell["how"]
            assert (cell["basis"] == probing.UNTRIED) == cell["says"].startswith("not tried: ")


def test_versions_are_those_that_the_page_speaks_of(results: dict) -> None:
    for tool, named in TOOLS.items():
        package, _, number = named.package.partition("==")
        if number:
            assert results[tool]["versions"][package] == number


def test_a_name_that_is_there_is_never_called_absent() -> None:
    assert probing.absent(["steer"], ["reward", "margin"], "a list").says == "no"
    with pytest.raises(AssertionError, match="a list has Steering"):
        probing.absent(["steer"], ["reward", "Steering"], "a list")
    with pytest.raises(AssertionError, match="nothing to look through"):
        probing.absent(["steer"], [], "a list")


def test_a_probe_that_fails_says_so_with_the_error() -> None:
    def broken(_: probing.Workshop) -> probing.Cell:
        raise ValueError("no | such\nthing")

    cell = probing.answer(broken, probing.Workshop(Path(), Path()))
    assert cell == probing.Cell("failed", probing.RAN, "ValueError: no / such")


def test_options_and_names_are_read_from_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "sample_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    head = "class Head:\n    width: int = 1\n\n    def judge(self, text): ...\n"
    (package / "heads.py").write_text(head + "parser.add_argument('--lora.rank', '-r')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert probing.defined("sample_package") == ["Head", "judge", "self", "text", "width"]
    assert probing.options(package / "heads.py") == ["--lora.rank", "-r"]


def test_positions_count_what_the_first_layer_reads() -> None:
    import torch

    class DecoderLayer(torch.nn.Module):
        def __init__(self, layer_idx: int) -> None:
            super().__init__()
            self.self_attn = torch.nn.Identity()
            self.self_attn.layer_idx = layer_idx

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden

    layers = torch.nn.Sequential(DecoderLayer(0), DecoderLayer(1))
    with probing.positions() as counted:
        layers(torch.zeros(2, 5, 3))
    layers(torch.zeros(2, 5, 3))
    assert counted == [10]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "rows"),
    [
        ("vrm", ["pairs", "margins", "raters", "uncertainty", "frozen", "packed", "server", "others"]),
        ("trl", ["pairs", "margins", "soft", "uncertainty", "packed", "explains", "checkpoint"]),
    ],
)
def test_probes_run_and_find_what_the_page_says(
    tool: str,
    rows: list[str],
    results: dict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("trl")
    kept = tmp_path / "results.json"
    options = ["--tools", tool, "--rows", *rows, "--work", str(tmp_path), "--results", str(kept)]
    monkeypatch.setattr(sys, "argv", ["compared", *options])
    assert command.main() == 0
    found = json.loads(kept.read_text(encoding="utf-8"))[tool]["cells"]
    assert list(found) == rows
    for row in rows:
        assert found[row]["says"] == results[tool]["cells"][row]["says"], found[row]
