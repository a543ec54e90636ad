"""The embedded decoder's frozen features beside the embedded encoder's, and adapters in the decoder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from studies.evidence.folds import Fold, joined
from studies.evidence.predictions import Labels, Predicted
from studies.evidence.predictors import Predictor
from studies.evidence.regimes import Parts, Regime, parts
from studies.evidence.second.adapted import Schedule, adapted
from studies.evidence.second.pooled import BACKBONES, Plain, Pooled
from studies.evidence.second.questions.never_behind import METRICS, compared, outcome
from studies.evidence.second.rivals import DEFAULTS, Rivals, kept, predictions
from studies.evidence.second.study import Question, Study
from studies.evidence.study import Study as Fits
from studies.evidence.study import train_head
from studies.evidence.tables import markdown

from vrm.metrics import length_controlled_accuracy

SOURCES = {
    "ukpconvarg1": ("ukpconvarg1",),
    "hfngs_v1": ("hfngs_v1",),
    "hh": ("hh_helpful", "hh_harmless"),
    "rmb": ("rmb",),
}
SHARES = {
    "hfngs_v1.train": 0.6,
    "hh_helpful.train": 0.2,
    "hh_harmless.train": 0.2,
    "hh_helpful.dev": 0.6,
    "hh_harmless.dev": 0.6,
    "rmb.train": 0.34,
    "rmb.dev": 0.22,
}
"""Of the prompts of a file that are read; of others all are."""

LIMITS = {"rmb": 256}
"""Tokens of a row; 512 elsewhere."""

HEADS = ("bt", "gated", "vrm", "staged")
SETTINGS = replace(DEFAULTS, batch_size=64)
SEEDS = 3
CHOSEN_BY = "gated"
"""The head whose likelihood of held-out rows chooses what of a backbone all heads are given."""

TUNED_ON = "ukpconvarg1"
SCHEDULE = Schedule(pairs=1200, batch=8, held=100, evals=5)
QUICK_SCHEDULE = Schedule(pairs=4, batch=2, held=2, evals=1)
QUICK_SOURCES = {"hh": ("hh_harmless",)}
QUICK_SHARES = {"hh_harmless.train": 0.02, "hh_harmless.dev": 0.03}
QUICK_LIMITS = {"hh_harmless": 64}
REFERENCE, OURS = BACKBONES


@dataclass(frozen=True)
class Source:
    """One source, by one backbone.

    Attributes:
        study: of the question.
        library: of this backbone.
        backbone: its name.
        name: of the source.
    """

    study: Study
    library: Plain
    backbone: str
    name: str

    @property
    def _files(self) -> tuple[str, ...]:
        return sources(self.study)[self.name]

    @property
    def test(self) -> Fold:
        """The dev folds."""
        return joined([self.library.fold(f"{name}.dev") for name in self._files])

    def rows(self, seed: int) -> Parts:
        """The training files, split by prompt."""
        return parts(Regime(self._files), self.library, seed)

    def pooled(self, choice: str) -> Pooled:
        """Some of the backbone's features."""
        return Pooled(self.library, BACKBONES[self.backbone], choice)

    def choice(self) -> dict[str, Any]:
        """What makes held-out rows of the training files likeliest, over the seeds; dev files have no say."""
        return self.study.piece(f"{self.name}-{self.backbone}-choice", self._choose)

    def _choose(self) -> dict[str, Any]:
        held: dict[str, list[float]] = {}
        for seed in self.study.seed_range(SEEDS):
            rows = self.rows(seed)
            for choice in BACKBONES[self.backbone].choices:
                fits = Fits(self.pooled(choice), self.study.work)
                _, _, reached = train_head(fits, CHOSEN_BY, rows, SETTINGS, seed)
                held.setdefault(choice, []).append(reached["held_out_nll"])
        return {"held-out NLL": held, "chosen": min(held, key=lambda choice: float(np.mean(held[choice])))}

    def heads(self) -> dict[str, dict[int, Predicted]]:
        """Every head and seed on the dev folds."""
        found: dict[str, dict[int, Predicted]] = {}
        for seed in self.study.seed_range(SEEDS):
            rivals = self.rivals(self.rows(seed), seed)
            for head in HEADS:
                made = partial(rivals.predictor, head)
                found.setdefault(head, {})[seed] = self.predicted(f"{head}-{seed}", made, rivals.rows)
        return found

    def rivals(self, rows: Parts, seed: int) -> Rivals:
        """Heads on the chosen features."""
        pooled: Any = self.pooled(self.choice()["chosen"])
        return Rivals(pooled, rows, seed, settings=SETTINGS)

    def predicted(self, name: str, make: Callable[[], Predictor], rows: Parts) -> Predicted:
        """What a model says of the dev folds; it is made where that is not kept."""
        test = self.test
        path = self.study.work / f"{self.name}-{self.backbone}-{name}.npz"
        arrays = kept(path, lambda: predictions(make(), rows.calibration, {"dev": test}))
        values = (arrays[f"dev:{what}"].astype(float) for what in ("margin", "variance", "logs", "scaled"))
        return Predicted(Labels(test.judgments), *values)


def sources(study: Study) -> dict[str, tuple[str, ...]]:
    """Files of every source."""
    return QUICK_SOURCES if study.quick else SOURCES


def libraries(study: Study) -> dict[str, Plain]:
    """The same rows for both backbones."""
    shares, limits = (QUICK_SHARES, QUICK_LIMITS) if study.quick else (SHARES, LIMITS)
    return {name: Plain(backbone, study.data, study.cache, shares, limits) for name, backbone in BACKBONES.items()}


