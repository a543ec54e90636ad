"""How every command is called, so that each finds what it reads and writes where it is told."""

from __future__ import annotations

import json
import shutil

import yaml
from studies.drills.footprint_parts.places import Place
from studies.drills.numerics_parts.rows import WORDS, plain
from studies.drills.tiny import write_encoder

FREE_PORT = "0"
HUB_NAME = "nobody/no-such-name"
SECRETS = (".netrc", ".ssh/id_rsa", ".aws/credentials", ".config/gh/hosts.yml", ".cache/huggingface/token")
"""Files of the home that are no business of a command which is given places on this machine."""


def prepare(place: Place) -> None:
    """A home with secrets, rows of three raters, a backbone and a configuration."""
    place.make()
    for name in SECRETS:
        secret = place.home / name
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_text("machine example.org login nobody password planted\n", encoding="utf-8")
    write_encoder(place.inputs / "backbone", WORDS)
    rows = "".join(json.dumps(row) + "\n" for row in plain("judgments", 0))
    (place.inputs / "rows.jsonl").write_text(rows, encoding="utf-8")
    config = {
        "output_dir": str(place.outputs / "run"),
        "data": {"train": [str(place.inputs / "rows.jsonl")], "held_out": 0.3},
        "model": {"backbone": str(place.inputs / "backbone"), "max_input_tokens": 128},
        "train": {"epochs": 2, "batch_size": 16},
    }
    (place.inputs / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def keep_model(place: Place) -> None:
    """A copy of the trained model among the inputs, for what compares two or would change one."""
    shutil.copytree(place.outputs / "run" / "model", place.inputs / "model", dirs_exist_ok=True)


def local_calls(place: Place) -> dict[str, list[str]]:
    """Every command with places on this machine alone, in an order in which each finds what it reads."""
    rows, config, run = str(place.inputs / "rows.jsonl"), str(place.inputs / "run.yaml"), str(place.outputs / "run")
    model, copy = f"{run}/model", str(place.inputs / "model")

    def out(name: str) -> str:
        return str(place.outputs / name)

    disk = ["--set", "data.storage=disk", "--set", "train.report_to=[tensorboard]", "--set", "model.tuning=lora"]
    return {
        "doctor": ["doctor", rows, "--json", out("doctor.json")],
        "train": ["train", config],
        "train, LoRA, rows on the disk, TensorBoard": ["train", config, *disk, "--set", f"output_dir={out('lora')}"],
        "evaluate": ["evaluate", model, rows, "--json", out("evaluate.json")],
        "compare": ["compare", model, copy, rows, "--json", out("compare.json")],
        "score": ["score", model, rows, "-o", out("scored.jsonl")],
        "explain": ["explain", model, rows, "--line", "1"],
        "explore": ["explore", model, rows, "--port", FREE_PORT, "--no-browser"],
        "audit": ["audit", model, rows, "--json", out("audit.json")],
        "certify": ["certify", run, "--json", out("certify.json")],
        "export": ["export", model, out("exported"), "--remote-code"],
        "distill-linear": ["distill-linear", model, rows, "-o", out("student")],
        "report": ["report", run, out("evaluate.json"), out("doctor.json"), "-o", out("report.html")],
        "serve": ["serve", model, "--port", FREE_PORT],
        "adapt": ["adapt", model, rows, "--json", out("adapt.json")],
        "quickstart": ["quickstart", "-o", out("quickstart")],
    }


def hub_calls(place: Place) -> dict[str, list[str]]:
    """Every command that takes the name of a model or of data, with a name of the Hub that is in no cache."""
    rows, config, copy = str(place.inputs / "rows.jsonl"), str(place.inputs / "run.yaml"), str(place.inputs / "model")
    never = str(place.outputs / "never")
    return {
        "doctor": ["doctor", HUB_NAME],
        "train": ["train", config, "--set", f"model.backbone={HUB_NAME}", "--set", f"output_dir={never}"],
        "train (rows)": ["train", config, "--set", f"data.train={HUB_NAME}", "--set", f"output_dir={never}"],
        "evaluate": ["evaluate", HUB_NAME, rows],
        "evaluate (benchmark)": ["evaluate", copy, "rewardbench"],
        "compare": ["compare", copy, HUB_NAME, rows],
        "score": ["score", HUB_NAME, rows, "-o", never],
        "explain": ["explain", HUB_NAME, rows],
        "explore": ["explore", HUB_NAME, rows, "--port", FREE_PORT, "--no-browser"],
        "audit": ["audit", HUB_NAME, rows],
        "export": ["export", HUB_NAME, never],
        "distill-linear": ["distill-linear", HUB_NAME, rows, "-o", never],
        "serve": ["serve", HUB_NAME, "--port", FREE_PORT],
        "adapt": ["adapt", HUB_NAME, rows],
    }
