"""Several raters: what it is worth to know that they judge the same texts (15), and to know who votes (16)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from studies.evidence.folds import Fold
from studies.evidence.regimes import Parts
from studies.evidence.second.study import Question, Study
from studies.evidence.second.voters import AS_IS, HEADS, INDEPENDENT, Attached, Voters, measures, ways
from studies.evidence.second.voting import figures, plot, tables
from studies.evidence.stages import without_ratings
from studies.raters import NEW, predictions

from vrm.core.raters import RaterVotes, fit_raters
from vrm.data.splits import uniform_hash

FILES, SEEDS = ("ukpconvarg1", "hfngs_v1", "hanna", "dialsummeval", "cobbler"), {"ukpconvarg1": 3}
LARGE, ON_EVERY_SEED = "ukpconvarg1", ("mlp", "gated", "gated, V_z", "vrm", "vrm, no text")
"""A file whose other heads, and whose raters, have the first seed alone, as they take minutes."""

BY_TOPIC = (LARGE,)
KNOWN_BY = ("mlp", "gated", "vrm")
"""Heads to whose objectives raters are fitted."""

HELD, CALIBRATION = 0.15, 0.25
QUICK = {"ukpconvarg1": 150}
"""Rows with `--quick`, drawn; the dev files are left alone."""


def run(study: Study) -> dict[str, Any]:
    """Figures of every file."""
    return {name: of_file(study, name) for name in (QUICK if study.quick else FILES)}


def of_file(study: Study, name: str) -> dict[str, Any]:
    """Every head and seed on one file."""
    fold = study.library.fold(f"{name}.train")
    if study.quick:
        fold = fold.take(np.random.default_rng(0).permutation(len(fold))[: QUICK[name]])
    fold = fold.relabelled([without_ratings(row) for row in fold.judgments])
    ties = any(judgment.preference == 0.5 for row in fold.judgments for judgment in row.judgments or [])
    pieces: dict[str, list[dict[str, Any]]] = {}
    tests = []
    for seed in study.seed_range(SEEDS.get(name, 1)):
        rows = split(fold, seed, "category" if name in BY_TOPIC else None)
        test = rows.calibration if study.quick else study.library.fold(f"{name}.dev")
        tests.append(test)
        voters = Voters(study.library, rows, seed, ties)
        for head in HEADS:
            if seed and name == LARGE and head not in ON_EVERY_SEED:
                continue
            piece = study.piece(
                f"{name}-{head.replace(', ', '-').replace(' ', '-')}-{seed}",
                answer(voters, head, test, raters=not seed or name != LARGE),
            )
            pieces.setdefault(head, []).append(piece)
    return figures(tests[0], pieces)


def split(fold: Fold, seed: int, by: str | None) -> Parts:
    """60 % to fit, 15 % to stop early, 25 % to calibrate, by prompt; of seven topics four, one and two."""
    keys = fold.groups if by is None else [getattr(row, by) for row in fold.judgments]
    order = sorted(dict.fromkeys(keys), key=lambda key: uniform_hash(str(key), seed, "several raters"))
    held = max(1, round(HELD * len(order)))
    calibration = max(1, round(CALIBRATION * len(order)))
    place = {key: number for number, key in enumerate(order)}
    number = np.array([place[key] for key in keys])
    chosen = (number >= held + calibration, number < held, (number >= held) & (number < held + calibration))
    return Parts(*(fold.take(np.flatnonzero(part)) for part in chosen))


def answer(voters: Voters, head: str, test: Fold, raters: bool) -> Callable[[], Mapping[str, Any]]:
    """A function that fits a head, and raters to it where they are asked for, and measures it on the test fold."""

    def piece() -> dict[str, Any]:
        started = time.process_time()
        says = voters.says(head)
        seconds = time.process_time() - started
        calibration, said = says(voters.rows.calibration), says(test)
        found: dict[str, Any] = {"fit seconds": round(seconds, 1), "ways": {}}
        for way in ways(head):
            attached = Attached.fitted(calibration, way, voters.ties)
            if head == "staged":
                attached = replace(attached, temperature=1.0, tie_threshold=voters.stage_threshold)
                found["kept"] = list(voters.kept)
            numbers = {"T": attached.temperature, "V_z": attached.shared_variance}
            numbers["c"] = 0.0 if attached.tie_threshold is None else float(attached.tie_threshold)
            values = measures(attached.moved(said), attached.tie_threshold)
            kept = {name: np.round(column, 5).tolist() for name, column in values.items()}
            found["ways"][way] = {"numbers": numbers, "pairs": kept}
            if raters and head in KNOWN_BY and way in (INDEPENDENT, AS_IS):
                fit = votes_of(attached.moved(calibration), voters.rows.calibration)
                found["raters"] = known_raters(fit, votes_of(attached.moved(said), test), attached, test, voters.seed)
        found["seconds"] = round(time.process_time() - started, 1)
        return found

    return piece


def votes_of(said: RaterVotes, fold: Fold) -> tuple[RaterVotes, list[str], list[str]]:
    """An item a rater and pair, with the names of the raters and the prompts."""
    index, names, counts = [], [], []
    for row, judged in enumerate(fold.judgments):
        for judgment in judged.judgments or []:
            if judgment.annotator is not None:
                index.append(row)
                names.append(judgment.annotator)
                counts.append([float(judgment.preference == vote) for vote in (1.0, 0.0, 0.5)])
    votes = replace(said[torch.tensor(index)], counts=torch.tensor(counts, dtype=torch.float64))
    return votes, names, [fold.groups[row] for row in index]


def known_raters(
    fit: tuple[RaterVotes, list[str], list[str]],
    test: tuple[RaterVotes, list[str], list[str]],
    attached: Attached,
    fold: Fold,
    seed: int,
) -> dict[str, Any]:
    """NLL of the votes of raters who were fitted, and of others: sums a prompt, by what is known of a rater."""
    votes, names, _ = fit
    known = sorted(name for name in set(names) if uniform_hash(name, seed, "new rater") >= NEW)
    number = {name: place for place, name in enumerate(known)}
    votes = replace(votes, rater=torch.tensor([number.get(name, -1) for name in names]))
    votes = votes[votes.rater >= 0]
    tested, test_names, prompts = test
    tested = replace(tested, rater=torch.tensor([number.get(name, -1) for name in test_names]))
    fitted = fit_raters(votes, len(known), attached.tie_threshold)
    logs = predictions(votes, tested, fitted)
    keys = list(dict.fromkeys(fold.groups))
    codes = np.array([keys.index(prompt) for prompt in prompts])
    columns = np.stack([np.ones(len(codes)), *(-values.numpy() for values in logs.values())])
    sums = {}
    for kind, rows in {"known": tested.rater >= 0, "new": tested.rater < 0}.items():
        chosen = rows.numpy()
        parts = [np.bincount(codes[chosen], weights=column[chosen], minlength=len(keys)) for column in columns]
        sums[kind] = np.round(np.stack(parts), 4).tolist()
    return {"raters": len(known), "votes": len(votes.rater), "ways": list(logs), "sums": sums}


def draw(document: dict[str, Any], folder: Path) -> Path:
    """The plot."""
    return plot(document, folder / "evidence-raters.png")


QUESTION = Question("Several raters", run, tables, draw)
