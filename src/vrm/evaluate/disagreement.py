"""Does uncertainty find the pairs that judges are at odds about?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vrm.data.style import plain_text
from vrm.evaluate.collect import Collected
from vrm.evaluate.diagnostics import uncertainties
from vrm.metrics import Array, ResampleOptions, auroc_interval
from vrm.results.evaluation import Detection, DisagreementReport, SignalAuroc


def disagreement_report(collected: Collected, options: ResampleOptions) -> DisagreementReport | None:
    """AUROCs of uncertainty for ties and disagreement; None where every pair is decided, or none is."""
    first_rows, labels = _distinct(collected)
    ties = np.array([all(label == 0.5 for label in given) for given in labels], dtype=np.float64)
    mean = np.array([sum(given) / len(given) for given in labels])
    divided = ((mean > 0.0) & (mean < 1.0)).astype(np.float64)
    signals = {"closeness": -abs(np.asarray(collected.margin)), **uncertainties(collected)}
    kept = {name: values[first_rows] for name, values in signals.items()}
    groups = [collected.prompts[row] for row in first_rows]
    by_tie = _detection(kept, ties, groups, options)
    by_label = None if bool((ties == divided).all()) else _detection(kept, divided, groups, options)
    if by_tie is None and by_label is None:
        return None
    return DisagreementReport(
        pairs=len(labels),
        judged_repeatedly=sum(len(given) > 1 for given in labels),
        annotators=len({row.annotator for row, _, _ in collected.rows} - {None}),
        ties=by_tie,
        disagreement=by_label,
    )


def _distinct(collected: Collected) -> tuple[list[int], list[list[float]]]:
    """The first row of every distinct pair, and all labels of it, for the completion that sorts first."""
    first_rows: dict[tuple[str, str, str], int] = {}
    labels: dict[tuple[str, str, str], list[float]] = {}
    for index, (row, a, b) in enumerate(collected.rows):
        one, other = plain_text(row.completions[a]), plain_text(row.completions[b])
        label = collected.preference[index]
        key = (collected.prompts[index], *sorted((one, other)))
        first_rows.setdefault(key, index)
        labels.setdefault(key, []).append(label if one <= other else 1.0 - label)
    return list(first_rows.values()), list(labels.values())


def _detection(
    signals: Mapping[str, Array], positive: Array, groups: list[str], options: ResampleOptions
) -> Detection | None:
    positives = int(positive.sum())
    if not 0 < positives < len(positive):
        return None
    closeness = signals["closeness"]
    aurocs = {}
    for name, values in signals.items():
        over = None if name == "closeness" else auroc_interval(values, positive, groups, options, closeness)
        aurocs[name] = SignalAuroc(auroc_interval(values, positive, groups, options), over)
    return Detection(positives, len(positive) - positives, aurocs)
