"""What models know of sources that they have not seen: distances, mappings of probabilities, and deferral."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import rankdata
from studies.evidence.fitting import pairs_of
from studies.evidence.folds import Fold
from studies.evidence.regimes import PAIRS, Parts, Regime, parts
from studies.evidence.second.distances import (
    BACKGROUND,
    FORMS,
    MOST_ROWS,
    PACKAGE,
    Background,
    Distances,
    pair_inputs,
)
from studies.evidence.second.mapping import CHANCE, CONSTANT, GROWING, Judged, Trip, learned
from studies.evidence.second.questions.never_behind import (
    ABROAD,
    ABROAD_SEEDS,
    QUICK,
    arrays_of,
    dev,
    load,
    sample,
    test_sources,
)
from studies.evidence.second.rivals import kept
from studies.evidence.second.study import Question, Study
from studies.evidence.tables import markdown

from vrm.metrics import auroc, bootstrap_mean, pairwise_hits, selective_accuracy

BY_HEAD = {"bayes": "V_e of bayes", "ensemble": "spread of ensemble"}
UNSURE = 0.58
"""Accuracy under which an honest head should pay little more than a coin."""

Values = dict[str, np.ndarray]


@dataclass
class Home:
    """What a model trains on, and all that is known of it.

    Attributes:
        name: of the home.
        seed: of split and weights.
        members: sources.
        rows: the split.
        arrays: predictions by head, as `predictions` names them.
        distances: of each form, fold and foreign source: {form: {foreign: {fold: (n,)}}}.
    """

    name: str
    seed: int
    members: tuple[str, ...]
    rows: Parts
    arrays: dict[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    distances: dict[str, dict[str, Values]] = field(default_factory=dict)


def homes_of(study: Study) -> Iterable[tuple[str, tuple[str, ...], int]]:
    """Name, sources and seed of every home."""
    for seed in study.seed_range(ABROAD_SEEDS):
        for source in QUICK if study.quick else PAIRS:
            yield source, (source,), seed


def folds_of(study: Study, home: Home) -> dict[str, Fold]:
    """Every fold that is judged: dev files, samples of foreign train files, and the home's calibration part."""
    sources = test_sources(study)
    folds = {f"{source}.dev": dev(study, source) for source in sources}
    folds |= {f"{source}.train": sample(study, source) for source in sources if source not in home.members}
    return {**folds, "calibration": pairs_of(home.rows.calibration)}


def distances_of(study: Study, home: Home, folds: Mapping[str, Fold]) -> dict[str, dict[str, Values]]:
    """Every form for every fold; `background` once for each foreign source, which it has not seen."""
    foreign = [source for source in test_sources(study) if source not in home.members]

    def make() -> Values:
        features = study.library.features()
        known = Distances.of(features, home.rows.train, home.seed)
        arrays = {}
        for name, fold in folds.items():
            arrays |= {f"{form}:{name}": values for form, values in known(fold).items()}
        inputs = {name: pair_inputs(features, known.standard, fold) for name, fold in folds.items()}
        own = pair_inputs(features, known.standard, home.rows.train.sample(MOST_ROWS, home.seed))
        for left in foreign:
            background = Background(own, [inputs[f"{source}.train"] for source in foreign if source != left])
            for name in (*(f"{member}.dev" for member in home.members), "calibration", f"{left}.dev", f"{left}.train"):
                arrays[f"{BACKGROUND}:{left}:{name}"] = background(inputs[name])
        return {name: values.astype(np.float32) for name, values in arrays.items()}

    arrays = kept(study.work / "distances" / f"{home.name.replace(' ', '-')}-{home.seed}.npz", make)
    result: dict[str, dict[str, Values]] = {}
    for form in FORMS:
        of_form = {name: arrays[f"{form}:{name}"] for name in folds}
        result[form] = dict.fromkeys(foreign, of_form)
    result[BACKGROUND] = {
        left: {name: arrays[key] for name in folds if (key := f"{BACKGROUND}:{left}:{name}") in arrays}
        for left in foreign
    }
    for head, form in BY_HEAD.items():
        variances = {name: np.log(home.arrays[head][f"{name}:variance"].clip(1e-9)) for name in folds}
        result[form] = dict.fromkeys(foreign, variances)
    return result


def at_home(home: Home, values: Values) -> np.ndarray:
    """Values of the dev files of the home's sources, one after the other."""
    return np.concatenate([values[f"{source}.dev"] for source in home.members if f"{source}.dev" in values])


