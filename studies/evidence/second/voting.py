"""From kept pieces of the question `raters` to figures with intervals, tables and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata
from studies.evidence.folds import Fold
from studies.evidence.second.voters import AFTER, ANEW, AS_IS, INDEPENDENT
from studies.evidence.tables import markdown

from vrm.metrics import Array, Interval, ResampleOptions, auroc_interval, bootstrap_totals

OPTIONS = ResampleOptions(resamples=1000)
MEASURES = ("joint", "share", "next")
AGAINST = (f"gated: {INDEPENDENT}", f"gated: {AFTER}", f"gated, V_z: {ANEW}", f"vrm, no text: {AS_IS}")
"""What every way of every head is compared with."""

TILTS = ("own thresholds", "own tilts and thresholds")
Pieces = dict[str, list[dict[str, Any]]]


def figures(test: Fold, pieces: Pieces) -> dict[str, Any]:
    """Of one file: measures of every head and way, differences, raters.

    Args:
        test: the fold that all seeds were tested on; with `--quick` its first seed's, and only means have a meaning.
        pieces: of every head, one a seed.
    """
    columns = {
        f"{head}: {way}": [{name: np.array(v) for name, v in seed["ways"][way]["pairs"].items()} for seed in found]
        for head, found in pieces.items()
        for way in found[0]["ways"]
    }
    counts = np.array(
        [[sum(j.preference == v for j in row.judgments) for v in (1.0, 0.0, 0.5)] for row in test.judgments]
    )
    result: dict[str, Any] = {
        "pairs": len(test),
        "judgments": int(counts.sum()),
        "clusters": len(set(test.groups)),
        "seeds": len(next(iter(pieces.values()))),
        "processor seconds": round(sum(seed["seconds"] for found in pieces.values() for seed in found), 1),
        "heads": {},
    }
    for key, seeds in columns.items():
        head, _, way = key.rpartition(": ")
        numbers = [seed["ways"][way]["numbers"] for seed in pieces[head]]
        entry: dict[str, Any] = {name: [_nll(seed[name], counts) for seed in seeds] for name in MEASURES}
        entry["numbers"] = {name: [round(float(one[name]), 4) for one in numbers] for name in ("T", "c", "V_z")}
        entry["minus"] = {
            other: {name: difference(seeds, columns[other], name, counts, test.groups) for name in MEASURES}
            for other in AGAINST
            if other in columns and other != key
        }
        entry |= detections(seeds, counts, test.groups)
        result["heads"][key] = entry
    result["raters"] = {
        head: raters(found) for head, found in pieces.items() if all("raters" in seed for seed in found)
    }
    result["kept"] = [seed["kept"] for seed in pieces.get("staged", [])]
    return result


def _nll(values: Array, counts: Array) -> float:
    return round(float(values.sum() / counts.sum()), 5)


def rounded(interval: Interval, digits: int = 5) -> list[float]:
    """Estimate, low, high."""
    return [round(float(value), digits) for value in (interval.estimate, interval.low, interval.high)]


def difference(
    seeds: list[dict[str, Array]], others: list[dict[str, Array]], name: str, counts: Array, groups: list[str]
) -> dict[str, Any]:
    """Nats a judgment, averaged over seeds, with its interval over prompts, and each seed's."""
    # A head of fewer seeds has the first ones.
    away = np.stack([one[name] - other[name] for one, other in zip(seeds, others, strict=False)])
    votes = counts.sum(1)
    columns = np.stack([away.mean(0), votes], axis=1)
    (interval,) = bootstrap_totals(columns, lambda totals: totals[:, :1] / totals[:, 1:], groups, OPTIONS)
    return {"interval": rounded(interval), "seeds": np.round(away.sum(1) / votes.sum(), 5).tolist()}


def detections(seeds: list[dict[str, Array]], counts: Array, groups: list[str]) -> dict[str, Any]:
    """AUROC of raters who differ, and of pairs with a tie; ranks within a seed, so that seeds can be joined."""
    differ, tied = (counts > 0).sum(1) > 1, counts[:, 2] > 0
    found = {}
    for words, positive, signal in (("differ", differ, "differ"), ("ties", tied, "tie")):
        if not 0 < positive.sum() < len(positive):
            continue
        repeated, keys = np.tile(positive, len(seeds)).astype(float), groups * len(seeds)
        own, close = (
            np.concatenate([rankdata(values) for values in columns])
            for columns in ([seed[signal] for seed in seeds], [-abs(seed["margin"]) for seed in seeds])
        )
        options = ResampleOptions(resamples=300)
        found[f"auroc of {words}"] = {
            "own": rounded(auroc_interval(own, repeated, keys, options), 4),
            "closeness": rounded(auroc_interval(close, repeated, keys, options), 4),
            "over closeness": rounded(auroc_interval(own, repeated, keys, options, close), 4),
        }
    return found


