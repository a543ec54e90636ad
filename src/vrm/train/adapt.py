"""Raters and groups are fitted to what they said (16), and held-out votes tell whether it helps to know who votes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from vrm.core.raters import FittedRaters, RaterVotes, fit_raters, vote_log_likelihood
from vrm.data.columns import JUDGE_COLUMNS
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key
from vrm.errors import CannotFollowError, DataError
from vrm.inference.engine import RewardEngine
from vrm.inference.judged import JudgedBatch
from vrm.inference.known_raters import KnownRaters
from vrm.inference.rater import rater_margins
from vrm.labels import labelled_pairs
from vrm.labels.judgments import vote_counts
from vrm.metrics import ResampleOptions, bootstrap_totals
from vrm.results.adaptation import HeldOutVotes

ANNOTATOR = JUDGE_COLUMNS[0]

FEW = 5
"""Comparisons under which a tilt is little more than the population's zero."""

NUM_FOLDS = 5


@dataclass(frozen=True)
class Adaptation:
    """Raters as they were fitted.

    Attributes:
        raters: with their tilts and thresholds.
        held_out: what knowing them is worth; None where the file has fewer than two prompts, or no rater has two votes,
            or where it was not asked for.
        unnamed: votes of nobody named, which were left out.
    """

    raters: KnownRaters
    held_out: HeldOutVotes | None
    unnamed: int


@dataclass
class CollectedVotes:
    """Votes with what the model says of their pairs, grown a batch at a time.

    Attributes:
        names: of the rater of each item.
        prompts: prompt key of each item.
        parts: the votes; their raters are numbered last.
        unnamed: votes of nobody named.
    """

    names: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    parts: list[RaterVotes] = field(default_factory=list)
    unnamed: int = 0

    def numbered(self) -> tuple[tuple[str, ...], RaterVotes]:
        """Names of the raters, those with most votes first, and all votes by their numbers.

        Raises:
            DataError: there is no vote of anybody named.
        """
        if not self.parts:
            raise DataError(f"no comparison says who judged it ({self.unnamed:,} do not): name the column with --by")
        votes = RaterVotes.concatenate(self.parts)
        totals = Counter[str]()
        for name, count in zip(self.names, votes.counts.sum(-1).tolist(), strict=True):
            totals[name] += count
        names = tuple(sorted(totals, key=lambda name: (-totals[name], name)))
        numbers = {name: number for number, name in enumerate(names)}
        return names, replace(votes, rater=torch.tensor([numbers[name] for name in self.names]))


def adapt(
    engine: RewardEngine,
    judgments: Iterable[Judgment],
    by: str = ANNOTATOR,
    options: ResampleOptions | None = None,
    progress: Callable[[str], object] = lambda text: None,
    cross_validate: bool = True,
) -> Adaptation:
    """Fit the tilts and tie thresholds of the raters of some judgments.

    Args:
        engine: without steering.
        judgments: comparisons, ranked lists and pairs with several judgments; other rows say nothing of raters.
        by: one of `vrm.data.columns.JUDGE_COLUMNS`, or the column that was read in the place of `annotator`.
        options: of the bootstrap behind the intervals of what knowing raters is worth.
        progress: called with what is being done.
        cross_validate: whether to tell what knowing raters is worth, which takes ten times as long as the fit.

    Raises:
        CannotFollowError: the model has no objectives to be weighed otherwise.
        DataError: no comparison says who judged it.
    """
    config = engine.model.config
    if not config.models_objectives:
        raise CannotFollowError(
            f"head '{config.head}' has one objective, the reward itself, so raters cannot weigh it otherwise: "
            "a head with several is needed, such as 'vrm'",
            "by",
        )
    collected, done = CollectedVotes(), 0
    for batch in engine.stream(judgments):
        collect_votes(collected, engine, batch, by)
        done += len(batch)
        progress(f"{done:,} rows judged")
    names, votes = collected.numbered()
    progress(f"fitting {len(names):,} raters")
    threshold = engine.model.score.tie_threshold()
    threshold = None if threshold is None else threshold.detach().double().cpu()
    fitted = fit_raters(votes, len(names), threshold)
    held_out = None
    if cross_validate:
        progress("predicting held-out votes")
        held_out = held_out_votes(votes, collected.prompts, fitted, options or ResampleOptions())
    counts = torch.zeros(len(names), dtype=torch.float64).index_add(0, votes.rater, votes.counts.sum(-1))
    comparisons = tuple(round(count) for count in counts.tolist())
    known = KnownRaters(by, names, comparisons, tuple(engine.objectives), fitted.map(Tensor.float))
    return Adaptation(known, held_out, collected.unnamed)