def run(study: Study) -> dict[str, Any]:
    """Fit what is missing; figures of every home."""
    load(study)
    homes = []
    labels: Values = {}
    for name, members, seed in homes_of(study):
        home = Home(name, seed, members, parts(Regime(members), study.library, seed))
        folds = folds_of(study, home)
        home.arrays = dict(arrays_of(study, name, seed, dict.fromkeys(ABROAD, ABROAD_SEEDS)))
        home.distances = distances_of(study, home, folds)
        labels |= {f"{name}:{seed}:{key}": _preference(fold) for key, fold in folds.items()}
        homes.append(home)
    best = best_other(homes)
    return {
        "detection": [entry for home in homes for entry in detection(home)],
        "best other": best,
        "likelihood": [entry for head in ABROAD for entry in likelihood(head, homes, labels, best)],
        "deferral": [entry for head in ABROAD for entry in deferral(head, homes, labels)],
    }


def _preference(fold: Fold) -> np.ndarray:
    return np.array([row.preference for row in fold.judgments], dtype=float)


def detection(home: Home) -> list[dict[str, Any]]:
    """AUROC of each foreign source against the home, on dev files and on rows of train files."""
    result = []
    for form, by_foreign in home.distances.items():
        for foreign, values in by_foreign.items():
            pairs = {
                "dev": (at_home(home, values), values[f"{foreign}.dev"]),
                "train": (values["calibration"], values[f"{foreign}.train"]),
            }
            entry = {"home": home.name, "seed": home.seed, "form": form, "foreign": foreign}
            result.append({**entry, **{place: _auroc(*sides) for place, sides in pairs.items()}})
    return result


def _auroc(familiar: np.ndarray, strange: np.ndarray) -> float:
    return auroc(np.concatenate([familiar, strange]), np.repeat([0, 1], [len(familiar), len(strange)]))


def best_other(homes: list[Home]) -> str:
    """The form of the highest mean AUROC on rows of train files, the package's apart."""
    found: dict[str, list[float]] = {}
    for home in homes:
        for entry in detection(home):
            found.setdefault(entry["form"], []).append(entry["train"])
    return max((form for form in found if form != PACKAGE), key=lambda form: float(np.mean(found[form])))


def trips_of(head: str, homes: list[Home], labels: Values, form: str) -> list[Trip]:
    """Every model of a head in every place, with one form's excess."""
    result = []
    for home in homes:
        odds = {
            name.removesuffix(":scaled"): (values[:, 0] - values[:, 1]).astype(float)
            for name, values in home.arrays[head].items()
            if name.endswith(":scaled")
        }
        own = f"{home.name}:{home.seed}:"
        preference = {key.removeprefix(own): values for key, values in labels.items() if key.startswith(own)}
        for foreign, values in home.distances[form].items():
            excess = _excess(values, form)
            columns = odds, preference, excess
            calibration, learning, test = (
                Judged(*(column[name] for column in columns))
                for name in ("calibration", f"{foreign}.train", f"{foreign}.dev")
            )
            inside = Judged(*(at_home(home, column) for column in columns))
            result.append(Trip(home.name, home.members, foreign, (calibration, learning), (inside, test)))
    return result


def _excess(values: Values, form: str) -> Values:
    """By how much values exceed what one familiar text in twenty does; 0 below."""
    border, median = (float(np.quantile(values["calibration"], share)) for share in (0.95, 0.5))
    # The package's number is a log length in units of its border; others have a scale of their own.
    unit = 1.0 if form == PACKAGE else max(border - median, 1e-6)
    return {name: np.maximum(each.astype(float) - border, 0.0) / unit for name, each in values.items()}


def likelihood(head: str, homes: list[Home], labels: Values, best: str) -> list[dict[str, Any]]:
    """NLL at home and abroad of every trip, with each mapping at the value that other trips chose."""
    result: dict[int, dict[str, Any]] = {}
    for form in (PACKAGE, best):
        trips = trips_of(head, homes, labels, form)
        for mapping in (CONSTANT, GROWING, CHANCE):
            for index, (trip, value) in enumerate(learned(mapping, trips)):
                inside, abroad = trip.test
                entry = result.setdefault(
                    index,
                    {
                        "head": head,
                        "home": trip.home,
                        "foreign": trip.foreign,
                        "accuracy": float(np.nanmean(pairwise_hits(abroad.log_odds, abroad.preference))),
                        "none": [inside.nll(CONSTANT, 1.0), abroad.nll(CONSTANT, 1.0)],
                    },
                )
                name = mapping if mapping == CONSTANT else f"{mapping}, {form}"
                entry[name] = [inside.nll(mapping, value), abroad.nll(mapping, value), value]
    return list(result.values())


