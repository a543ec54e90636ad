"""The tables of docs/evidence.md, as Markdown, from what `run.py` kept.

python -m studies.evidence.tables DATA > tables.md
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from studies.evidence.folds import RM_BENCH
from studies.evidence.predictions import Predicted, Store
from studies.evidence.regimes import PAIRS, seen_scenario
from studies.evidence.variants import VARIANTS

from vrm.metrics import auroc, best_of_n_curve, bootstrap_mean, top_k_recall_at_own_k

HEADS = ("bt", "mlp", "gated", "bottleneck", "vrm", "ensemble", "laplace", "bnrm")
DEV = tuple(f"{name}.dev" for name in PAIRS)
KAPPAS = (0.0, 0.5, 1.0, 2.0, 4.0)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its head."""
    head, *body = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def spread(values: Sequence[float], scale: float = 1.0, digits: int = 1) -> str:
    """Mean and standard deviation over seeds."""
    shown = [scale * value for value in values if np.isfinite(value)]
    if not shown:
        return "-"
    mean = f"{statistics.mean(shown):.{digits}f}"
    return f"{mean} ± {statistics.stdev(shown):.{digits}f}" if len(shown) > 1 else mean


Keep = Callable[[Predicted], Predicted]


def everything(predicted: Predicted) -> Predicted:
    """All comparisons of a fold."""
    return predicted


METRICS = {
    "accuracy": ("accuracy, %", 100.0, 1),
    "length-controlled": ("length-controlled accuracy, %", 100.0, 1),
    "nll": ("NLL as trained, nats", 1.0, 3),
    "nll scaled": ("NLL temperature-scaled, nats", 1.0, 3),
    "ece scaled": ("calibration error, temperature-scaled", 1.0, 3),
    "selective area": ("selective area (accuracy over all coverages), %", 100.0, 1),
}


def heads_by_folds(
    store: Store,
    regime: str,
    folds: Iterable[str],
    metrics: Sequence[str],
    heads: Sequence[str] = HEADS,
    keep: Keep = everything,
) -> str:
    """One table a metric: heads in rows, folds in columns."""
    folds, parts = list(folds), []
    done = [head for head in heads if store.seeds(regime, head)]
    values = {
        (head, fold): [keep(store.predicted(regime, head, seed, fold)).metrics() for seed in store.seeds(regime, head)]
        for head in done
        for fold in folds
    }
    for metric in metrics:
        title, scale, digits = METRICS[metric]
        rows = [[title, *(fold.removesuffix(".dev") for fold in folds)]]
        for head in done:
            cells = [spread([entry[metric] for entry in values[head, fold]], scale, digits) for fold in folds]
            rows.append([f"`{head}`", *cells])
        parts.append(markdown(rows))
    return "\n\n".join(parts)


OUTCOMES: dict[str, tuple[Callable[[Predicted], np.ndarray], float, int, float]] = {
    "accuracy, points": (lambda p: p.hits, 100.0, 1, 1.0),
    "NLL as trained, 1e-3 nats": (lambda p: p.nll(False), 1000.0, 0, -1.0),
    "NLL scaled, 1e-3 nats": (lambda p: p.nll(True), 1000.0, 0, -1.0),
}


def paired(
    store: Store, first: tuple[str, str], second: tuple[str, str], fold: str, outcome: str, keep: Keep = everything
) -> str:
    """Mean difference of two (regime, head) with its interval; bold where it counts as a win of either (section 3)."""
    function, scale, digits, better = OUTCOMES[outcome]
    seeds = sorted(set(store.seeds(*first)) & set(store.seeds(*second)))
    values = [
        np.stack([function(keep(store.predicted(*model, seed, fold))) for seed in seeds]) for model in (first, second)
    ]
    judged = ~np.isnan(values[0][0])
    labels = keep(store.predicted(*first, seeds[0], fold)).labels
    groups = [group for group, ok in zip(labels.groups, judged, strict=True) if ok]
    means = [value[:, judged].mean(0) for value in values]
    # A handful of topics cannot be resampled; the pairs are, which is too sure of itself.
    interval = bootstrap_mean(means[0] - means[1], None if len(set(groups)) < 8 else groups)
    by_seed = (values[0] - values[1])[:, judged].mean(1) * better
    agree = max((by_seed > 0).sum(), (by_seed < 0).sum())
    estimate, low, high = (scale * value for value in (interval.estimate, interval.low, interval.high))
    text = f"{estimate:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
    counts = (interval.low > 0 or interval.high < 0) and agree >= 0.8 * len(seeds)
    return f"**{text}**" if counts else text


