"""The server: many clients, too many of them, hostile ones, a long time, its end, and its whole OpenAPI document."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module

import torch
from studies.drills.outcome import Drill, Outcome, Setting
from studies.drills.server_parts.serving import make_model

PARTS = ("load", "pressure", "ending", "hostile", "forged", "soak", "openapi")
"""Modules of `server_parts`, in the order of the table; each has a server of its own."""


def part(name: str, setting: Setting) -> list[Outcome]:
    """The lines of a part; those of an earlier call where they are kept."""
    setting.work.mkdir(parents=True, exist_ok=True)
    kept = setting.work / f"{name}.json"
    if not kept.exists():
        torch.set_num_threads(1)
        model = setting.work / "model"
        if not model.exists():
            make_model(setting.work)
        start = time.monotonic()
        found = import_module(f"studies.drills.server_parts.{name}").run(
            model, setting.work, setting.seed, setting.quick
        )
        kept.write_text(json.dumps([asdict(outcome) for outcome in found]))
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return [Outcome(**line) for line in json.loads(kept.read_text())]


def run(setting: Setting) -> Sequence[Outcome]:
    """All parts, one after the other."""
    return [outcome for name in PARTS for outcome in part(name, setting)]


DRILL = Drill("The server", run)