def deferral(head: str, homes: list[Home], labels: Values) -> list[dict[str, Any]]:
    """Accuracy on the half that is kept, of the home and of as many foreign rows as familiar ones."""
    result = []
    trips = trips_of(head, homes, labels, PACKAGE)
    mapped = {name: dict(enumerate(learned(name, trips))) for name in (GROWING,)}
    starts = iter(trips)
    for home in homes:
        for foreign, values in home.distances[PACKAGE].items():
            trip = next(starts)
            value = mapped[GROWING][len(result)][1]
            inside, abroad = trip.test
            strange = np.concatenate([at_home(home, values), values[f"{foreign}.dev"]]).astype(float)
            generator = np.random.default_rng(0)
            count = min(len(inside.log_odds), len(abroad.log_odds))
            some = np.concatenate(
                [
                    generator.permutation(len(inside.log_odds))[:count],
                    len(inside.log_odds) + generator.permutation(len(abroad.log_odds))[:count],
                ]
            )
            odds = np.concatenate([inside.log_odds, abroad.log_odds])
            final = np.concatenate([fold.mapped(GROWING, value) for fold in (inside, abroad)])
            label = np.concatenate([inside.preference, abroad.preference])
            places = {"mixture": some, "home": np.arange(len(inside.log_odds))}
            entry: dict[str, Any] = {"head": head, "home": home.name, "foreign": foreign}
            for place, rows in places.items():
                near, sure = -strange[rows], np.abs(odds[rows])
                signals = {
                    "nothing": np.zeros(len(rows)),
                    "closeness": sure,
                    "unfamiliarity": near,
                    "both ranks": rankdata(near) + rankdata(sure),
                    "mapped": np.abs(final[rows]),
                }
                entry[place] = {
                    name: selective_accuracy(odds[rows], label[rows], signal).at(0.5)
                    for name, signal in signals.items()
                }
            result.append(entry)
    return result


def _interval(values: Iterable[float], factor: float, digits: int) -> str:
    found = bootstrap_mean(list(values))
    estimate, low, high = (f"{factor * value:+.{digits}f}" for value in (found.estimate, found.low, found.high))
    return f"{estimate} [{low}, {high}]"


def _kind(home: str) -> str:
    return "all but one" if home.startswith("all but") else "one source"


def tables(figures: dict[str, Any]) -> str:
    """Detection, likelihood and deferral."""
    detected = figures["detection"]
    kinds = list(dict.fromkeys(_kind(entry["home"]) for entry in detected))
    rows = [["AUROC, dev files", *(f"{kind}: median" for kind in kinds), *(f"{kind}: share at .8" for kind in kinds)]]
    for form in dict.fromkeys(entry["form"] for entry in detected):
        by_kind = [[e["dev"] for e in detected if e["form"] == form and _kind(e["home"]) == kind] for kind in kinds]
        medians = [f"{np.median(values):.2f}" for values in by_kind]
        rows.append([form, *medians, *(f"{np.mean(np.array(values) >= 0.8):.2f}" for values in by_kind)])
    blocks = [markdown(rows), f"best other form by train files: {figures['best other']}"]
    likelihoods = figures["likelihood"]
    names = [name for name in likelihoods[0] if name not in ("head", "home", "foreign", "accuracy")]
    for kind in kinds:
        rows = [[f"{kind}: NLL", "places under 58 %", *(f"{name}: home / abroad" for name in names)]]
        for head in dict.fromkeys(entry["head"] for entry in likelihoods):
            mine = [e for e in likelihoods if e["head"] == head and _kind(e["home"]) == kind]
            low = [e for e in mine if e["accuracy"] < UNSURE]
            over = sum(e["none"][1] > 0.7 for e in low)
            cells = [
                f"{np.mean([e[name][0] for e in mine]):.3f} / {np.mean([e[name][1] for e in low]):.3f}" if low else "-"
                for name in names
            ]
            rows.append([f"`{head}`", f"{len(low)}, {over} over .70", *cells])
        blocks.append(markdown(rows))
    deferred = figures["deferral"]
    signals = list(deferred[0]["mixture"])
    for place in ("mixture", "home"):
        rows = [[f"{place}: accuracy of the half kept", *signals, "mapped minus closeness, points"]]
        for head in dict.fromkeys(entry["head"] for entry in deferred):
            mine = [entry[place] for entry in deferred if entry["head"] == head]
            means = [f"{100 * np.mean([entry[signal] for entry in mine]):.1f}" for signal in signals]
            difference = (entry["mapped"] - entry["closeness"] for entry in mine)
            rows.append([f"`{head}`", *means, _interval(difference, 100, 1)])
        blocks.append(markdown(rows))
    return "\n\n".join(blocks)


QUESTION = Question("Knowing what it has not seen", run, tables)