def run(study: Study) -> dict[str, Any]:
    """Figures of every source, each done with before the next one's features are computed; adapters come last."""
    by_backbone = libraries(study)
    figures: dict[str, Any] = {"rows": {}, "choices": {}, "models": {}, "tuned": {}}
    tuning = {}
    for name in sources(study):
        both = {backbone: Source(study, library, backbone, name) for backbone, library in by_backbone.items()}
        rows, ours = both[OURS].rows(0), both[OURS]
        figures["rows"][name] = {"train": len(rows.train), "held": len(rows.held), "dev": len(ours.test)}
        figures["choices"][name] = {backbone: source.choice() for backbone, source in both.items()}
        frozen = {backbone: source.heads() for backbone, source in both.items()}
        figures["models"][name] = {head: beside(frozen[OURS][head], frozen[REFERENCE][head]) for head in HEADS}
        if study.quick or name == TUNED_ON:
            tuning[name] = both, {key: heads[CHOSEN_BY][0] for key, heads in frozen.items()}
    for name, (both, whole) in tuning.items():
        figures["tuned"][name] = tuned(both, whole)
    return figures


def tuned(both: Mapping[str, Source], whole: Mapping[str, Predicted]) -> dict[str, Any]:
    """Adapters in the decoder beside frozen features of the same pairs, and of all pairs of the split."""
    ours = both[OURS]
    study = ours.study
    schedule = QUICK_SCHEDULE if study.quick else SCHEDULE
    rows, output = schedule.rows(ours.rows(0), 0), study.work / f"{ours.name}-adapters"
    choice = ours.choice()["chosen"]
    make = partial(adapted, BACKBONES[OURS], choice, rows, schedule, SETTINGS, output)
    started = time.process_time()
    model = ours.predicted("adapters", make, rows)
    seconds = study.piece(f"{ours.name}-adapters-seconds", lambda: {"seconds": time.process_time() - started})
    rivals = {f"{backbone}, frozen, all pairs": predicted for backbone, predicted in whole.items()}
    for backbone, source in both.items():
        few = schedule.rows(source.rows(0), 0)
        frozen = source.rivals(few, 0)
        name = f"{backbone}, frozen, the same pairs"
        rivals[name] = source.predicted("few-gated", partial(frozen.predictor, CHOSEN_BY), few)
    return {
        "steps": schedule.steps,
        "pairs": len(rows.train),
        "adapters": levels({0: model}),
        "rivals": {name: beside({0: model}, {0: other}) for name, other in rivals.items()},
        **seconds,
    }


def levels(by_seed: Mapping[int, Predicted]) -> dict[str, list[float]]:
    """Every measure by seed."""
    found = {name: [float(np.nanmean(outcome(model, name))) for model in by_seed.values()] for name in METRICS}
    found["length-controlled"] = [
        length_controlled_accuracy(model.margin, model.labels.preference, *model.labels.log_lengths.T).value
        for model in by_seed.values()
    ]
    return found


def beside(ours: Mapping[int, Predicted], theirs: Mapping[int, Predicted]) -> dict[str, Any]:
    """Levels of both, and the paired difference."""
    difference = {metric: compared(ours, theirs, metric) for metric in METRICS}
    return {"ours": levels(ours), "theirs": levels(theirs), "difference": difference}


def tables(figures: dict[str, Any]) -> str:
    """What was chosen, levels of both backbones with their difference, and the adapters."""
    chosen = [["held-out NLL", "backbone", "chosen", "others"]]
    rows = [["dev", "head", REFERENCE, OURS, f"{OURS} minus {REFERENCE}: NLL scaled", "accuracy"]]
    for source, models in figures["models"].items():
        for backbone, choice in figures["choices"][source].items():
            held = {name: float(np.mean(values)) for name, values in choice["held-out NLL"].items()}
            others = [f"{name}: {value:.4f}" for name, value in held.items() if name != choice["chosen"]]
            best = f"{choice['chosen']}: {held[choice['chosen']]:.4f}"
            chosen.append([source, backbone, best, "; ".join(others)])
        for head, entry in models.items():
            name = f"{source} ({figures['rows'][source]['dev']})"
            rows.append([name, f"`{head}`", level(entry["theirs"]), level(entry["ours"]), *differences(entry)])
    blocks = [markdown(chosen), markdown(rows)]
    for source, entry in figures["tuned"].items():
        head = f"{source}: adapters, {entry['steps']} steps, {entry['pairs']} pairs: {level(entry['adapters'])}"
        beside_it = [[head, "level", "adapters minus it: NLL scaled", "accuracy"]]
        beside_it += [[name, level(rival["theirs"]), *differences(rival)] for name, rival in entry["rivals"].items()]
        blocks.append(markdown(beside_it))
    return "\n\n".join(blocks)


def level(entry: Mapping[str, list[float]]) -> str:
    """Accuracy, length-controlled, in percent, and scaled NLL, means over the seeds."""
    accuracy, controlled = (100 * np.mean(entry[name]) for name in ("accuracy", "length-controlled"))
    return f"{accuracy:.1f} / {controlled:.1f} / {np.mean(entry['scaled']):.3f}"


def differences(entry: Mapping[str, Any]) -> list[str]:
    """Of scaled NLL, in thousandths of a nat, and of accuracy, in points; bold where it counts."""
    cells = []
    for metric in ("scaled", "accuracy"):
        (factor, digits), found = METRICS[metric], entry["difference"][metric]
        estimate, low, high = (f"{factor * found[key]:+.{digits}f}" for key in ("estimate", "low", "high"))
        cells.append(f"{'**' if found['counts'] else ''}{estimate} [{low}, {high}]{'**' if found['counts'] else ''}")
    return cells


QUESTION = Question("A small language model as the backbone", run, tables)