def differences(
    store: Store, regime: str, base: str, others: Sequence[str], folds: Sequence[str], keep: Keep = everything
) -> str:
    """`base` minus each other head, fold by fold."""
    parts = []
    for outcome in OUTCOMES:
        rows = [[f"`{base}` minus ..., {outcome}", *(fold.removesuffix(".dev") for fold in folds)]]
        for other in others:
            if store.seeds(regime, other):
                cells = [paired(store, (regime, base), (regime, other), fold, outcome, keep) for fold in folds]
                rows.append([f"`{other}`", *cells])
        parts.append(markdown(rows))
    return "\n\n".join(parts)


def unseen(predicted: Predicted) -> Predicted:
    """Comparisons of rmb's scenarios that were not trained on."""
    rows = [index for index, row in enumerate(predicted.labels.judgments) if not seen_scenario(row)]
    return predicted.take(np.array(rows))


def sizes(store: Store) -> str:
    """Question (b)."""
    regimes = ("rmb-300", "rmb-1000", "rmb-3000", "rmb")
    parts = []
    for metric in ("accuracy", "nll", "nll scaled"):
        title, scale, digits = METRICS[metric]
        rows = [[title, "300", "1,000", "3,000", "7,100 (all)"]]
        for head in HEADS:
            cells = []
            for regime in regimes:
                found = [
                    store.predicted(regime, head, s, "rmb.dev").metrics()[metric] for s in store.seeds(regime, head)
                ]
                cells.append(spread(found, scale, digits))
            rows.append([f"`{head}`", *cells])
        parts.append(markdown(rows))
    return "\n\n".join(parts)


def shortcut(store: Store) -> str:
    """Question (d)."""
    names = [
        f"{head}{repair}" for head in HEADS for repair in ("", "+offset", "+offset-alone", "+tied", "+tied-without")
    ]
    rows = [
        [
            "trained under the shortcut",
            "accuracy",
            "balanced accuracy",
            "NLL scaled",
            "margin ~ length",
            "h, 10th to 90th",
        ]
    ]
    rows[0] += ["RM-Bench hard", "normal", "best of n, gold"]
    for name in names:
        seeds = store.seeds("shortcut", name)
        if not seeds:
            continue
        found = [store.predicted("shortcut", name, seed, "rmb.dev").metrics() for seed in seeds]
        spans = [store.meta("shortcut", name, seed).get("span", float("nan")) for seed in seeds]
        bench = [rm_bench(store, "shortcut", name, seed) for seed in seeds]
        gold = [best_of_n(store, "shortcut", name, seed, 0.0)[1].mean() for seed in seeds]
        rows.append(
            [
                f"`{name}`",
                spread([entry["accuracy"] for entry in found], 100.0),
                spread([entry["length-controlled"] for entry in found], 100.0),
                spread([entry["nll scaled"] for entry in found], 1.0, 3),
                spread([entry["length correlation"] for entry in found], 1.0, 2),
                spread(spans, 1.0, 2),
                spread([entry["hard"] for entry in bench], 100.0),
                spread([entry["normal"] for entry in bench], 100.0),
                spread(gold, 100.0),
            ]
        )
    return markdown(rows)


def rm_bench(store: Store, regime: str, head: str, seed: int) -> dict[str, float]:
    """Easy, normal and hard accuracy: mean over chat, code and safety, safety over its two files."""
    domains = {}
    for domain in RM_BENCH:
        rewards = store.arrays(regime, head, seed, f"rm-bench-{domain}")["rewards"]
        chosen, rejected = rewards[:, :3], rewards[:, 3:]
        domains[domain] = (chosen[:, :, None] > rejected[:, None, :]).mean(0)
    safety = (domains["safety-refuse"] + domains["safety-response"]) / 2
    table = (domains["chat"] + domains["code"] + safety) / 3
    lower, upper = np.tril_indices(3, -1), np.triu_indices(3, 1)
    return {
        "easy": table[lower].mean(),
        "normal": np.diag(table).mean(),
        "hard": table[upper].mean(),
        "all": table.mean(),
    }


def rm_bench_table(store: Store) -> str:
    """RM-Bench without its math file, by regime and head."""
    rows = [["RM-Bench, %", "easy", "normal", "hard"]]
    for regime in ("all", "rmb"):
        for head in HEADS:
            found = [rm_bench(store, regime, head, seed) for seed in store.seeds(regime, head)]
            cells = [spread([entry[level] for entry in found], 100.0) for level in ("easy", "normal", "hard")]
            rows.append([f"{regime}: `{head}`", *cells])
    return markdown(rows)


