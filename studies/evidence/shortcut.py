"""Question (d): what repairs a reward model that was trained where the longer completion wins nine times in ten."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from studies.evidence.fitting import fit, new_head, pairs_of
from studies.evidence.folds import Features, Fold
from studies.evidence.predictors import HeadPredictor
from studies.evidence.regimes import REGIMES, Parts, parts
from studies.evidence.study import Study, head_config, save

from vrm.core.nuisance import NuisanceOffset, fit_nuisance_offset
from vrm.core.posteriors import Posteriors
from vrm.core.quadrature import offset_margin
from vrm.core.steering import without
from vrm.data.schema import Judgment
from vrm.data.style import STYLE_MEASURES
from vrm.train.nuisance import OffsetSettings
from vrm.train.nuisance import fit_offset as fit_joint

TIED = "length"


def repair(study: Study, heads: tuple[str, ...], seed: int) -> None:
    """Offset (14) for every head; an objective tied to length and left out at inference for `vrm` and `gated`."""
    setup = REGIMES["shortcut"]
    rows = parts(setup, study.library, seed)
    offsets = {"offset": fit_offset(study, rows, seed, False), "offset-alone": fit_offset(study, rows, seed, True)}
    for name in heads:
        for label, offset in offsets.items():
            _with_offset(study, name, label, rows, offset, seed)
        if name in ("vrm", "gated"):
            _tied(study, name, rows, seed)


def fit_offset(study: Study, rows: Parts, seed: int, alone: bool) -> NuisanceOffset:
    """h of (14) on log length: beside a cross-fitted linear reward as `vrm train` does it, or alone."""
    train = pairs_of(rows.train)
    style = torch.from_numpy(train.style[..., :1])
    preference = torch.tensor([row.preference for row in train.judgments], dtype=torch.float64)
    if alone:
        return fit_nuisance_offset(style[:, 0], style[:, 1], preference, torch.zeros(len(train), dtype=torch.float64))
    return joint_offset(train, study.features, seed)


def joint_offset(train: Fold, features: Features, seed: int) -> NuisanceOffset:
    """h of (14) on log length, fitted beside a cross-fitted linear reward of these comparisons."""
    style = torch.from_numpy(train.style[..., :1])
    preference = torch.tensor([row.preference for row in train.judgments], dtype=torch.float64)
    _, completions = features.of(train)
    flat = completions[:, :2].flatten(0, 1)
    inputs = (completions[:, :2] - flat.mean(0)) / flat.std(0).clamp_min(1e-2)
    difference = (inputs[:, 0] - inputs[:, 1]).double()
    settings = OffsetSettings(seed=seed)
    return fit_joint(style[:, 0], style[:, 1], preference, train.groups, difference, settings=settings).offset


def with_offset(fold: Fold, offset: NuisanceOffset, factor: float) -> Fold:
    """Target margins that let u of (4) gain the offset."""
    style = torch.from_numpy(fold.style[..., :1])
    margin = torch.tensor([row.margin for row in fold.judgments], dtype=torch.float64)
    shifted = offset_margin(margin, offset(style[:, 0]), offset(style[:, 1]), factor).tolist()
    return fold.relabelled([replace(row, margin=value) for row, value in zip(fold.judgments, shifted, strict=True)])


def _with_offset(study: Study, name: str, label: str, rows: Parts, offset: NuisanceOffset, seed: int) -> None:
    if (study.output / "shortcut" / f"{name}+{label}-{seed}" / "meta.json").exists():
        return
    started, settings = time.perf_counter(), study.settings(name)
    # In full: the raters' likelihood does not identify a factor (docs/decisions/0005).
    train, held = (with_offset(pairs_of(fold), offset, 1.0) for fold in (rows.train, rows.held))
    config = head_config(study, name, train, settings)
    head = new_head(name, config, seed)
    reached = fit(head, config, study.features, (train, held), settings, seed)
    span = offset(torch.from_numpy(np.quantile(rows.train.style[:, :2, 0], [0.1, 0.9]))[:, None])
    facts = {**reached, "span": float(span[1] - span[0]), "seconds": time.perf_counter() - started}
    predictor = HeadPredictor(head, study.features)
    save(study, "shortcut", f"{name}+{label}", seed, predictor, rows, REGIMES["shortcut"], facts)


def with_tied_ratings(fold: Fold, mean: float, deviation: float) -> Fold:
    """Every completion rated by its standardized log length, under one objective."""
    column = STYLE_MEASURES.index("log_length")

    def rated(row: Judgment, style: np.ndarray) -> Judgment:
        return replace(row, ratings=[{TIED: float((value - mean) / deviation)} for value in style[:, column]])

    return fold.relabelled([rated(row, style) for row, style in zip(fold.judgments, fold.style, strict=True)])


def _tied(study: Study, name: str, rows: Parts, seed: int) -> None:
    if (study.output / "shortcut" / f"{name}+tied-{seed}" / "meta.json").exists():
        return
    started, settings = time.perf_counter(), study.settings(name)
    pairs = pairs_of(rows.train)
    length = pairs.style[..., STYLE_MEASURES.index("log_length")]
    train = with_tied_ratings(pairs, float(length.mean()), float(length.std()))
    config = head_config(study, name, train, settings)
    config.objectives_with_ratings = [TIED]
    head = new_head(name, config, seed)
    reached = fit(head, config, study.features, (train, pairs_of(rows.held)), settings, seed)
    keep = torch.tensor([objective != TIED for objective in config.objective_names])

    def left_out(found: Posteriors) -> Posteriors:
        weights, decoder = without(found.weights, found.decoder, keep)
        rating = type(found.rating_model)(
            found.rating_model.slope, found.rating_model.offset[keep], found.rating_model.scale[keep]
        )
        return Posteriors(weights, found.features, decoder, rating)

    for label, transform in (("tied", None), ("tied-without", left_out)):
        predictor = HeadPredictor(head, study.features, transform)
        facts = {**reached, "seconds": time.perf_counter() - started}
        save(study, "shortcut", f"{name}+{label}", seed, predictor, rows, REGIMES["shortcut"], facts)
