"""Which labels to buy, once more: `selecting.py` on part two's features, with more seeds."""

from __future__ import annotations

import json
from typing import Any

from studies.evidence.acquisition import METHODS
from studies.evidence.pools import load_source, toy_source
from studies.evidence.savings import interval_text
from studies.evidence.savings import tables as savings_tables
from studies.evidence.second.study import Question, Study
from studies.evidence.selecting import POOLS, Learners, choose
from studies.evidence.tables import markdown


def run(study: Study) -> dict[str, Any]:
    """Every chain of `bayes` that is not done, and the savings of all."""
    learners = Learners(gated=())
    if study.quick:
        sources = [toy_source("toy", 0)]
    else:
        for name in POOLS:
            for part in ("train", "dev"):
                study.library.fold(f"{name}.{part}")
        sources = [load_source(name, study.library, study.work / f"{name}.npz", learners.basis) for name in POOLS]
    choose(sources, study.work, learners, list(study.seed_range(20)), list(METHODS), False)
    kept = study.work / "savings.json"
    savings_tables(study.work, kept)
    return dict(json.loads(kept.read_text(encoding="utf-8")))


def tables(figures: dict[str, Any]) -> str:
    """For each pool the loss minus that of random labels, and labels saved, with intervals."""
    rows = [["labels chosen by", *(f"{name}: {what}" for name in figures for what in ("NLL, 1e-3", "saved, %"))]]
    for method in METHODS:
        row = [method]
        for methods in figures.values():
            kept = methods[method]
            row += [interval_text(kept["nll minus random"], 1000.0, 1), interval_text(kept["mean savings"], 100.0, 0)]
        rows.append(row)
    seeds = {kept["seeds"] for methods in figures.values() for kept in methods.values()}
    return f"{max(seeds)} seeds; losses minus those of random labels\n\n{markdown(rows)}"


QUESTION = Question("Choosing labels, with more seeds", run, tables)
