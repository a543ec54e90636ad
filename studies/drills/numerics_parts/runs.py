"""One run on rows that teach little or the contrary, and what is wrong with the model that it leaves."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from studies.drills.forked import in_child, vrm

from vrm.choices import StagePart

TEMPERATURES = (0.05, 20.0)
"""Outside of them a temperature is absurd: three standard deviations of its prior."""

UNDECIDED = 1.0
"""Mean margin, in logits, above which a model of ties or contradictions claims to know better."""

CRASHED = 70


@dataclass(frozen=True)
class Try:
    """One run.

    Attributes:
        fault: of `rows.FAULTS`, or what was done to the features.
        kind: of label.
        head: of the model.
        loss: its name.
        settings: other keys of the configuration.
        certified: whether the run is certified too.
    """

    fault: str
    kind: str
    head: str
    loss: str
    settings: dict[str, Any] = field(default_factory=dict)
    certified: bool = False

    @property
    def name(self) -> str:
        """Of its folder."""
        settings = "".join(f"-{key.split('.')[-1]}-{value}" for key, value in self.settings.items())
        return f"{self.fault}-{self.kind}-{self.head}-{self.loss}{settings}".replace(" ", "_")


@dataclass
class Ending:
    """How a try ended.

    Attributes:
        message: of the error that named what is wrong; empty where there is a model.
        problems: what no promise allows.
        rewards: of every completion of the rows, by the model.
    """

    message: str = ""
    problems: list[str] = field(default_factory=list)
    rewards: list[list[float]] = field(default_factory=list)


def run(one: Try, rows: Sequence[dict[str, Any]], backbone: Path, folder: Path) -> Ending:
    """Train, score and, where it is asked for, certify; kept in the folder, and read from there at a second call."""
    kept = folder / "ending.json"
    if kept.exists():
        return Ending(**json.loads(kept.read_text(encoding="utf-8")))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = folder / "run.yaml"
    config.write_text(yaml.safe_dump(configuration(one, file, backbone, folder / "run")), encoding="utf-8")
    ending = Ending()
    if _command(ending, folder / "train", "train", config, "--overwrite", "--json"):
        _look_at_model(ending, folder / "run", one)
        score = ("score", folder / "run/model", file, "-o", folder / "scored.jsonl", "--overwrite")
        if _command(ending, folder / "score", *score):
            _look_at_rewards(ending, folder / "scored.jsonl", one)
        if one.certified:
            document = folder / "certify.json"
            if _command(ending, folder / "certify", "certify", folder / "run", "--json", document, "--overwrite"):
                _look_at_document(ending, document)
    kept.write_text(json.dumps(asdict(ending)), encoding="utf-8")
    return ending


def configuration(one: Try, file: Path, backbone: Path, output: Path) -> dict[str, Any]:
    """A run of two seconds at most."""
    values: dict[str, Any] = {
        "output_dir": str(output),
        "data": {"train": [str(file)], "held_out": 0.3},
        "model": {
            "backbone": str(backbone),
            "head": one.head,
            "num_free_objectives": 2,
            "hidden_size_head": 16,
            "max_input_tokens": 128,
        },
        "loss": {"name": one.loss},
        "train": {"epochs": 6, "batch_size": 16, "evals": 2, "learning_rate": 1e-2, "precision": "float32"},
        "features": {"cache": "none"},
    }
    for name, value in one.settings.items():
        section, _, key = name.partition(".")
        values[section][key] = value
    return values


def _command(ending: Ending, output: Path, name: str, *arguments: object) -> bool:
    """Whether it came to its end; a named error is noted, and any other end is a problem."""
    status = in_child(lambda: vrm((name, *arguments)), output)
    errors = Path(f"{output}.err").read_text(encoding="utf-8", errors="replace")
    if status not in (0, 1) or "Traceback" in errors:
        last = errors.strip().splitlines()[-1:] or ["nothing"]
        ending.problems.append(f"{name} ended with {status}, saying {last[0][:200]}")
    ending.problems += [f"{name}: {line.strip()[:160]}" for line in errors.splitlines() if "RuntimeWarning" in line]
    if status == 1:
        named = [line for line in errors.splitlines() if line.startswith("error: ")]
        if not named:
            ending.problems.append(f"{name} failed without an error that says why")
        ending.message = named[-1] if named else ""
    return status == 0


def _look_at_model(ending: Ending, run: Path, one: Try) -> None:
    weights = load_file(run / "model" / "model.safetensors")
    bad = [name for name, values in weights.items() if not bool(torch.isfinite(values).all())]
    if bad:
        ending.problems.append(f"weights that are not finite: {', '.join(bad[:3])}")
    summary = json.loads((run / "run.json").read_text(encoding="utf-8"))
    bad = [name for name, value in summary["metrics"].items() if value is None or not math.isfinite(value)]
    if bad:
        ending.problems.append(f"metrics that are not finite: {', '.join(bad)}")
    stage = (summary.get("second_stage") or {"values": {}})["values"]
    temperature = stage.get(StagePart.TEMPERATURE, 1.0)
    if not TEMPERATURES[0] <= temperature <= TEMPERATURES[1]:
        ending.problems.append(f"a temperature of {temperature:.3g}")


def _look_at_rewards(ending: Ending, scored: Path, one: Try) -> None:
    lines = [json.loads(line) for line in scored.read_text(encoding="utf-8").splitlines()]
    ending.rewards = [line["rewards"] for line in lines]
    if any(not math.isfinite(value) for line in lines for value in (*line["rewards"], *line["reward_std"])):
        ending.problems.append("rewards that are not finite")
    spreads = [max(values) - min(values) for values in ending.rewards]
    mean = sum(spreads) / len(spreads)
    if one.fault in ("all ties", "contradicting labels") and mean > UNDECIDED:
        ending.problems.append(f"a mean margin of {mean:.3g}")


def _look_at_document(ending: Ending, path: Path) -> None:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except ValueError as error:
        ending.problems.append(f"{path.name} holds {error}")