def best_of_n(store: Store, regime: str, head: str, seed: int, kappa: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Curves of every prompt, and the gold of the best of all completions of each."""
    found, rows = store.arrays(regime, head, seed, "bon"), store.rows("bon")
    curves = []
    for index, row in enumerate(rows):
        count = len(row["gold"])
        rewards = (found["rewards"][index] - kappa * found["spreads"][index])[:count]
        curves.append(best_of_n_curve(rewards, row["gold"]))
    return curves, np.array([curve[-1] for curve in curves])


def pessimism(store: Store, regimes: Sequence[tuple[str, str]]) -> str:
    """Question (e): gold of the best of all completions, by kappa, and its paired change."""
    rows = [["gold of the pick, %", *(f"kappa {kappa:g}" for kappa in KAPPAS), "kappa 2 minus 0, points"]]
    for regime, head in regimes:
        seeds = store.seeds(regime, head)
        if not seeds:
            continue
        gold = {k: np.stack([best_of_n(store, regime, head, seed, k)[1] for seed in seeds]) for k in KAPPAS}
        interval = bootstrap_mean(gold[2.0].mean(0) - gold[0.0].mean(0))
        change = f"{100 * interval.estimate:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
        cells = [spread(gold[kappa].mean(1).tolist(), 100.0) for kappa in KAPPAS]
        rows.append([f"{regime}: `{head}`", *cells, change])
    found = store.rows("bon")
    longest = [best_of_n_curve([len(text) for text in row["completions"]], row["gold"])[-1] for row in found]
    rows.append(["*longest completion*", f"{100 * np.mean(longest):.1f}", *["-"] * (len(KAPPAS))])
    rows.append(["*random*", f"{100 * np.mean([np.mean(row['gold']) for row in found]):.1f}", *["-"] * len(KAPPAS)])
    return markdown(rows)


def disagreement(store: Store, regime: str, heads: Sequence[str] = HEADS) -> str:
    """Question (f): AUROC of signals for the ties of finegrained_qa."""
    signals = {
        "weight uncertainty": lambda p: np.sqrt(p.variance[:, 1]),
        "its share of Var[u]": lambda p: p.variance[:, 1] / np.maximum(p.variance.sum(1), 1e-12),
        "total sd": lambda p: np.sqrt(p.variance.sum(1)),
        "closeness (-abs margin)": lambda p: -np.abs(p.margin),
        "closeness over sd": lambda p: -np.abs(p.margin) / np.sqrt(p.variance.sum(1) + 1e-12),
    }
    rows = [["AUROC for ties", *signals]]
    for head in heads:
        cells = []
        for function in signals.values():
            found = []
            for seed in store.seeds(regime, head):
                predicted = store.predicted(regime, head, seed, "finegrained_qa.dev")
                values = function(predicted)
                ties = predicted.labels.preference == 0.5
                found.append(auroc(values, ties) if np.ptp(values) > 0 else float("nan"))
            cells.append(spread(found, 1.0, 2))
        rows.append([f"`{head}`", *cells])
    return markdown(rows)


def adaptation(store: Store) -> str:
    """Question (g)."""
    entries = [entry | {"seed": path.stem} for path in sorted((store.root / "adapt").glob("*.json"))
               for entry in json.loads(path.read_text())]  # fmt: skip
    rows = [["method", "comparisons", "accuracy, %", "NLL, nats"]]
    keys = dict.fromkeys((entry["shots"], entry["method"]) for entry in entries)
    for shots, method in sorted(keys, key=lambda key: key[0]):
        chosen = [entry for entry in entries if (entry["shots"], entry["method"]) == (shots, method)]
        # Spread over seeds, each the mean of its draws.
        by_seed: dict[str, list[dict]] = {}
        for entry in chosen:
            by_seed.setdefault(entry["seed"], []).append(entry)
        cells = [
            spread([statistics.mean(e[name] for e in group) for group in by_seed.values()], scale, digits)
            for name, scale, digits in (("accuracy", 100.0, 1), ("nll", 1.0, 3))
        ]
        rows.append([method, str(shots), *cells])
    return markdown(rows)


def votes(store: Store) -> str:
    """Question (c): recall of the objectives that a row's votes name, at the row's own number of them."""
    rows = [["recall of voted objectives, %", "flask_objectives", "ukp_convarg2"]]
    for regime, head in ((r, h) for r in ("all", "ukp") for h in ("vrm", "gated", "vrm-marginal")):
        cells = []
        for fold in ("flask_objectives.dev", "ukp_convarg2.dev"):
            seeds = [s for s in store.seeds(regime, head) if store.has_votes(regime, head, s, fold)]
            found = [store.votes(regime, head, seed, fold) for seed in seeds]
            # Trained on ukp alone, a head has none of flask's objectives.
            cells.append(spread([top_k_recall_at_own_k(*table) for table in found if table[0].size], 100.0))
        if cells != ["-", "-"]:
            rows.append([f"{regime}: `{head}`", *cells])
    first = next(seed for seed in store.seeds("all", "vrm"))
    shares = [store.votes("all", "vrm", first, fold)[1] for fold in ("flask_objectives.dev", "ukp_convarg2.dev")]
    base = [top_k_recall_at_own_k(np.broadcast_to(table.mean(0), table.shape), table) for table in shares]
    rows.append(["*base rate of the fold*", *(f"{100 * value:.1f}" for value in base)])
    return markdown(rows)


def compared_regimes(store: Store, pairs: Sequence[tuple[tuple[str, str], tuple[str, str]]]) -> str:
    """One (regime, head) minus another on rmb.dev and ukp.dev, paired over prompts and averaged over seeds."""
    rows = [["", "fold", *OUTCOMES]]
    for (regime, head), (other_regime, other) in pairs:
        for fold in ("rmb.dev", "ukp_convarg2.dev"):
            joint = set(store.seeds(regime, head)) & set(store.seeds(other_regime, other))
            models = ((regime, head), (other_regime, other))
            if not joint or not all(store.has(*model, min(joint), fold) for model in models):
                continue
            cells = [paired(store, *models, fold, outcome) for outcome in OUTCOMES]
            name = f"{regime}: `{head}` minus {other_regime}: `{other}`"
            rows.append([name, fold.removesuffix(".dev"), *cells])
    return markdown(rows)


def main() -> None:
    """Print every table that there are runs for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/evidence"))
    arguments = parser.parse_args()
    store = Store(arguments.runs, arguments.data)
    main_metrics = ("accuracy", "length-controlled", "nll", "nll scaled", "ece scaled", "selective area")
    rivals = [head for head in HEADS if head != "vrm"]
    print("# Tables of the evidence study\n\nMade by `python -m studies.evidence.tables DATA`; see evidence.md.\n")
    print("### (a) in domain\n\n" + heads_by_folds(store, "all", DEV, main_metrics))
    print("\n" + differences(store, "all", "vrm", rivals, DEV))
    for regime in ("rmb", "not-rmb", "ukp"):
        print(
            f"\n### (a) trained on {regime}\n\n" + heads_by_folds(store, regime, DEV, ("accuracy", "nll", "nll scaled"))
        )
        print("\n" + differences(store, regime, "vrm", rivals, DEV))
    print("\n### (a) scenarios of rmb that were not trained on\n")
    print(heads_by_folds(store, "rmb-half-scenarios", ("rmb.dev",), main_metrics, keep=unseen))
    print("\n" + differences(store, "rmb-half-scenarios", "vrm", rivals, ("rmb.dev",), unseen))
    print("\n### (a) RM-Bench\n\n" + rm_bench_table(store))
    print("\n### (b)\n\n" + sizes(store))
    print("\n### (c)\n\n" + votes(store))
    without = [(("ukp", h), ("ukp-no-votes", h)) for h in ("vrm", "gated")]
    without += [(("all", h), ("all-no-votes", h)) for h in ("vrm", "gated")]
    print("\n" + compared_regimes(store, without))
    print("\n### (d)\n\n" + shortcut(store))
    cases = [(r, h) for r in ("all", "rmb", "shortcut") for h in ("vrm", "bottleneck", "ensemble", "laplace", "bnrm")]
    print("\n### (e)\n\n" + pessimism(store, [*cases, ("rmb", "bt"), ("rmb", "mlp"), ("rmb", "gated")]))
    print("\n### (f)\n\n" + disagreement(store, "all"))
    print("\n### (g)\n\n" + adaptation(store))
    print("\n### (h)\n")
    regimes = ("rmb", "ukp", "all")
    print(compared_regimes(store, [((regime, "vrm"), (regime, "vrm-marginal")) for regime in regimes]))
    print("\n### variants\n\n" + heads_by_folds(store, "rmb", ("rmb.dev",), main_metrics, ("vrm", *VARIANTS)))
    print("\n" + compared_regimes(store, [(("rmb", name), ("rmb", "vrm")) for name in VARIANTS]))


if __name__ == "__main__":
    main()
