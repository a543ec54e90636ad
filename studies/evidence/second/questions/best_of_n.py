"""Best of n up to 4,096 on the planted corpus, some candidates being no answers: which rewards survive it?"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from studies.evidence.second.candidates import KINDS, Candidates, draw_candidates
from studies.evidence.second.picking import merged, numbers, picked, risks, sizes
from studies.evidence.second.planted_heads import (
    MEMBERS,
    RECIPES,
    TELLS_UNFAMILIAR,
    Corpus,
    Judged,
    Reader,
    ensemble,
    judged,
)
from studies.evidence.second.study import Question, Study
from studies.evidence.tables import markdown

from vrm.metrics.best_of_n import policy_kl
from vrm.metrics.intervals import Interval, bootstrap_mean

QUICK = ("bt", "vrm (7)", "bnrm")
COUNTED = (*KINDS, "flattery")
GATED = {"labels": "gated, labels", "offset": "gated, offset"}
"""{what a head has beside pairs: `gated` with the same}."""


def run(study: Study) -> dict[str, Any]:
    """Train what is missing, judge all candidates, pick."""
    names = [name for name in (QUICK if study.quick else RECIPES) if name != "laplace" or _has_laplace()]
    per_domain, number, dev_number = (1, 16, 8) if study.quick else (1, 4096, 512)
    pools = draw_candidates("test", per_domain, number), draw_candidates("dev", 1, dev_number)
    reader = Reader(study.work)
    seeds = [
        study.piece(f"picked-{seed}-{len(pools[0])}", lambda seed=seed: _one_seed(study, reader, pools, seed, names))
        for seed in study.seed_range(5)
    ]
    fixed = {"longest": [each.length for each in pools[0]], "oracle": [each.gold for each in pools[0]]}
    fixed["random"] = [np.zeros(number)] * len(pools[0])
    lines = {name: merged([picked(np.stack(by), pools[0])]) for name, by in fixed.items()}
    lines |= {name: merged([seed["lines"][name] for seed in seeds]) for name in seeds[0]["lines"]}
    return {
        "n": list(sizes(number)),
        "seeds": len(seeds),
        "prompts": len(pools[0]),
        "candidates": number,
        "kinds": list(COUNTED),
        "penalties": {name: " ".join(str(seed["penalties"][name]) for seed in seeds) for name in seeds[0]["penalties"]},
        "lines": lines,
    }


def _has_laplace() -> bool:
    return importlib.util.find_spec("laplace") is not None


def _one_seed(
    study: Study, reader: Reader, pools: tuple[list[Candidates], ...], seed: int, names: Sequence[str]
) -> dict[str, Any]:
    """Every model of a seed by every risk."""
    corpus = Corpus(seed, study.work, 60 if study.quick else None)
    tables = [reader.table([each.judgment for each in pool]) for pool in pools]
    said = {name: _kept(study.work / f"judged-{seed}-{len(pools[0])}", name, corpus, reader, tables) for name in names}
    members = [said.pop(f"mlp {member}") for member in range(MEMBERS) if f"mlp {member}" in said]
    if members:
        said["mlp"] = members[0]
        parts = [ensemble([member[place] for member in members]) for place in range(len(pools))]
        said["ensemble, mean"], said["ensemble, worst"] = ([part[which] for part in parts] for which in range(2))
    unfamiliar = [each.unfamiliarity for each in said[TELLS_UNFAMILIAR]]
    found: dict[str, Any] = {"lines": {}, "penalties": {}}
    for name, (ours, dev) in said.items():
        ways = risks(ours, dev, pools[1], unfamiliar)
        found["penalties"][name] = ways.penalty
        found["lines"] |= {f"{name} | {risk}": picked(by, pools[0]) for risk, by in ways.lines.items()}
    return found


def _kept(folder: Path, name: str, corpus: Corpus, reader: Reader, tables: Sequence[Any]) -> list[Judged]:
    """What a model says of every pool, kept on the disk."""
    path = folder / f"{name}.npz"
    columns = [field.name for field in fields(Judged)]
    if not path.exists():
        said = judged(name, corpus, reader, tables)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            **{f"{column}{place}": getattr(each, column) for place, each in enumerate(said) for column in columns},
        )
    with np.load(path) as kept:
        return [Judged(*(kept[f"{column}{place}"] for column in columns)) for place in range(len(tables))]


def tables(document: dict[str, Any]) -> str:
    """Every head by its mean reward and under the guard; what they pick; and risks."""
    return "\n\n".join((_heads(document), _kinds(document), _risks(document)))


def _gold(document: dict[str, Any], line: str, place: int = -1) -> np.ndarray:
    return numbers(document["lines"][line]["by_prompt"])[:, place]


def _names(document: dict[str, Any]) -> list[str]:
    return [line.removesuffix(" | mean") for line in document["lines"] if line.endswith(" | mean")]


def _heads(document: dict[str, Any]) -> str:
    """Gold of the pick by the mean reward, differences at the largest n, and the same under the guard."""
    shown = [place for place, n in enumerate(document["n"]) if n in (16, 256, document["n"][-1])]
    head = ["", *(f"n = {document['n'][place]:,}" for place in shown), "interval", "peak at", "fall"]
    last = [f"guard, n = {document['n'][place]:,}" for place in shown[1:]]
    rows = [[*head, "against `bt`", "against `gated`", *last, "against `gated`", "plain alone"]]
    for line in ("random", "longest", "oracle", *(f"{name} | mean" for name in _names(document))):
        curve = numbers(document["lines"][line]["by_prompt"])
        mean, name = curve.mean(0), line.removesuffix(" | mean")
        peak, end = int(mean.argmax()), bootstrap_mean(curve[:, -1])
        same = GATED.get(name.rpartition(", ")[2], "gated")
        guarded = f"{name} | guard V"
        kept = [f"{_gold(document, guarded, place).mean():.2f}" for place in shown[1:]] if "|" in line else ["-", "-"]
        rows.append(
            [
                name,
                *(f"{mean[place]:.2f}" for place in shown),
                f"{end.low:.2f} to {end.high:.2f}",
                f"{document['n'][peak]:,}",
                f"{mean[peak] - mean[-1]:.2f}",
                *(difference(document, line, f"{other} | mean") for other in ("bt", same)),
                *kept,
                difference(document, guarded, f"{same} | guard V"),
                f"{numbers(document['lines'][line]['plain_by_prompt'])[:, -1].mean():.2f}",
            ]
        )
    return markdown(rows)


def difference(document: dict[str, Any], line: str, other: str) -> str:
    """At the largest n, paired by prompt and seed, with a star for a win or a loss."""
    if line == other or not {line, other} <= set(document["lines"]):
        return "-"
    interval = bootstrap_mean(_gold(document, line) - _gold(document, other))
    return (
        f"{interval.estimate:+.2f} ({interval.low:+.2f}, {interval.high:+.2f}){_star(document, line, other, interval)}"
    )


def _star(document: dict[str, Any], line: str, other: str, interval: Interval) -> str:
    """A star where the interval excludes zero and four of five seeds, or all of fewer, agree."""
    mine, theirs = (numbers(document["lines"][name]["by_seed"])[:, -1] for name in (line, other))
    agree = float(np.mean(np.sign(mine - theirs) == np.sign(interval.estimate)))
    return "*" if interval.low * interval.high > 0 and agree >= 0.8 else ""


def _kinds(document: dict[str, Any]) -> str:
    """Percentages of the picks, at a quarter of the largest n and there."""
    early, last = document["n"][-3], document["n"][-1]
    rows = [[f"% of the picks at n = {early:,} / {last:,}", *document["kinds"]]]
    for line in ("random", "longest", *(f"{name} | mean" for name in _names(document))):
        shares = 100 * numbers(document["lines"][line]["kinds"])
        cells = (f"{share:.0f} / {end:.0f}" for share, end in zip(shares[0], shares[-1], strict=True))
        rows.append([line.removesuffix(" | mean"), *cells])
    return markdown(rows)


def _risks(document: dict[str, Any]) -> str:
    """Gold at the largest n by risk, as a difference from the mean reward."""
    ways = list(dict.fromkeys(line.partition(" | ")[2] for line in document["lines"] if " | " in line))
    ways.remove("mean")
    rows = [["", "mean", *ways, "λ by seed"]]
    for name in _names(document):
        mean = f"{name} | mean"
        cells = [
            difference(document, f"{name} | {way}", mean) if f"{name} | {way}" in document["lines"] else ""
            for way in ways
        ]
        rows.append([name, f"{_gold(document, mean).mean():.2f}", *cells, document["penalties"][name]])
    return markdown(rows)


SHOWN = {
    # line: colour after Okabe and Ito, style, label
    "oracle": ("#000000", ":", "oracle"),
    "random": ("#888888", ":", "random"),
    "longest": ("#888888", "-.", "longest"),
    "bt | mean": ("#D55E00", "-", "bt"),
    "ensemble, mean | mean": ("#E69F00", "-", "ensemble of five mlp"),
    "gated | mean": ("#0072B2", "-", "gated"),
    "vrm (7) | mean": ("#009E73", "-", "vrm (7)"),
    "gated, labels | mean": ("#CC79A7", "-", "gated, ratings and votes"),
    "bt | guard V": ("#D55E00", "--", "bt, guarded"),
    "gated | guard V": ("#0072B2", "--", "gated, guarded"),
    "vrm (7) | guard V": ("#009E73", "--", "vrm (7), guarded"),
    "gated, labels | guard V": ("#CC79A7", "--", "gated, ratings and votes, guarded"),
}


def plot(document: dict[str, Any], folder: Path) -> Path:
    """Gold against n with the policy's KL above."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(7.2, 4.4), layout="constrained")
    for line, (color, style, label) in SHOWN.items():
        if line in document["lines"]:
            curve = numbers(document["lines"][line]["by_prompt"]).mean(0)
            panel.plot(document["n"], curve, style, color=color, label=label, linewidth=1.8)
    panel.set_xscale("log", base=2)
    ticks = document["n"][::2]
    panel.set_xticks(ticks, [f"{n:,}\n{policy_kl(n):.1f}" for n in ticks])
    panel.set_xlabel("candidates n, and below it the KL divergence from the policy in nats")
    panel.set_ylabel("gold of the pick")
    panel.grid(color="#e4e4e4", linewidth=0.6)
    panel.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "evidence-best_of_n.png"
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return path


QUESTION = Question("Best of n up to 4,096", run, tables, plot)
