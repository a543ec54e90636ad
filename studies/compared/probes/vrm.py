"""vrm, through its commands where there is one, on a CPU."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from studies.compared.probing import Cell, Probe, Workshop, absent, defined, epoch, looked, positions, ran, run, tokens

from vrm.cli.main import main
from vrm.config import config_keys

GUIDES = "docs/how-to"
SOURCE = "names defined in the package's source"


def command(*arguments: Any) -> str:
    """What a command prints.

    Raises:
        AssertionError: if its exit status is another than 0.
    """
    printed, status = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code
    assert not status, f"vrm {arguments[0]} ended with status {status}"
    return printed.getvalue()


def train(workshop: Workshop, name: str, rows: Path | None = None, **keys: Any) -> list[dict[str, Any]]:
    """Train one epoch; the steps of the history."""
    output = workshop.work / name
    data = str(rows or workshop.material / "labels.jsonl")
    config = {
        "output_dir": str(output),
        "data": {"train": data, "eval": data},
        "model": {"backbone": workshop.backbone, "max_input_tokens": 256},
        "features": {"cache": "none"},
        "train": {"epochs": 1, "batch_size": 64, "evals": 1, "logging_steps": 1},
    }
    path = workshop.work / f"{name}.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")
    settings = [part for key, value in keys.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]
    command("train", path, "--overwrite", *settings)
    lines = (output / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry for entry in map(json.loads, lines) if "loss" in entry]


def changed(workshop: Workshop, name: str, rows: list[dict[str, Any]], **keys: Any) -> Path:
    """A file of rows."""
    path = workshop.work / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row | keys) + "\n" for row in rows), encoding="utf-8")
    return path


def pairs(workshop: Workshop) -> Cell:
    steps = train(workshop, "pairs", workshop.material / "train.jsonl", train__batch_size=8)
    assert len(steps) == 8
    assert all(math.isfinite(step["loss"]) for step in steps)
    return ran("yes", "`vrm train` on 64 pairs, 8 steps, every loss finite")


def column(workshop: Workshop, **values: Any) -> Cell:
    """Whether a column changes the first loss."""
    rows = workshop.rows()
    name = next(iter(values))
    files = (workshop.material / "train.jsonl", changed(workshop, name, rows, **values))
    before, found = (train(workshop, f"first_{name}", file, model__head="bt")[0]["loss"] for file in files)
    assert not math.isclose(found, before, rel_tol=1e-6)
    return ran("yes", f"first loss with a column `{name}` {found:.4f}, without {before:.4f}")


def label(workshop: Workshop, kind: str) -> Cell:
    """Whether a kind of label has a term of the loss."""
    if "labels" not in workshop.kept:
        workshop.kept["labels"] = train(workshop, "labels")[0]
        workshop.kept["model"] = workshop.work / "labels" / "model"
    term = workshop.kept["labels"][f"weighted/{kind}"]
    assert term != 0
    return ran("yes", f"`vrm train` on rows with them logs the term `{kind}`, {term:.3f} nats")


def scored(workshop: Workshop, *options: str) -> list[dict[str, Any]]:
    """What `vrm score` writes for the held-out pairs."""
    output = workshop.work / "scored.jsonl"
    command("score", workshop.kept["model"], workshop.material / "test.jsonl", "-o", output, "--overwrite", *options)
    return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


def objectives(workshop: Workshop) -> Cell:
    rows = scored(workshop)
    weights = [row["objective_weights"]["safety"] for row in rows]
    assert max(weights) > min(weights)
    span = f"safety {min(weights):.3f} to {max(weights):.3f} over 32 prompts"
    return ran("yes: heads `vrm` and `gated`", f"`vrm score` writes weights of 6 named objectives, {span}")


def uncertainty(workshop: Workshop) -> Cell:
    document = json.loads(command("explain", workshop.kept["model"], workshop.material / "test.jsonl", "--json"))
    parts = document["pairs"][0]["uncertainty"]
    assert math.isclose(parts["variance"], parts["features"] + parts["weights"] + parts["interaction"], rel_tol=1e-6)
    assert all(value > 0 for row in scored(workshop) for value in row["reward_std"])
    how = "`vrm score` writes `reward_std`, `vrm explain` its parts; what it is good for: README"
    return ran("standard deviation, in three parts", how)


def calibration(workshop: Workshop) -> Cell:
    output = workshop.work / "evaluation.json"
    command("evaluate", workshop.kept["model"], workshop.material / "test.jsonl", "--json", output, "--overwrite")
    found = next(iter(json.loads(output.read_text(encoding="utf-8"))["files"].values()))["pairs"]
    return ran(
        "yes", f"`vrm evaluate`: ECE {found['calibration']['value']:.3f}, Brier {found['brier']:.3f} on 32 pairs"
    )


def explains(workshop: Workshop) -> Cell:
    document = json.loads(command("explain", workshop.kept["model"], workshop.material / "test.jsonl", "--json"))
    pair = document["pairs"][0]
    assert pair["reasons"]
    how = f"`vrm explain`: contributions of {len(pair['contributions'])} objectives; {GUIDES}/read-an-explanation.md"
    return ran("yes, by objective", how)


def length(workshop: Workshop) -> Cell:
    train(workshop, "nuisance", nuisance__measures="[log_length]")
    printed = command("audit", workshop.kept["model"], workshop.material / "test.jsonl", "--json", "-")
    assert "length" in printed
    return ran(
        "yes: an offset in training, an audit",
        "`nuisance.measures: [log_length]` trained; `vrm audit` ran; docs/nuisance.md has what it costs",
    )


def steering(workshop: Workshop) -> Cell:
    before, after = (scored(workshop, *options) for options in ((), ("--emphasize", "safety=20")))
    moved = max(abs(b["rewards"][0] - a["rewards"][0]) for a, b in zip(before, after, strict=True))
    assert moved > 0
    return ran("yes", f"`vrm score --emphasize safety=20` moved rewards by up to {moved:.3f}; {GUIDES}/steer.md")


def full(workshop: Workshop) -> Cell:
    train(workshop, "full", model__tuning="full")
    return ran("yes", "`model.tuning: full`, one step")


def lora(workshop: Workshop) -> Cell:
    train(workshop, "lora", model__tuning="lora")
    return ran("yes", "`model.tuning: lora`, one step")


def frozen(workshop: Workshop) -> Cell:
    shutil.rmtree(workshop.work / "frozen", ignore_errors=True)
    taken = []
    for epochs in (3, 9):
        with positions() as counted:
            train(workshop, "frozen", train__epochs=epochs, train__batch_size=8)
        taken.append(sum(counted))
    assert taken[0] > taken[1]
    how = f"the backbone read {taken[0]:,} positions in a run of 3 epochs, {taken[1]:,} in a second one of 9"
    return ran("yes, the default", how)


def packed(workshop: Workshop) -> Cell:
    rows = workshop.material / "train.jsonl"
    keys = {"model__tuning": "full", "train__batch_size": 8}
    taken = epoch(lambda epochs: train(workshop, "packed", rows, train__epochs=epochs, **keys))
    shared, twice = tokens(workshop)
    assert taken <= 1.02 * shared
    how = f"64 pairs of {twice:,} tokens, {shared:,} with each prompt once, took {taken:,} positions"
    return ran("yes, and each prompt once", how)


def quantized(_: Workshop) -> Cell:
    return absent(["bit", "quant"], config_keys(), "keys of docs/config.md")


def processes(workshop: Workshop) -> Cell:
    path = workshop.work / "pairs.yaml"
    start = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "vrm.cli.main",
    ]
    output = workshop.work / "parts"
    arguments = ["train", str(path), "--overwrite", "--set", f"output_dir={output}", "--set", "model.tuning=full"]
    subprocess.run([*start, *arguments], check=True, capture_output=True, timeout=300)
    steps = (output / "history.jsonl").read_text(encoding="utf-8")
    return ran(
        "yes: 2 on a CPU",
        f"`torchrun --nproc_per_node 2`, first loss {json.loads(steps.splitlines()[0])['loss']:.3f}; no GPU was tried",
    )


def benchmarks(workshop: Workshop) -> Cell:
    rows = [
        {"prompt": row["prompt"][0]["content"], "subset": "alpacaeval-easy", "id": number}
        | {side: row[side][0]["content"] for side in ("chosen", "rejected")}
        for number, row in enumerate(workshop.rows("test"))
    ]
    path = changed(workshop, "rewardbench", rows)
    output = workshop.work / "benchmark.json"
    command("evaluate", workshop.kept["model"], f"rewardbench={path}", "--json", output, "--overwrite")
    from vrm.benchmarks import benchmark_names

    found = json.loads(output.read_text(encoding="utf-8"))["benchmarks"]["rewardbench"]["scored"]
    return ran(
        f"{len(benchmark_names())}, from local files or the Hub",
        f"`vrm evaluate MODEL rewardbench=FILE`, {found} rows of that form; docs/benchmarks.md",
    )


def plain(workshop: Workshop) -> Path:
    """A reward model as TRL's trainer saves it: a classifier of one label."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    directory = workshop.work / "plain"
    AutoModelForSequenceClassification.from_pretrained(workshop.backbone, num_labels=1).save_pretrained(directory)
    AutoTokenizer.from_pretrained(workshop.backbone).save_pretrained(directory)
    return directory


