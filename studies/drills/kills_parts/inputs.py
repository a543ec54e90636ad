"""What the commands of the drill are given: a random decoder, a model around it, and rows of the built-in corpus."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vrm.data.planted import write_planted

TRAINED, HELD_OUT, JUDGED, PARTS = 24, 12, 96, 3


@dataclass(frozen=True)
class Inputs:
    """Files and directories.

    Attributes:
        folder: of all of them.
        scored: rows of `vrm score`; the rows of one part of a directory are a third.
    """

    folder: Path
    scored: int

    @property
    def backbone(self) -> Path:
        """A decoder of random weights."""
        return self.folder / "backbone"

    @property
    def model(self) -> Path:
        """A reward model around it."""
        return self.folder / "model"

    @property
    def rows(self) -> Path:
        """Rows to be scored, as JSON lines; `parts` has the same in a directory."""
        return self.folder / "rows.jsonl"

    @property
    def parts(self) -> Path:
        """The rows as a directory: JSON lines, compressed ones, and Parquet."""
        return self.folder / "parts"

    @property
    def judged(self) -> Path:
        """Pairs with the judgments of several raters."""
        return self.folder / "judged.jsonl"

    def config(self, tuning: str, **changes: Any) -> Path:
        """A configuration of `vrm train` whose run goes to `run` in the working directory."""
        values: dict[str, Any] = {
            "output_dir": "run",
            "data": {
                "train": str(self.folder / "train.jsonl"), "eval": str(self.folder / "dev.jsonl"),
                "on_overlong": "truncate",
            },
            "model": {
                "backbone": str(self.backbone), "tuning": tuning, "num_free_objectives": 1, "num_features": 4,
                "hidden_size_head": 8, "max_input_tokens": 160,
            },
            "loss": {"num_nodes": 4},
            "train": {"epochs": 2, "batch_size": 8, "evals": 3, "logging_steps": 2, "precision": "float32"},
            "features": {"cache": "none", "token_budget": 512},
        }  # fmt: skip
        for dotted, value in changes.items():
            section, _, key = dotted.partition("__")
            values[section] = {**values[section], key: value} if key else value
        name = "-".join([tuning, *(f"{key}-{value}" for key, value in sorted(changes.items()))])
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(values), encoding="utf-8")
        return path


def make_inputs(folder: Path, scored: int) -> Inputs:
    """Write what is not there yet."""
    inputs = Inputs(folder, scored)
    if not (inputs.parts / "done").exists():
        _write_rows(inputs)
        _write_model(inputs)
        (inputs.parts / "done").touch()
    return inputs


def _write_rows(inputs: Inputs) -> None:
    paths = write_planted(inputs.folder / "corpus", seed=1)
    lines = {name: path.read_text(encoding="utf-8").splitlines() for name, path in paths.items()}
    for name, count in (("train", TRAINED), ("dev", HELD_OUT)):
        (inputs.folder / f"{name}.jsonl").write_text("\n".join(lines[name][:count]) + "\n", encoding="utf-8")
    inputs.judged.write_text("\n".join(lines["train"][:JUDGED]) + "\n", encoding="utf-8")
    pairs = [json.loads(line) for line in lines["train"]]
    rows = [
        {"id": number, "prompt": pair["prompt"], "completions": [pair["chosen"], pair["rejected"]]}
        for number, pair in enumerate((pairs * (inputs.scored // len(pairs) + 1))[: inputs.scored])
    ]
    inputs.rows.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    _write_parts(inputs.parts, rows)


def _write_parts(folder: Path, rows: list[dict[str, Any]]) -> None:
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    first, second, third = (rows[start::PARTS] for start in range(PARTS))
    text = "".join(json.dumps(row) + "\n" for row in first)
    (folder / "a.jsonl").write_text(text, encoding="utf-8")
    (folder / "b.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in second).encode()))
    pq.write_table(pa.Table.from_pylist(third), folder / "c.parquet")


def _write_model(inputs: Inputs) -> None:
    import torch
    from studies.drills.tiny import write_decoder

    from vrm.data.chat import prompt_boundary_ids
    from vrm.model import VRMForSequenceClassification, save_model

    texts = [str(json.loads(line)["chosen"]) for line in inputs.judged.read_text(encoding="utf-8").splitlines()]
    tokenizer = write_decoder(inputs.backbone, texts, size=600, inner=32, positions=512)
    torch.manual_seed(0)
    model = VRMForSequenceClassification.from_backbone(
        str(inputs.backbone), head="vrm", objectives=["helpfulness", "safety", "brevity"], num_features=4,
        hidden_size_head=8, max_input_tokens=160, prompt_boundary_ids=prompt_boundary_ids(tokenizer),
    )  # fmt: skip
    save_model(model, tokenizer, inputs.model)