def raters(found: list[dict[str, Any]]) -> dict[str, Any]:
    """What knowing raters is worth, in nats a vote: seeds joined, intervals over prompts."""
    ways = found[0]["raters"]["ways"]
    result: dict[str, Any] = {"raters": [seed["raters"]["raters"] for seed in found]}
    for kind in ("known", "new"):
        sums = np.array([seed["raters"]["sums"][kind] for seed in found])  # (seeds, 1 + ways, prompts)
        if not sums[:, 0].any():
            continue
        place = {way: 1 + number for number, way in enumerate(ways)}
        compared = [(way, "population") for way in ways if way != "population" and (kind == "known" or "new" in way)]
        if kind == "known" and TILTS[0] in place:
            compared.append((TILTS[1], TILTS[0]))
        entry: dict[str, Any] = {
            "votes": int(sums[:, 0].sum()),
            "population": round(float(sums[:, 1].sum() / sums[:, 0].sum()), 5),
        }
        for way, other in compared:
            away = sums[:, place[way]] - sums[:, place[other]]
            columns = np.stack([away.sum(0), sums[:, 0].sum(0)], axis=1)
            (interval,) = bootstrap_totals(columns, lambda totals: totals[:, :1] / totals[:, 1:], None, OPTIONS)
            seeds = np.round(away.sum(1) / sums[:, 0].sum(1), 5).tolist()
            entry[f"{way} minus {other}"] = {"interval": rounded(interval), "seeds": seeds}
        result[kind] = entry
    return result


def cell(entry: dict[str, Any], digits: int = 4) -> str:
    """A difference with its interval; bold where it counts."""
    estimate, low, high = entry["interval"]
    text = f"{estimate:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"**{text}**" if counts_as_win(entry) else text


def counts_as_win(entry: dict[str, Any]) -> bool:
    """The interval leaves out zero, and four of five seeds, or all of fewer, agree in sign."""
    estimate, low, high = entry["interval"]
    agree = sum(value * estimate > 0 for value in entry["seeds"])
    return low * high > 0 and agree >= (4 if len(entry["seeds"]) >= 5 else len(entry["seeds"]))


def tables(document: dict[str, Any]) -> str:
    """Markdown: joint NLL and its differences, detections, raters."""
    parts = []
    for name, found in document.items():
        parts.append(
            f"**{name}**: {found['pairs']} pairs, {found['judgments']} judgments, {found['clusters']} prompts, "
            f"{found['seeds']} seeds; `staged` kept {'; '.join('+'.join(kept) or 'nothing' for kept in found['kept'])}"
        )
        header = ["head", "joint NLL", *(f"minus {other}" for other in AGAINST[:3]), "share", "next vote", "D", "ties"]
        rows = [header]
        for key, entry in found["heads"].items():
            away = [cell(entry["minus"][other]["joint"]) if other in entry["minus"] else "" for other in AGAINST[:3]]
            nll = [f"{np.mean(entry[measure]):.4f}" for measure in MEASURES]
            aurocs = [
                "{own[0]:.3f} ({over[0]:+.3f})".format(own=entry[kind]["own"], over=entry[kind]["over closeness"])
                if kind in entry
                else ""
                for kind in ("auroc of differ", "auroc of ties")
            ]
            rows.append([key, nll[0], *away, *nll[1:], *aurocs])
        parts.append(markdown(rows))
        text = found["heads"].get("vrm: as is", {}).get("minus", {}).get(AGAINST[3])
        if text:
            parts.append(f"`vrm` minus `{AGAINST[3]}`, joint: {cell(text['joint'])}")
        parts.append(_raters_table(found["raters"]))
    return "\n\n".join(parts)


def _raters_table(found: dict[str, Any]) -> str:
    names = list(
        dict.fromkeys(key for entry in found.values() for kind in ("known", "new") for key in entry.get(kind, {}))
    )
    rows = [["raters", "votes", "population", *names[2:]]]
    for head, entry in found.items():
        for kind in ("known", "new"):
            if kind in entry:
                values = entry[kind]
                away = [cell(values[name]) if name in values else "" for name in names[2:]]
                rows.append([f"{head}, {kind}", str(values["votes"]), f"{values['population']:.4f}", *away])
    return markdown(rows)


def plot(document: dict[str, Any], path: Path) -> Path:
    """Joint NLL minus that of `gated` with independent votes, by head, a panel a file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shades = {INDEPENDENT: ("#7f7f7f", "o"), AS_IS: ("#0072B2", "s"), AFTER: ("#D55E00", "^"), ANEW: ("#009E73", "D")}
    figure, axes = pyplot.subplots(1, len(document), figsize=(3.1 * len(document), 5.2), sharey=True, squeeze=False)
    keys = [key for key in next(iter(document.values()))["heads"] if key != AGAINST[0]]
    for axis, (name, found) in zip(axes[0], document.items(), strict=True):
        for place, key in enumerate(reversed(keys)):
            estimate, low, high = (
                1000 * value for value in found["heads"][key]["minus"][AGAINST[0]]["joint"]["interval"]
            )
            colour, marker = shades[key.rpartition(": ")[2]]
            axis.plot([low, high], [place, place], color=colour, linewidth=1.5)
            axis.plot(estimate, place, marker, color=colour, markersize=5)
        axis.axvline(0.0, color="black", linewidth=0.8)
        axis.set_title(f"{name}\n{found['clusters']} prompts", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(axis="x", alpha=0.3)
    axes[0][0].set_yticks(range(len(keys)), list(reversed(keys)))
    figure.supxlabel(
        "joint NLL a judgment minus that of gated with independent votes, thousandths of a nat", fontsize=9
    )
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
    return path