def trainers(workshop: Workshop) -> Cell:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from vrm.integrations.trl import reward_function

    options = {"per_device_train_batch_size": 4, "num_generations": 4, "max_completion_length": 8, "max_steps": 1}
    where = {"output_dir": str(workshop.work / "grpo"), "use_cpu": True, "bf16": False, "report_to": []}
    tried = GRPOTrainer(
        model=workshop.backbone,
        reward_funcs=reward_function(str(workshop.kept["model"])),
        args=GRPOConfig(**options, **where, logging_steps=1),
        train_dataset=Dataset.from_list([{"prompt": row["prompt"]} for row in workshop.rows()[:8]]),
    )
    tried.train()
    logged = tried.state.log_history[0]
    assert math.isfinite(logged["reward"])
    spread = f"reward {logged['reward']:.3f}, `vrm/reward_std` {logged['vrm/reward_std']:.3f}"
    how = f"`reward_function` in `GRPOTrainer`, one step, {spread}; the others ask `vrm serve`"
    return ran("yes: TRL's; others ask its server", how)


def server(workshop: Workshop) -> Cell:
    from studies.drills.server_parts.serving import served

    with served(Path(workshop.kept["model"]), workshop.work / "serve.log") as running:
        ready = running.ask("/ready").splitlines()[0]
        assert " 200 " in ready
        running.terminate()
        status = running.wait()
    return ran(
        "yes: `vrm serve`",
        f"`/ready` answers {ready.partition(' ')[2]}, SIGTERM ends it with status {status}; docs/serving.md",
    )


