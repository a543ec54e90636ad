"""The load benchmark runs, and its table has what the documentation shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "studies" / "serving.py"


def test_the_benchmark_runs_at_a_toy_size(tiny_model_dir, tmp_path):
    output = tmp_path / "load.json"
    command = [sys.executable, str(BENCHMARK), "--quick", "--model", str(tiny_model_dir), "--json", str(output)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("| vrm serve |") == 2
    document = json.loads(output.read_text())
    rows = {(row["case"], row["way"]): row for row in document["measured"]}
    assert len(rows) == 6
    assert all(row["texts_per_second"] > 0 for row in rows.values())
    for (_, way), row in rows.items():
        assert (row["p50"] is None) == (way == "vrm score")
        assert way == "vrm score" or row["p50"] <= row["p90"] <= row["p99"]
    for case, ratios in document["ratios"].items():
        served = rows[case, "vrm serve"]["texts_per_second"]
        assert ratios["blocking"] == served / rows[case, "blocking"]["texts_per_second"]
