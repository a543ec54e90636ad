"""Two stages beside `gated` and every rival, on six sources with one judgment a pair."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from studies.evidence.fitting import pairs_of
from studies.evidence.folds import Fold
from studies.evidence.predictions import Labels, Predicted
from studies.evidence.regimes import PAIRS, Regime, parts
from studies.evidence.second.rivals import HEADS, Rivals, can_be_fitted, kept, predictions
from studies.evidence.second.study import Question, Study
from studies.evidence.second.temperatures import RULES, by_rule
from studies.evidence.tables import markdown

from vrm.metrics import bootstrap_mean, length_controlled_accuracy

SEEDS = {"hh_harmless": 5, "hh_helpful": 5, "webgpt": 5, "finegrained_qa": 3, "rmb": 3, "ukp_convarg2": 3}
DEAR = {"ensemble": 1, "bayes": 1}
"""Seeds at most of heads whose fit costs most."""

QUICK = ("hh_harmless",)
ABROAD = ("bt", "bayes", "ensemble", "gated", "vrm")
"""Heads whose predictions for foreign sources the question `unfamiliar` reads, of its seeds."""

ABROAD_SEEDS = 1
RATERS = ("hfngs_v1", "hanna", "dialsummeval", "cobbler")
SAMPLE = 300
MEANS = "gated"
"""What the second stage starts from."""

METRICS = {"scaled": (1000.0, 1), "nll": (1000.0, 1), "accuracy": (100.0, 2)}
"""What is compared: factor and digits of the tables."""


def regimes(study: Study) -> dict[str, range]:
    """Regimes with their seeds."""
    return {name: study.seed_range(count) for name, count in SEEDS.items() if not study.quick or name in QUICK}


def test_sources(study: Study) -> tuple[str, ...]:
    """Sources whose dev files are read."""
    return ("hh_harmless", "hh_helpful", "webgpt") if study.quick else (*PAIRS, *RATERS)


def dev(study: Study, source: str) -> Fold:
    """Comparisons of a dev file."""
    return pairs_of(study.library.fold(f"{source}.dev"))


def sample(study: Study, source: str) -> Fold:
    """Some comparisons of a train file, the same for every model."""
    return pairs_of(study.library.fold(f"{source}.train")).sample(SAMPLE, 0)


def load(study: Study) -> None:
    """Read every fold first, so that features are loaded once."""
    for source in test_sources(study):
        study.library.fold(f"{source}.train")
        study.library.fold(f"{source}.dev")


def arrays_of(study: Study, regime: str, seed: int, heads: Mapping[str, int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Predictions of every head of one regime and seed; heads are fitted where they are not kept.

    Args:
        study: of the question.
        regime: what is trained on.
        seed: of split and weights.
        heads: number of seeds that each has.
    """
    root = study.work.parent / "rivals" / f"{regime}-{seed}"
    rivals = Rivals(study.library, parts(Regime((regime,)), study.library, seed), seed)
    for name, seeds in heads.items():
        if seed < seeds and can_be_fitted(name):
            make = partial(_arrays, study, rivals, regime, name)
            yield name, kept(root / f"{name.replace(' ', '-')}.npz", make)


def _arrays(study: Study, rivals: Rivals, regime: str, name: str) -> dict[str, np.ndarray]:
    """What one head predicts, with time and second stage as JSON under `facts`."""
    calibration, sources = rivals.rows.calibration, test_sources(study)
    abroad = name in ABROAD and rivals.seed < ABROAD_SEEDS
    tested = sources if abroad else (regime,)
    folds = {f"{source}.dev": dev(study, source) for source in tested}
    if abroad:
        folds |= {f"{source}.train": sample(study, source) for source in sources if source != regime}
    if abroad or name == MEANS:
        folds |= {"calibration": pairs_of(calibration), "held": pairs_of(rivals.rows.held)}
    arrays = predictions(rivals.predictor(name), calibration, folds)
    stage = rivals.stages.get(name)
    facts = {"seconds": rivals.seconds[name], "stage": stage and asdict(stage)}
    return {**arrays, "facts": np.array(json.dumps(facts))}


def run(study: Study) -> dict[str, Any]:
    """Fit what is missing; figures of every fold."""
    load(study)
    labels = {source: Labels(dev(study, source).judgments) for source in PAIRS if source in test_sources(study)}
    models: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    for regime, seeds in regimes(study).items():
        heads = {name: min(len(seeds), DEAR.get(name, len(seeds))) for name in HEADS}
        predicted: dict[str, dict[int, Predicted]] = {}
        for seed in seeds:
            for name, arrays in arrays_of(study, regime, seed, heads):
                facts.setdefault(regime, {}).setdefault(name, []).append(json.loads(str(arrays["facts"])))
                predicted.setdefault(name, {})[seed] = _predicted(arrays, regime, labels[regime])
        models[regime] = _figures(predicted)
    rows = {name: len(each.judgments) for name, each in labels.items()}
    figures = {"models": models, "facts": facts, "rows": rows, "temperatures": temperatures(study)}
    return figures


