"""RewardBench's own program. It trains nothing, so the rows about training say so."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import subprocess
import sys
from pathlib import Path

from studies.compared.probing import Cell, Probe, Workshop, absent, defined, looked, ran, run

SOURCE = "names defined in the package's source"
PROGRAM = """
import sys
from rewardbench import REWARD_MODEL_CONFIG
from rewardbench.rewardbench import main
from vrm.integrations.rewardbench import registry_entry

REWARD_MODEL_CONFIG["vrm"] = registry_entry(sys.argv.pop(1))
main()
"""


def commands() -> list[str]:
    """Names of its commands."""
    points = importlib.metadata.distribution("rewardbench").entry_points
    return sorted(point.name for point in points if point.group == "console_scripts")


def measures(_: Workshop) -> Cell:
    cell = absent(["train_rm", "rewardtrainer", "training_step"], defined("rewardbench"), SOURCE)
    return looked("it trains nothing", f"its commands: {', '.join(commands())}; {cell.how}")


def rows(workshop: Workshop) -> Path:
    """Pairs in the form that its program reads."""
    path = workshop.work / "rows.json"
    made = [{side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in workshop.rows("test")]
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return path


def program(workshop: Workshop, *start: str) -> subprocess.CompletedProcess[str]:
    """Run its program on the local pairs."""
    options = ["--dataset", str(rows(workshop)), "--load_json", "--output_dir", f"{workshop.work}/out/"]
    environment = {**os.environ, "HF_HOME": str(workshop.work / "hf")}
    command = [sys.executable, *start, *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, cwd=workshop.work)


def asks(workshop: Workshop) -> Cell:
    script = workshop.work / "program.py"
    script.write_text(PROGRAM, encoding="utf-8")
    done = program(
        workshop, str(script), os.environ["VRM_URL"], "--model", "vrm", "--tokenizer", os.environ["VRM_EXPORTED"]
    )
    assert done.returncode == 0, done.stderr[-300:]
    summary = json.loads((workshop.work / "out" / "vrm.json").read_text(encoding="utf-8"))
    assert math.isfinite(summary["accuracy"])
    workshop.kept["accuracy"] = summary["accuracy"]
    return ran(
        "yes, on a CPU",
        f"its program with `vrm.integrations.rewardbench` on 32 local pairs: accuracy {summary['accuracy']:.3f}",
    )


def others(workshop: Workshop) -> Cell:
    from rewardbench import REWARD_MODEL_CONFIG
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    directory = workshop.work / "plain"
    AutoModelForSequenceClassification.from_pretrained(workshop.backbone, num_labels=1).save_pretrained(directory)
    AutoTokenizer.from_pretrained(workshop.backbone).save_pretrained(directory)
    arguments = ["--model", str(directory), "--torch_dtype", "float32", "--not_quantized"]
    done = program(workshop, "-m", "rewardbench.rewardbench", *arguments)
    last = next(line for line in reversed(done.stderr.splitlines()) if "Error" in line)
    assert done.returncode
    assert "CUDA" in last or "NVIDIA" in last, last
    workshop.kept["cuda"] = last
    armo = [name for name in REWARD_MODEL_CONFIG if "ArmoRM" in name]
    entries = f"{len(REWARD_MODEL_CONFIG)} entries of `REWARD_MODEL_CONFIG`, {armo[0]} among them"
    how = f"{entries}; a plain one stops on this CPU with: {last[:70]}"
    return looked("yes, and many that are not plain; needs a GPU", how)


def cpu(workshop: Workshop) -> Cell:
    return ran("no: its pipeline wants CUDA", f"{workshop.kept['cuda'][:90]}; with rewards from `vrm serve` it runs")


def benchmarks(_: Workshop) -> Cell:
    files = ("scripts/run_v2.py", "rewardbench/rewardbench.py")
    listed = {str(file) for file in importlib.metadata.files("rewardbench") or []}
    assert set(files) <= listed
    return looked(
        "RewardBench 1 and 2, the reference",
        "`rewardbench` and `scripts/run_v2.py`; the sets are on the Hub, which was not reached; local pairs ran",
    )


def judges(_: Workshop) -> Cell:
    assert "rewardbench-gen" in commands()
    return looked("yes: `rewardbench-gen`", f"its commands: {', '.join(commands())}; they need an API or vLLM")


def no_name(*words: str) -> Probe:
    """A probe that looks for words in the source."""
    return lambda _: absent(words, defined("rewardbench"), SOURCE)


TRAINING = (
    "pairs",
    "margins",
    "soft",
    "raters",
    "ratings",
    "full",
    "lora",
    "frozen",
    "packed",
    "quantized",
    "processes",
)

PROBES: dict[str, Probe] = {
    **dict.fromkeys(TRAINING, measures),
    "objectives": no_name("objective_weights"),
    "uncertainty": no_name("uncertain", "reward_std"),
    "calibration": no_name("calibration", "brier"),
    "explains": no_name("explain", "saliency"),
    "length": no_name("length_control", "style_control"),
    "steering": no_name("steer", "emphas"),
    "benchmarks": benchmarks,
    "judges": judges,
    "policies": no_name("grpo", "ppotrainer"),
    "trainers": lambda _: looked("has no model of its own", f"its commands: {', '.join(commands())}"),
    "asks": asks,
    "server": no_name("fastapi", "uvicorn"),
    "checkpoint": lambda _: looked("has no model of its own", f"its commands: {', '.join(commands())}"),
    "others": others,
    "cpu": cpu,
}

if __name__ == "__main__":
    run(PROBES, ("rewardbench", "transformers", "torch", "datasets"))
