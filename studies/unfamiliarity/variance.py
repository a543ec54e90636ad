"""Does unfamiliarity help as a variance, and is it a better reason to defer than a small margin?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_expit
from sklearn.cluster import KMeans
from studies.evidence.folds import Features, Fold, joined
from studies.unfamiliarity.detect import Familiar, margins, trained, with_both
from studies.unfamiliarity.material import Home, Material
from torch import nn

from vrm.metrics import selective_accuracy

SCALES = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Tried variances, in squared log-odds, of a row as unfamiliar as the median one at home."""

GROUPS = 3
CONTROL = "constant"
Values = dict[str, np.ndarray]


def nll(margin: np.ndarray, variance: np.ndarray | float, fold: Fold) -> np.ndarray:
    """(n,) nats, by (12)."""
    shrunk = margin / np.sqrt(1.0 + np.pi / 8.0 * variance)
    label = np.array([row.preference for row in fold.judgments], dtype=float)
    return -(label * log_expit(shrunk) + (1.0 - label) * log_expit(-shrunk))


def temperature(margin: np.ndarray, fold: Fold) -> float:
    """What margins are divided by; within e^-3 to e^4."""

    def loss(log_scale: float) -> float:
        return float(nll(margin / np.exp(log_scale), 0.0, fold).mean())

    found: Any = minimize_scalar(loss, bounds=(-3.0, 4.0), method="bounded", options={"xatol": 0.01})
    return float(np.exp(found.x))


class Scaled:
    """A head with its temperature and every form in units of the median held-out row.

    Args:
        material: of the heads' configuration.
        features: of all folds.
        folds: to fit on, and to stop early and set scales by.
        name: of the head.
        seed: of its weights.
    """

    def __init__(self, material: Material, features: Features, folds: tuple[Fold, Fold], name: str, seed: int) -> None:
        self.features = features
        self.heads = {each: trained(material, features, each, folds, seed) for each in ("bt", name)}
        self.head: nn.Module = self.heads[name]
        self.forms = Familiar.of(features, folds[0], self.heads).forms()
        self.held = self.forms.pairs_of(folds[1])
        self.scale = temperature(margins(self.head, features, folds[1]), folds[1])

    def margins(self, fold: Fold) -> np.ndarray:
        """E[u] over the temperature."""
        return margins(self.head, self.features, fold) / self.scale

    def unfamiliarity(self, fold: Fold) -> Values:
        """Every form, 1 for the median held-out row; and its excess over that."""
        found: Values = {CONTROL: np.ones(len(fold))}
        for name, values in self.forms.pairs_of(fold).items():
            if name.endswith(("block", "blocks")):  # logs of squared lengths
                found[name] = np.exp(values - np.median(self.held[name]))
                found[f"{name}, excess"] = np.maximum(found[name] - 1.0, 0.0)
                continue
            median = float(np.median(self.held[name]))
            if median > 0:
                found[name] = np.maximum(values / median, 0.0)
                found[f"{name}, excess"] = np.maximum(values / median - 1.0, 0.0)
        return found

    def scores(self, fold: Fold) -> Values:
        """Every form as it is, and `both`."""
        return with_both(self.forms.pairs_of(fold), self.held)


def groups(home: Home, features: Features, seed: int) -> Iterator[tuple[Fold, Fold, Fold]]:
    """Rows to fit, held out, and of the group that is left out: sources where there are several, else clusters."""
    sources = sorted({str(row.source) for row in home.fit.judgments})
    if len(sources) > 1:
        number = {source: index % GROUPS for index, source in enumerate(sources)}
        places = [np.array([number[str(row.source)] for row in fold.judgments]) for fold in (home.fit, home.held)]
    else:
        vectors = [features.of(fold)[0].numpy() for fold in (home.fit, home.held)]
        clusters = KMeans(GROUPS, n_init=3, random_state=seed).fit(vectors[0])
        places = [clusters.predict(values) for values in vectors]
    for group in range(GROUPS):
        kept = [fold.take(np.flatnonzero(place != group)) for fold, place in zip((home.fit, home.held), places)]
        left = [fold.take(np.flatnonzero(place == group)) for fold, place in zip((home.fit, home.held), places)]
        if all(len(fold) > 1 for fold in (*kept, left[0])):
            yield kept[0], kept[1], joined(left)


def study(
    material: Material, features: Features, home: Home, name: str, seed: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """NLL at home and abroad with every form as a variance, the scale chosen by groups that were left out."""
    losses: dict[str, list[np.ndarray]] = {}
    for kept, held, left in groups(home, features, seed):
        scaled = Scaled(material, features, (kept, held), name, seed)
        margin = scaled.margins(left)
        for form, values in scaled.unfamiliarity(left).items():
            curve = np.array([nll(margin, scale * values, left).mean() for scale in SCALES])
            losses.setdefault(form, []).append(curve)
        say(f"{home.name} {name}: left out {len(left)}")
    chosen = {form: SCALES[int(np.mean(curves, axis=0).argmin())] for form, curves in losses.items()}
    final = Scaled(material, features, (home.fit, home.held), name, seed)
    folds = {"in": home.inside, **home.outside}
    result: dict[str, Any] = {"scales": chosen, "temperature": final.scale, "nll": {}}
    for place, fold in folds.items():
        margin, values = final.margins(fold), final.unfamiliarity(fold)
        result["nll"][place] = {"none": float(nll(margin, 0.0, fold).mean())} | {
            form: float(nll(margin, scale * values[form], fold).mean())
            for form, scale in chosen.items()
            if form in values
        }
    result["deferred"] = deferred(final, home.inside, home.outside)
    return result


def deferred(scaled: Scaled, inside: Fold, outside: dict[str, Fold]) -> dict[str, dict[str, float]]:
    """Accuracy on the half kept of home rows and as many foreign ones, and on the home's alone, by each signal."""
    foreign = joined(list(outside.values()))
    generator = np.random.default_rng(0)
    some = foreign.take(generator.permutation(len(foreign))[: len(inside)])
    result = {}
    for place, fold in {"mixture": joined([inside, some]), "in": inside}.items():
        margin = scaled.margins(fold)
        label = np.array([row.preference for row in fold.judgments])
        signals = {"all": np.zeros(len(fold)), "|E[u]|": np.abs(margin)}
        signals |= {name: -values for name, values in scaled.scores(fold).items()}
        result[place] = {name: selective_accuracy(margin, label, sure).at(0.5) for name, sure in signals.items()}
    return result
