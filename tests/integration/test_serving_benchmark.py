"""The load benchmark runs, and its table has what the documentation shows."""

from __future__ import annotations

import json
import signal
import sys

import pytest
from studies import serving
from transformers.utils import logging


@pytest.fixture
def as_before():
    """What the program sets for its process is set back."""
    verbosity, handler = logging.get_verbosity(), signal.getsignal(signal.SIGTERM)
    yield
    logging.set_verbosity(verbosity)
    logging.enable_progress_bar()
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.slow
def test_the_benchmark_runs_at_a_toy_size(tiny_model_dir, tmp_path, monkeypatch, capsys, as_before):
    output = tmp_path / "load.json"
    monkeypatch.setattr(sys, "argv", ["serving.py", "--quick", "--model", str(tiny_model_dir), "--json", str(output)])
    serving.main()
    assert capsys.readouterr().out.count("| vrm serve |") == 2
    document = json.loads(output.read_text())
    rows = {(row["case"], row["way"]): row for row in document["measured"]}
    assert len(rows) == 6
    assert all(row["texts_per_second"] > 0 for row in rows.values())
    for (_, way), row in rows.items():
        assert row["processor"] > 0
        assert (row["p50"] is None) == (row["clients"] is None) == (way == "vrm score")
        assert way == "vrm score" or row["p50"] <= row["p90"] <= row["p99"]
    for case, ratios in document["ratios"].items():
        served = rows[case, "vrm serve"]["texts_per_second"]
        assert ratios["blocking"] == served / rows[case, "blocking"]["texts_per_second"]
