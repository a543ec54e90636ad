"""`vrm report` on what the other commands write: the numbers of the documents are on the page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from vrm.cli.main import main

WORDS = "the a of you how do what plan doctor water city number story good bad short safe please thank sorry"


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert (stop.value.code or 0) == code


@pytest.fixture(scope="module")
def documents(make_tiny_model, tmp_path_factory):
    """A comparison, an audit and a doctor's document of a few short rows, written by their commands."""
    directory = tmp_path_factory.mktemp("report")
    words = WORDS.split()
    rows = [
        {"prompt": " ".join(words[n : n + 3]), "chosen": f"{words[n]} plan. thank you.", "rejected": f"{words[-n]} no."}
        for n in range(1, 13)
    ]
    file = directory / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    first, second = make_tiny_model("vrm"), make_tiny_model("bt")
    run("compare", first, second, file, "--json", directory / "compare.json", "--resamples", 20)
    run("audit", first, file, "--json", directory / "audit.json", "--resamples", 20, "--edit", "flattery")
    run("doctor", file, "--json", directory / "doctor.json")
    return [directory / f"{name}.json" for name in ("compare", "audit", "doctor")]


def test_the_numbers_of_the_documents_are_on_the_page(documents, tmp_path, capsys):
    page = tmp_path / "new" / "page.html"
    run("report", *documents, "-o", page, "--title", "Tiny & small")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"wrote {page}" in captured.err
    text = page.read_text(encoding="utf-8")
    assert "<title>Tiny &amp; small</title>" in text
    compared, audited, checked = (json.loads(path.read_text()) for path in documents)
    (comparison,) = compared["files"].values()
    accuracy = comparison["overall"]["accuracy"]
    assert f">{100 * accuracy['first']:.1f}</td>" in text
    assert f">{100 * accuracy['second']:.1f}</td>" in text
    (edit,) = audited["edits"]
    assert edit["verdict"] in text
    assert f">{edit['shift']['estimate']:+.2f}".replace("-", "−") in text
    assert checked["invalid"] is False
    assert "Nothing found that would invalidate training." in text
    assert [*re.findall(r"<h2>(.*?)</h2>", text)][:4] == ["Summary", "Comparisons", "Audit", "Data checks"]


@pytest.mark.parametrize("chosen", [False, True])
def test_nothing_is_left_in_the_home_but_a_cache_of_fonts(chosen, documents, tmp_path):
    home, own = tmp_path / "home", tmp_path / "own"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MPL", "XDG_"))}
    environment |= {"HOME": str(home)} | ({"MPLCONFIGDIR": str(own)} if chosen else {})
    command = [sys.executable, "-m", "vrm.cli.main", "report", *documents, "-o", tmp_path / "page.html"]
    subprocess.run(command, env=environment, capture_output=True, check=True)
    assert (tmp_path / "page.html").exists()
    # fc-list, which matplotlib asks for the fonts of the system, may keep a cache of its own.
    left = {str(path.relative_to(home)) for path in home.rglob("*") if "fontconfig" not in path.parts}
    fonts = own if chosen else home / ".cache" / "vrm" / "matplotlib"
    assert any(fonts.glob("fontlist*.json"))
    assert {name for name in left if not name.startswith(".cache/vrm/matplotlib/")} <= (
        {".cache"} if chosen else {".cache", ".cache/vrm", ".cache/vrm/matplotlib"}
    )


def test_wrong_inputs_are_errors_that_name_them(documents, tmp_path, capsys):
    run("report", tmp_path / "absent.json", "-o", tmp_path / "page.html", code=1)
    assert f"{tmp_path / 'absent.json'}: no such file" in capsys.readouterr().err
    run("report", documents[0], "-o", documents[0], code=1)
    assert "it would be overwritten" in capsys.readouterr().err
    run("report", documents[0], "-o", tmp_path, code=1)
    assert "is a directory" in capsys.readouterr().err
    run("report", code=2)
    assert "Missing argument" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
    assert json.loads(documents[0].read_text())["kind"] == "comparison"