LOAD = """
import json, sys, torch
from transformers import AutoModelForSequenceClassification
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], trust_remote_code=True)
with torch.no_grad():
    reward = model(torch.tensor([[5, 6, 7]]), completion_start=torch.tensor([1])).logits.item()
print(json.dumps([reward, "vrm" in sys.modules]))
"""


def checkpoint(workshop: Workshop) -> Cell:
    directory = workshop.work / "exported"
    command("export", workshop.kept["model"], directory, "--remote-code", "--overwrite")
    environment = {**os.environ, "HF_HOME": str(workshop.work / "hf")}
    start = [sys.executable, "-c", LOAD, str(directory)]
    reward, has_vrm = json.loads(
        subprocess.run(start, check=True, capture_output=True, text=True, env=environment).stdout
    )
    assert math.isfinite(reward)
    assert not has_vrm
    return ran(
        "after `vrm export --remote-code`",
        "loaded with `trust_remote_code=True` where `vrm` is not imported; docs/how-to/export-and-share.md",
    )


def others(workshop: Workshop) -> Cell:
    from vrm.errors import VrmError
    from vrm.inference import RewardEngine

    try:
        RewardEngine.from_pretrained(str(plain(workshop)))
    except VrmError as error:
        return ran(
            "no: its own models alone", f"a classifier of transformers is refused: {str(error).rpartition('/')[2]}"
        )
    raise AssertionError("a classifier of transformers was loaded")


def none_of(words: list[str], allowed: tuple[str, ...] = ()) -> Probe:
    """A probe that looks for words in the source."""
    return lambda _: absent(words, [name for name in defined("vrm") if name not in allowed], SOURCE)


PROBES: dict[str, Probe] = {
    "pairs": pairs,
    "margins": lambda workshop: column(workshop, margin=2.0),
    "soft": lambda workshop: column(workshop, preference=0.5),
    "raters": lambda workshop: label(workshop, "judgments"),
    "ratings": lambda workshop: label(workshop, "ratings"),
    "objectives": objectives,
    "uncertainty": uncertainty,
    "calibration": calibration,
    "explains": explains,
    "length": length,
    "steering": steering,
    "full": full,
    "lora": lora,
    "frozen": frozen,
    "packed": packed,
    "quantized": quantized,
    "processes": processes,
    "cpu": lambda _: ran("yes", "all runs of this column"),
    "benchmarks": benchmarks,
    "judges": none_of(["llm_judge", "generative"]),
    "policies": none_of(["grpotrainer", "ppotrainer", "dpotrainer", "policytrainer"]),
    "trainers": trainers,
    "asks": lambda _: looked("itself", "its rewards are its own"),
    "server": server,
    "checkpoint": checkpoint,
    "others": others,
}

if __name__ == "__main__":
    run(PROBES, ("vrm", "transformers", "torch"))
