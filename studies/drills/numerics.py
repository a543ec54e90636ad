"""Labels and features that teach little, nothing or the contrary, under every head; and rankings by precision."""

from __future__ import annotations

import gc
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
import yaml
from studies.drills.forked import vrm
from studies.drills.numerics_parts.damaged import NOT_FINITE, WIDTH, run_damaged
from studies.drills.numerics_parts.ranks import rankings
from studies.drills.numerics_parts.rows import FAULTS, SCALED, UNIT_FREE, WORDS, kinds, plain
from studies.drills.numerics_parts.runs import Ending, Try, configuration, run
from studies.drills.outcome import Drill, Outcome, Setting
from studies.drills.tiny import write_encoder
from tqdm import tqdm
from transformers.utils import logging as transformers_logging

from vrm.choices import HEADS, LossName
from vrm.labels import KINDS
from vrm.model.heads.registry import head_class
from vrm.results.formats import plural

SETTINGS: dict[str, tuple[dict[str, object], ...]] = {
    "one category only": ({}, {"data.held_out_by": "category"}),
    "one prompt": ({}, {"data.held_out": 0}),
    "one pair": ({}, {"data.held_out": 0}),
}
"""Configurations that a fault is tried with; one without changes for the others."""

OF_PAIRS = ("the same, with margins of 1e6",)
"""Faults that only comparisons can have."""

PLAIN = "plain rows"
SAME = 1e-3
"""Rewards of labels in two units may differ by so much, in units of reward."""

IMPORTS = ("vrm.train.run", "vrm.inference.score", "vrm.certify", "vrm.cli.train", "vrm.cli.score", "vrm.cli.certify")


def tries(setting: Setting) -> Iterator[Try]:
    """Every fault under every head with the first kind of label, and under every other kind with heads in turn.

    The losses of heads that have several take turns too, and one head in turn is certified.
    """
    first, *others = kinds()
    variants = [(fault, settings) for fault in (PLAIN, *FAULTS) for settings in SETTINGS.get(fault, ({},))]
    of_all = []
    for turn, (fault, settings) in enumerate(variants):
        cells = [(first, head) for head in HEADS]
        if not settings and fault not in OF_PAIRS:
            cells += [(kind, able[turn % len(able)]) for kind in others for able in [_able(kind)]]
        for place, (kind, head) in enumerate(cells):
            losses = _losses(kind, head)
            loss = losses[turn % len(losses)]
            of_all.append(Try(fault, kind, head, loss, settings, place == turn % len(HEADS)))
    yield from of_all[:: 31 if setting.quick else 1]


def _able(kind: str) -> list[str]:
    """Heads that learn from a kind of label."""
    return [head for head in HEADS if head_class(head).models_objectives or not KINDS[kind].beside]


def _losses(kind: str, head: str) -> list[str]:
    """Losses that change anything for a head: means alone are trained alike by all of them."""
    able = head_class(head)
    several = (able.has_weight_uncertainty or able.has_feature_uncertainty) and KINDS[kind].pairs
    return [str(loss) for loss in LossName if loss == LossName.VARIATIONAL or several]


def damaged_tries(setting: Setting) -> Iterator[Try]:
    """A number that is none, under every head."""
    heads = list(HEADS)[: 1 if setting.quick else None]
    yield from (Try(fault, kinds()[0], head, str(LossName.VARIATIONAL)) for fault in NOT_FINITE for head in heads)


def ended(setting: Setting) -> Iterator[tuple[Try, Ending]]:
    """Every try with its ending."""
    backbone = setting.work / "backbone"
    write_encoder(backbone, WORDS, WIDTH, 2 * WIDTH)
    warm_up(backbone, setting.work / "warm-up")
    of_labels, of_features = list(tries(setting)), list(damaged_tries(setting))
    for number, one in enumerate(tqdm([*of_labels, *of_features], unit="run", file=sys.stderr)):
        folder = setting.work / one.name
        if number >= len(of_labels):
            yield one, run_damaged(one, backbone, folder, setting.seed)
            continue
        rows = plain(one.kind, setting.seed)
        ending = run(one, FAULTS[one.fault](rows) if one.fault in FAULTS else rows, backbone, folder)
        if one.fault.startswith(SCALED) and one.kind in UNIT_FREE and ending.rewards:
            same = replace(one, fault=PLAIN, certified=False)
            compare(ending, run(same, rows, backbone, setting.work / f"unscaled-{same.name}"))
        yield one, ending


def compare(ending: Ending, unscaled: Ending) -> None:
    """Note it where rewards depend on the unit of the labels."""
    furthest = float(np.abs(np.concatenate(ending.rewards) - np.concatenate(unscaled.rewards)).max())
    if furthest > SAME:
        ending.problems.append(f"rewards {furthest:.2g} from those of labels in another unit")


def warm_up(backbone: Path, folder: Path) -> None:
    """Import and fill what a command imports and fills at its first call, so that forks find it done."""
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(1)
    for name in IMPORTS:
        import_module(name)
    one = Try(PLAIN, kinds()[0], next(iter(HEADS)), str(LossName.VARIATIONAL))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in plain(one.kind, 0)), encoding="utf-8")
    config = configuration(one, folder / "rows.jsonl", backbone, folder / "run")
    (folder / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        for arguments in (("train", folder / "run.yaml", "--overwrite"), ("certify", folder / "run")):
            with suppress(SystemExit):
                vrm(arguments)
    gc.collect()
    gc.freeze()


def outcomes(endings: Sequence[tuple[Try, Ending]]) -> Iterator[Outcome]:
    """A line for every fault."""
    for fault in dict.fromkeys(one.fault for one, _ in endings):
        of_fault = [(one, ending) for one, ending in endings if one.fault == fault]
        for one, ending in of_fault:
            for problem in ending.problems:
                print(f"{one.name}: {problem}", file=sys.stderr)
        refused = sum(bool(ending.message) for _, ending in of_fault)
        note = f"{plural(len(of_fault) - refused, 'model')}, {plural(refused, 'named error')}"
        yield Outcome(fault, len(of_fault), sum(bool(ending.problems) for _, ending in of_fault), 0, note)


def numerics(setting: Setting) -> list[Outcome]:
    """The drill."""
    setting.work.mkdir(parents=True, exist_ok=True)
    return [*outcomes(list(ended(setting))), *rankings(setting)]


DRILL = Drill("Numbers: labels and features that teach little, and precision", numerics)
