"""What a model card tells of the run: its data and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vrm.choices import Tuning
from vrm.export.directory import hub_name
from vrm.export.markdown import NONE, UNKNOWN, names, share, table
from vrm.renamed import with_new_keys
from vrm.results import RowCounts, RunDocument
from vrm.results.formats import plural


def data_section(run: RunDocument | None) -> str:
    """Sources with their numbers of rows, what was held out, and what was cut to the limit."""
    if run is None:
        return "Unknown: no `run.json` stood beside the model that was exported."
    data, rows = run.config["data"], run.rows or RowCounts(0, 0)
    lines = []
    for key, use in (("train", "training"), ("eval", "evaluation")):
        counts = run.source_rows.get(key) or [None] * len(data[key])
        for source, count in zip(data[key], counts, strict=True):
            read = UNKNOWN if count is None else f"{count:,}"
            lines.append([_source(source["path"]), use, read, f"{source['weight']:g}", source["recipe"] or NONE])
    held = "" if data["eval"] else f", held out by {data['held_out_by']} ({share(_held_out(rows))})"
    parts = [
        table(["source", "for", "n (rows read)", "weight", "recipe"], lines),
        f"{plural(rows.train, 'row')} for training and {plural(rows.eval, 'row')} for choosing the checkpoint"
        f"{held}. Where local files came from is not recorded.",
        _overlong(run.overlong),
    ]
    return "\n\n".join(part for part in parts if part)


def _held_out(rows: RowCounts) -> float | None:
    """The share that was held out in truth: whole prompts go, by hash, so that it is about what was asked for."""
    total = rows.train + rows.eval
    return rows.eval / total if total else None


def _source(path: str) -> str:
    known = hub_name(path)
    return f"[{known}](https://huggingface.co/datasets/{known})" if known else f"`{Path(path).name}` (local)"


def _overlong(counts: Mapping[str, int]) -> str:
    cut = {name.replace("_", " "): count for name, count in counts.items() if name not in ("limit", "total") and count}
    if not counts:
        return ""
    what = ", ".join(f"{name} {count:,}" for name, count in cut.items())
    return f"Over the limit of {counts['limit']} tokens: {what or 'none'} of {plural(counts['total'], 'row')}."


def _adapters(model: Mapping[str, Any]) -> str:
    settings = model.get("lora")
    if model["tuning"] != Tuning.LORA or not settings:
        return ""
    modules = settings["target_modules"] or "those of PEFT's default"
    shown = modules if isinstance(modules, str) else ", ".join(modules)
    return f", rank {settings['r']}, alpha {settings['alpha']}, dropout {settings['dropout']:g}, modules: {shown}"


def training_section(run: RunDocument | None) -> str:
    """Settings of the training and its time."""
    if run is None:
        return "Unknown."
    config = with_new_keys(run.config)[0]
    model, loss, train = config["model"], config["loss"], config["train"]
    rows = [
        ["tuning", model["tuning"] + _adapters(model)],
        ["loss", f"{loss['name']}; weights: ratings {loss['ratings']:g}, votes {loss['votes']:g}, "
         f"KL of weights {loss['beta_weights']:g}, KL of features {loss['beta_features']:g}"],
        ["epochs, batch size", f"at most {train['epochs']:g}, {run.batch_size or train['batch_size']}"],
        ["learning rate", f"head {train['learning_rate']:g}" + (
            "" if model["tuning"] == Tuning.FROZEN else f", backbone {train['backbone_learning_rate']:g}")],
        ["seed", f"{config['seed']}"],
        ["training time", f"{run.seconds['train']:.0f} s" if run.seconds else UNKNOWN],
    ]  # fmt: skip
    measures = config.get("nuisance", {}).get("measures")
    if measures:
        rows.append(["nuisance offset", f"{names(measures)}: part of the labels' explanation, left out of rewards"])
    return table(["", ""], rows)