def collect_votes(collected: CollectedVotes, engine: RewardEngine, batch: JudgedBatch, by: str = ANNOTATOR) -> None:
    """Add the votes of a judged batch: one item for each rater and pair."""
    items: list[tuple[int, int, int]] = []
    counts: list[list[float]] = []
    for position, row in enumerate(batch.judgments):
        for name, first, second, given in _votes_of_row(row, by):
            if name is None:
                collected.unnamed += round(sum(given))
                continue
            collected.names.append(name)
            collected.prompts.append(prompt_key(row))
            items.append((position, first, second))
            counts.append(given)
    if not items:
        return
    rows, firsts, seconds = torch.tensor(items).unbind(1)
    moments = batch.margin_moments(rows, firsts, seconds)
    judged = [batch.judgments[position] for position, _, _ in items]
    sides = ([row.completions[item[side]] for row, item in zip(judged, items, strict=True)] for side in (1, 2))
    margins = moments.mean - torch.tensor([row.margin for row in judged]).to(moments.mean)
    part = RaterVotes(
        rater=torch.zeros_like(rows),
        mean=rater_margins(engine.model.config, margins, *sides).double(),
        shared_variance=moments.feature_variance.double(),
        own_variance=(moments.weight_variance + moments.interaction_variance).double(),
        delta=batch.score_differences(rows, firsts, seconds).double(),
        counts=torch.tensor(counts, dtype=torch.float64),
    )
    collected.parts.append(part)


def _votes_of_row(row: Judgment, by: str) -> list[tuple[str | None, int, int, list[float]]]:
    """(rater or group, positions of the first and second completion, votes) of a row."""
    of_row = getattr(row, by if by in JUDGE_COLUMNS else ANNOTATOR)
    if not row.judgments:
        return [
            (of_row, first, second, [0.0, 0.0, 1.0] if preference == 0.5 else [preference, 1.0 - preference, 0.0])
            for first, second, preference in labelled_pairs(row)
        ]
    names = row.annotators if by == ANNOTATOR else [of_row] * len(row.judgments)
    groups: dict[str | None, list[int]] = {}
    for index, name in enumerate(names):
        groups.setdefault(name, []).append(index)
    return [(name, 0, 1, vote_counts([row.judgments[i] for i in members])) for name, members in groups.items()]


def held_out_votes(
    votes: RaterVotes, prompts: Sequence[str], fitted: FittedRaters, options: ResampleOptions
) -> HeldOutVotes | None:
    """Cross-validation over prompts: each part's votes by raters that were fitted to the other parts.

    Args:
        votes: all of them.
        prompts: prompt key of each item.
        fitted: to all of them; fits of parts start there.
        options: of the bootstrap over prompts.
    """
    keys, index = np.unique(np.asarray(prompts), return_inverse=True)
    folds = min(NUM_FOLDS, len(keys))
    if folds < 2:
        return None
    order = torch.randperm(len(keys), generator=torch.Generator().manual_seed(options.seed))
    fold = (order % folds)[torch.from_numpy(index)]
    rows, logs = [], []
    for number in range(folds):
        known = torch.zeros(len(fitted.parameters), dtype=torch.bool)
        known[votes.rater[fold != number]] = True
        test = torch.nonzero((fold == number) & known[votes.rater])[:, 0]
        if len(test):
            rows.append(test)
            logs.append(_log_likelihoods(votes[fold != number], votes[test], fitted))
    if not rows:
        return None
    tested = votes[torch.cat(rows)]
    population, together, own = torch.cat(logs).unbind(1)
    counts = tested.counts.sum(-1)
    gains = torch.stack([together - population, own - together, counts], 1).numpy()
    of_all, of_each = bootstrap_totals(
        gains,
        lambda totals: totals[:, :2] / totals[:, 2:],
        [prompts[row] for row in torch.cat(rows).tolist()],
        options,
    )
    return HeldOutVotes(
        votes=round(float(counts.sum())),
        raters=len(tested.rater.unique()),
        population=-float(population.sum() / counts.sum()),
        together=of_all,
        own=of_each,
    )


def _log_likelihoods(train: RaterVotes, test: RaterVotes, fitted: FittedRaters) -> Tensor:
    """Of the test's items by the population, one fit for all raters, and one for each, (items, 3)."""
    threshold, number = fitted.prior.tie_threshold, len(fitted.parameters)
    population = vote_log_likelihood(test, None if threshold is None else threshold.expand(len(test.mean)))
    for_all = [replace(votes, rater=torch.zeros_like(votes.rater)) for votes in (train, test)]
    together = fit_raters(for_all[0], 1, threshold).log_likelihood(for_all[1])
    return torch.stack([population, together, fit_raters(train, number, threshold, fitted).log_likelihood(test)], 1)
