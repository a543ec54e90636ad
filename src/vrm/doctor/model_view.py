"""What a model says against the labels: a guess at their noise, after confident learning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vrm.data.schema import Judgment
from vrm.doctor.findings import Check, DoctorSettings, with_ends
from vrm.doctor.rows import FileRows, evenly
from vrm.metrics import share_interval
from vrm.results.doctor import Finding, Severity
from vrm.results.formats import plural

if TYPE_CHECKING:
    from vrm.inference.engine import RewardEngine

MIN_CONFIDENCE = 0.55
"""Mean probability of the labelled side under which a model knows too little to contradict anybody."""

MIN_ROWS = 50
_HONEST = "Only honest if the model was not trained on these rows."


def confidently_contradicted(probabilities: ArrayLike) -> tuple[float, NDArray[np.bool_]]:
    """Which rows a model contradicts as confidently as it agrees on average.

    Confident learning (Northcutt, Jiang and Chuang 2021) counts a row labelled i as really j if the probability of j
    reaches the mean probability of j over the rows labelled j. The sides of a comparison are exchangeable, so there is
    one such mean: that of the labelled side.

    Args:
        probabilities: (n,) predicted probability of the side that the label prefers, in [0, 1].

    Returns:
        the mean, and (n,) bool: the probability of the other side reaches it.
    """
    labelled = np.asarray(probabilities, dtype=np.float64)
    mean = float(labelled.mean())
    return mean, 1.0 - labelled >= mean


def check_with_model(rows: FileRows, settings: DoctorSettings, engine: RewardEngine) -> Finding:
    """The share of comparisons that the model confidently contradicts, most confident first among the places."""
    wanted = {pair.row: pair.sign for pair in rows.pairs if pair.sign and rows.judgments[pair.row].is_comparison}
    looked = evenly(sorted(wanted), settings.model_rows)
    wanted_rows = [rows.judgments[row] for row in looked]
    by_place = {id(judgment): row for judgment, row in zip(wanted_rows, looked, strict=True)}
    judged, probabilities = [], []
    for judgment, first in _probabilities(engine, wanted_rows):
        row = by_place[id(judgment)]
        judged.append(row)
        probabilities.append(first if wanted[row] > 0 else 1.0 - first)
    unjudged = Check.of("model_contradicts", rows, settings)
    if len(judged) < MIN_ROWS:
        message = f"{plural(len(judged), 'comparison')} can be judged by the model; at least {MIN_ROWS} are needed."
        return unjudged.not_run(message)
    mean, against = confidently_contradicted(probabilities)
    if mean < MIN_CONFIDENCE:
        message = (
            f"The model gives the labelled side a probability of {mean:.2f} on average (under {MIN_CONFIDENCE}): it "
            "knows too little about these rows to say which labels are wrong."
        )
        return unjudged.not_run(message, {"mean_probability": mean})
    share = share_interval(against.astype(np.float64), [rows.prompts[row] for row in judged])
    # The most confident first: those are to be looked at.
    order = [judged[index] for index in np.argsort(probabilities, kind="stable") if against[index]]
    sampled = f" of a sample of {len(judged):,}" if len(judged) < len(wanted) else ""
    return Check.of("model_contradicts", rows, settings, order, len(judged)).finding(
        Severity.INFO,
        f"The model contradicts {plural(len(order), 'label')}{sampled} ({with_ends(share)}) "
        f"at least as confidently as it agrees on average (probability {mean:.2f}). A guess, not an estimate of label "
        f"noise: too high where the model is wrong, too low where it errs as the judges did. {_HONEST}",
        "Read the most confident ones (--examples) before trusting either side." if order else "",
        {"mean_probability": mean, "share_contradicted": share},
    )


def _probabilities(engine: RewardEngine, rows: list[Judgment]) -> Iterator[tuple[Judgment, float]]:
    """(judgment, P(first > second)) of the rows that the model can read."""
    import torch

    for batch in engine.stream(rows):
        indices = torch.arange(len(batch))
        logs, _ = batch.log_probabilities(indices, torch.zeros_like(indices), torch.ones_like(indices))
        yield from zip(batch.judgments, logs.double().exp().tolist(), strict=True)


def check_unfamiliar(rows: FileRows, settings: DoctorSettings, engine: RewardEngine) -> Finding:
    """The rows whose completions are least like the model's training texts, the most unfamiliar first."""
    unjudged = Check.of("unfamiliar_rows", rows, settings)
    if not engine.model.config.familiar_components:
        return unjudged.not_run("The model keeps nothing of its training texts. Models trained by this version do.")
    looked = evenly([row for row, completions in enumerate(rows.completions) if completions], settings.model_rows)
    wanted = [rows.judgments[row] for row in looked]
    by_place = {id(judgment): row for judgment, row in zip(wanted, looked, strict=True)}
    distances = {by_place[id(judgment)]: distance for judgment, distance in _distances(engine, wanted)}
    if not distances:
        return unjudged.not_run("No row has a completion that the model can read.")
    far = sorted((row for row, distance in distances.items() if distance > 1.0), key=lambda row: -distances[row])
    check = Check.of("unfamiliar_rows", rows, settings, far, len(distances))
    farthest = max(distances.values())
    values = {"median": float(np.median(list(distances.values()))), "farthest": farthest}
    listed = [{"place": rows.places([row], 1)[0], "unfamiliarity": distances[row]} for row in far[: settings.examples]]
    return check.finding(
        Severity.INFO,
        f"{plural(len(far), 'row')} of {len(distances):,} ({check.percent}) are unlike the model's training texts, the "
        f"farthest {farthest:.2f} times as far as 95 % of those. About one familiar row in ten is counted too.",
        "Its rewards rest on little there. Judge some of these rows by hand." if far else "",
        {**values, "rows": listed},
    )


def _distances(engine: RewardEngine, rows: list[Judgment]) -> Iterator[tuple[Judgment, float]]:
    """(judgment, unfamiliarity of the most unfamiliar completion) of the rows that the model can read."""
    for batch in engine.stream(rows):
        found = batch.posteriors.unfamiliarity
        assert found is not None
        farthest = found.distance.masked_fill(~batch.mask, 0.0).amax(1)
        yield from zip(batch.judgments, farthest.double().tolist(), strict=True)
