"""Which labels to buy, for docs/evidence.md. Every finished chain is kept: the command can be repeated or shared out.

    python -m studies.evidence.selecting DATA --stage pilot      # choices, on splits of the training files alone
    python -m studies.evidence.selecting DATA --stage choose
    python -m studies.evidence.selecting DATA --stage again
    python -m studies.evidence.selecting DATA --stage tables --json FILE

DATA holds `preferences/` and `raters/`.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from studies.evidence.acquisition import METHODS, State
from studies.evidence.fitting import Settings, fit, new_head
from studies.evidence.folds import Fold, Library
from studies.evidence.logistic import LogisticPosterior, fit_logistic
from studies.evidence.pools import (
    Basis,
    FixedNorm,
    LogisticPredictor,
    Pool,
    Source,
    load_source,
    plain,
    pool_of,
    toy_source,
)
from studies.evidence.predictors import HeadPredictor, Predictor, calibrated_scale
from studies.evidence.savings import FIRST, tables
from transformers.utils import logging

from vrm.data.schema import Judgment
from vrm.model.configuration_vrm import VRMConfig

POOLS = ("rmb", "ukp_convarg2", "hfngs_v1")
BUDGETS = (FIRST, 100, 150, 250, 400, 600, 900, 1300, 2000)
FEWER = {"ukp_convarg2": 900, "hfngs_v1": 900, "rmb": 900}
"""The last budget: hfngs_v1 and the part of rmb have no 2,000 pairs, and on ukp_convarg2 400 teach what 6,000 do."""
SHARES = {"rmb.train": 0.2, "rmb.dev": 0.3}
LIMITS = {"rmb": 160}
"""What is read of rmb, and tokens of a row, so that its features take minutes."""
VOTED = ("ukpconvarg1", "hfngs_v1")
VOTE_BUDGETS = (200, 600, 1200)


@dataclass(frozen=True)
class Learners:
    """How both learners are fitted.

    Attributes:
        basis: of the logistic regression.
        steps: of `gated`, at least.
        settings: of `gated`.
        gated: budgets at which it is fitted.
        budgets: at which a batch ends, and the first learner is fitted.
    """

    basis: Basis = field(default_factory=Basis)
    steps: int = 120
    settings: Settings = field(default_factory=lambda: Settings(learning_rate=3e-3))
    gated: tuple[int, ...] = (100, 400, 900)
    budgets: tuple[int, ...] = BUDGETS


def fit_gated(source: Source, train: Fold, held: Fold, learners: Learners, seed: int) -> HeadPredictor:
    """A `gated` head on the components; the held-out rows stop it."""
    width = source.features.raw.shape[1]
    backbone = {"model_type": "bert", "hidden_size": width}
    config = VRMConfig(
        backbone_config=backbone, backbone_kind="encoder", head="gated", poolings=["mean"], feature_layers=[-1],
        num_free_objectives=16, num_features=8, head_dropout=learners.settings.dropout,
    )  # fmt: skip
    head: Any = new_head("gated", config, seed)
    head.completion_norm, head.prompt_norm = FixedNorm(1, width), FixedNorm(1, width)
    batches = math.ceil(len(train) / learners.settings.batch_size)
    epochs = max(learners.settings.epochs, math.ceil(learners.steps / batches))
    settings = {**vars(learners.settings), "epochs": epochs, "evals_per_epoch": 1, "patience": 20}
    fit(head, config, source.features, (train, held), Settings(**settings), seed)
    return HeadPredictor(head, source.features)


def outcomes(predictor: Predictor, pool: Pool) -> np.ndarray:
    """Loss in nats after temperature scaling, and hits, of every test pair, (2, n); hits of labelled ties are NaN."""
    scale = calibrated_scale(predictor, pool.held)
    said = predictor.say(pool.test)
    logs = said.logs(scale)
    labels = np.array([row.preference for row in pool.test.judgments])
    loss = -(labels * logs[:, 0] + (1.0 - labels) * logs[:, 1])
    hits = np.where(labels == 0.5, np.nan, (said.margin > 0) == (labels > 0.5))
    return np.stack([loss, hits]).astype(np.float32)


def labels_of(fold: Fold) -> torch.Tensor:
    """(n,) preferences."""
    return torch.tensor([row.preference for row in fold.judgments], dtype=torch.float64)


def chain(pool: Pool, method: str, learners: Learners, seed: int, budgets: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Labels bought by one method, from 50 at random on; outcomes of both learners at their budgets.

    What is chosen next depends on a logistic regression on the labels so far, which is also the first learner.
    """
    inputs, labels = pool.source.inputs(pool.rows), labels_of(pool.rows)
    chosen = np.random.default_rng(seed).permutation(len(pool.rows))[: budgets[0]]
    generator = np.random.default_rng([seed, list(METHODS).index(method)])
    kept: dict[str, np.ndarray] = {}
    posterior: LogisticPosterior | None = None
    for budget in budgets:
        if len(chosen) < budget:
            assert posterior is not None
            state = State(inputs, pool.prompts, chosen, labels[chosen], posterior, generator)
            chosen = np.concatenate([chosen, METHODS[method](state, budget - len(chosen))])
        posterior = fit_logistic(inputs[chosen], labels[chosen], pool.source.groups, posterior)
        kept[f"bayes-{budget}"] = outcomes(LogisticPredictor(posterior, pool.source), pool)
        if budget in learners.gated:
            predictor = fit_gated(pool.source, pool.rows.take(chosen), pool.held, learners, seed)
            kept[f"gated-{budget}"] = outcomes(predictor, pool)
    return {**kept, "chosen": chosen}