def temperatures(study: Study) -> dict[str, list[dict[str, Any]]]:
    """What other rules for keeping a temperature are worth, by regime of one source and by seed."""
    result: dict[str, list[dict[str, Any]]] = {}
    for regime, seeds in regimes(study).items():
        for seed in seeds:
            rows = parts(Regime((regime,)), study.library, seed)
            found = dict(arrays_of(study, regime, seed, dict.fromkeys((MEANS, "staged"), len(seeds))))
            folds = {"held": rows.held, "calibration": rows.calibration, f"{regime}.dev": dev(study, regime)}
            preference = {
                name: np.array([row.preference for row in pairs_of(fold).judgments]) for name, fold in folds.items()
            }
            trial = json.loads(str(found["staged"]["facts"]))["stage"]["trials"][0]
            result.setdefault(regime, []).append(by_rule(found[MEANS], preference, trial, f"{regime}.dev"))
    return result


def _predicted(arrays: Mapping[str, Any], source: str, labels: Labels) -> Predicted:
    values = (arrays[f"{source}.dev:{what}"].astype(float) for what in ("margin", "variance", "logs", "scaled"))
    return Predicted(labels, *values)


def outcome(model: Predicted, metric: str) -> np.ndarray:
    """(n,) of every row; NaN where ties have none."""
    return model.hits if metric == "accuracy" else model.nll(metric == "scaled")


def _figures(found: Mapping[str, Mapping[int, Predicted]]) -> dict[str, Any]:
    """Every head by seed, and two stages minus it."""
    result = {}
    for name, by_seed in found.items():
        rows: dict[str, Any] = {"seeds": sorted(by_seed)}
        for metric in METRICS:
            rows[metric] = [float(np.nanmean(outcome(model, metric))) for _, model in sorted(by_seed.items())]
        rows["length-controlled"] = [
            length_controlled_accuracy(model.margin, model.labels.preference, *model.labels.log_lengths.T).value
            for _, model in sorted(by_seed.items())
        ]
        if name != "staged":
            rows["staged minus"] = {metric: compared(found["staged"], by_seed, metric) for metric in METRICS}
        result[name] = rows
    return result


def compared(ours: Mapping[int, Predicted], theirs: Mapping[int, Predicted], metric: str) -> dict[str, Any]:
    """The paired difference over shared seeds, its interval over prompts, and whether it counts as a win of either."""
    seeds = sorted(set(ours) & set(theirs))
    by_seed = np.stack([outcome(ours[seed], metric) - outcome(theirs[seed], metric) for seed in seeds])
    judged = ~np.isnan(by_seed[0])
    groups = [group for group, ok in zip(ours[seeds[0]].labels.groups, judged, strict=True) if ok]
    # A handful of debates cannot be resampled; the pairs are, which is too sure of itself.
    interval = bootstrap_mean(by_seed[:, judged].mean(0), groups if len(set(groups)) >= 8 else None)
    means = by_seed[:, judged].mean(1)
    agree = max((means > 0).sum(), (means < 0).sum())
    return {
        "estimate": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "counts": bool((interval.low > 0 or interval.high < 0) and agree >= 0.8 * len(seeds)),
        "by seed": means.tolist(),
    }


def tables(figures: dict[str, Any]) -> str:
    """Levels, differences, and what the second stage kept."""
    blocks = []
    for regime, heads in figures["models"].items():
        rows = [[regime, "seeds", "NLL", "scaled", "accuracy", "length-controlled",
                 "staged minus: NLL", "scaled", "accuracy"]]  # fmt: skip
        rows += [_row(name, entry) for name, entry in heads.items()]
        blocks.append(markdown(rows))
    kept_parts = [["second stage", "kept", "temperature", "gain (standard error)"]]
    for regime, heads in figures["facts"].items():
        for entry in heads.get("staged", []):
            stage, first = entry["stage"], entry["stage"]["trials"][0]
            gain = f"{1000 * first['gain']:+.1f} ({1000 * first['standard_error']:.1f})"
            temperature = stage["values"].get("temperature")
            kept_parts.append(
                [regime, ", ".join(stage["kept"]) or "nothing", f"{temperature:.2f}" if temperature else "-", gain]
            )
    blocks.append(markdown(kept_parts))
    rows = [
        ["NLL of means with a temperature, by rule", *(f"{regime}: train / dev" for regime in figures["temperatures"])]
    ]
    for rule in RULES:
        cells = []
        for entries in figures["temperatures"].values():
            means = [np.mean([entry[rule][place] for entry in entries]) for place in ("calibration", "dev")]
            cells.append(" / ".join(f"{mean:.4f}" for mean in means))
        rows.append([rule, *cells])
    blocks.append(markdown(rows))
    return "\n\n".join(blocks)


def _row(name: str, entry: Mapping[str, Any]) -> list[str]:
    def mean(metric: str, factor: float, digits: int) -> str:
        return f"{factor * np.mean(entry[metric]):.{digits}f}"

    cells = [f"`{name}`", str(len(entry["seeds"])), mean("nll", 1, 4), mean("scaled", 1, 4), mean("accuracy", 100, 1)]
    cells.append(mean("length-controlled", 100, 1))
    for metric in ("nll", "scaled", "accuracy"):
        if "staged minus" not in entry:
            cells.append("-")
            continue
        (factor, digits), found = METRICS[metric], entry["staged minus"][metric]
        estimate, low, high = (f"{factor * found[key]:+.{digits}f}" for key in ("estimate", "low", "high"))
        text = f"{estimate} [{low}, {high}]"
        cells.append(f"**{text}**" if found["counts"] else text)
    return cells


QUESTION = Question("Never behind", run, tables)