def choose(
    sources: list[Source], output: Path, learners: Learners, seeds: list[int], methods: list[str], pilot: bool
) -> None:
    """Every chain that is not done; seeds outermost, so that all methods have the same ones whenever it is stopped."""
    for seed in seeds:
        for source in sources:
            pool = pool_of(source, seed, pilot)
            last = min(FEWER.get(source.name, BUDGETS[-1]), len(pool.rows))
            budgets = tuple(budget for budget in learners.budgets if budget <= last)
            for method in methods:
                target = output / source.name / f"{method}-{seed}.npz"
                if not target.exists():
                    _write_groups(target.parent, source)
                    found = chain(pool, method, learners, seed, budgets)
                    np.savez_compressed(target, **found)
                    print(source.name, method, seed, _briefly(found), flush=True)


def again(sources: list[Source], output: Path, learners: Learners, seeds: list[int]) -> None:
    """The same number of judgments as one of each of many pairs, or several of each of fewer, drawn by chance."""
    for seed in seeds:
        for source in sources:
            pool = pool_of(source, seed, False)
            full = {(row.file, row.line): row for row in source.train.judgments}
            rows = [full[row.file, row.line] for row in pool.rows.judgments]
            for each in (1, 2, 5):
                target = output / source.name / f"each-{each}-{seed}.npz"
                able = np.array([index for index, row in enumerate(rows) if len(row.judgments or ()) >= each])
                if target.exists() or len(able) < 0.9 * len(rows):
                    continue
                _write_groups(target.parent, source)
                generator, kept = np.random.default_rng([seed, each]), {}
                for budget in VOTE_BUDGETS:
                    pairs = generator.permutation(able)[: budget // each]
                    if len(pairs) == budget // each:
                        bought = bought_votes(pool.rows, rows, pairs, each, generator)
                        kept |= after(bought, pool, learners, seed, budget)
                np.savez_compressed(target, **kept)
                print(source.name, each, seed, _briefly(kept), flush=True)


def bought_votes(
    pool: Fold, rows: list[Judgment], pairs: np.ndarray, each: int, generator: np.random.Generator
) -> Fold:
    """`each` judgments of each pair, one a row."""
    votes = []
    for pair in pairs:
        said = rows[pair].judgments or []
        votes += [plain(rows[pair], said[one].preference) for one in generator.permutation(len(said))[:each]]
    return pool.take(np.repeat(pairs, each)).relabelled(votes)


def after(bought: Fold, pool: Pool, learners: Learners, seed: int, budget: int) -> dict[str, np.ndarray]:
    """Outcomes of both learners on these labels."""
    posterior = fit_logistic(pool.source.inputs(bought), labels_of(bought), pool.source.groups)
    kept = {f"bayes-{budget}": outcomes(LogisticPredictor(posterior, pool.source), pool)}
    if learners.gated:
        kept[f"gated-{budget}"] = outcomes(fit_gated(pool.source, bought, pool.held, learners, seed), pool)
    return kept


def pilot(library: Library, output: Path, names: list[str], seeds: list[int]) -> None:
    """The basis and the learning rate of `gated`, by labels bought at random and splits of the training files."""
    for name in names:
        for power in (0.0, 0.5, 1.0):
            for waves in (0, 256):
                source = load_source(name, library, output / f"{name}.npz", Basis(power, waves))
                print(name, f"power {power}, {waves} waves:", _piloted(source, seeds, None), flush=True)
            for rate in (3e-4, 1e-3, 3e-3):
                print(name, f"power {power}, gated at {rate}:", _piloted(source, seeds, rate), flush=True)


def _piloted(source: Source, seeds: list[int], rate: float | None) -> str:
    """Mean loss after 150 and 600 labels, of `gated` at this rate, or without one of `bayes`."""
    losses = []
    for seed in seeds:
        pool = pool_of(source, seed, True)
        for budget in (150, 600):
            bought = pool.rows.take(np.random.default_rng(seed).permutation(len(pool.rows))[:budget])
            predictor: Predictor
            if rate is None:
                posterior = fit_logistic(source.inputs(bought), labels_of(bought), source.groups)
                predictor = LogisticPredictor(posterior, source)
            else:
                learners = Learners(settings=Settings(learning_rate=rate))
                predictor = fit_gated(source, bought, pool.held, learners, seed)
            losses.append(outcomes(predictor, pool)[0].mean())
    return " ".join(f"{value:.4f}" for value in np.reshape(losses, (len(seeds), 2)).mean(0))


def _write_groups(folder: Path, source: Source) -> None:
    """What the tables resample: the prompt of every test pair."""
    folder.mkdir(parents=True, exist_ok=True)
    _, numbers = np.unique(np.array(source.test.groups), return_inverse=True)
    (folder / "groups.json").write_text(json.dumps(numbers.tolist()))


def _briefly(found: dict[str, np.ndarray]) -> str:
    means = {name: np.nanmean(value, 1) for name, value in found.items() if name != "chosen"}
    return " ".join(f"{name}:{value[0]:.3f}/{100 * value[1]:.1f}" for name, value in means.items())


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--stage", choices=["pilot", "choose", "again", "tables"], required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/evidence/selecting"))
    parser.add_argument("--cache", type=Path, default=Path("runs/features"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--pools", nargs="+", default=list(POOLS), choices=POOLS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--pilot", action="store_true", help="choose on splits of the training files alone")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--without-gated", action="store_true", help="the first learner alone, a third of the time")
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS), help="labels at which a batch ends")
    parser.add_argument("--quick", action="store_true", help="toy sizes without data, for the tests")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if arguments.stage == "tables":
        print(tables(arguments.output, arguments.json))
        return
    if arguments.quick:
        sources = [toy_source("toy", 0)]
        choose(sources, arguments.output, Learners(steps=4), arguments.seeds, arguments.methods, arguments.pilot)
        again(sources, arguments.output, Learners(steps=4), arguments.seeds)
        return
    library = Library(arguments.data, arguments.cache, SHARES, LIMITS)
    if arguments.stage == "pilot":
        pilot(library, arguments.output, arguments.pools, arguments.seeds)
        return
    learners = Learners(budgets=tuple(arguments.budgets))
    if arguments.pilot or arguments.without_gated:
        learners = replace(learners, gated=())
    names = arguments.pools if arguments.stage == "choose" else VOTED
    sources = [load_source(name, library, arguments.output / f"{name}.npz", learners.basis) for name in names]
    if arguments.stage == "choose":
        output = arguments.output / "pilot" if arguments.pilot else arguments.output
        choose(sources, output, learners, arguments.seeds, arguments.methods, arguments.pilot)
    else:
        again(sources, arguments.output, learners, arguments.seeds)


if __name__ == "__main__":
    main()
