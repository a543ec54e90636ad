"""How each head says that several raters vote on pairs: training by (15), moments, and what is attached after."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from studies.evidence.fitting import fit, labels, new_head, posteriors
from studies.evidence.folds import Features, Fold, Library
from studies.evidence.regimes import Parts
from studies.evidence.second.rivals import DEFAULTS, MEMBERS, in_two_stages
from studies.evidence.study import Study, head_config
from studies.gaussian.material import Rows
from torch import Tensor, nn

from vrm.core.disagreement import REPORTED_NODES, PairVotes, votes_by_moments, votes_without_texts
from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.losses import LossWeights
from vrm.core.posteriors import Posteriors
from vrm.core.predictive import margin_moments, objective_scores
from vrm.core.raters import RaterVotes
from vrm.labels.judgments import vote_counts
from vrm.model.configuration_vrm import VRMConfig
from vrm.train.closed_form import fit_in_closed_form

HEADS = (
    "bt",
    "bayes",
    "mlp",
    "ensemble",
    "gated",
    "gated, V_z",
    "bottleneck",
    "vrm",
    "vrm, no text",
    "staged",
)
INDEPENDENT, AS_IS, AFTER, ANEW = "independent votes", "as is", "V_z after", "V_z anew"
QUICKENED = 10.0
"""Lone constants are learned as this many times a parameter, so that they get about as far as a network's outputs."""


def ways(name: str) -> tuple[str, ...]:
    """How a head's votes are taken together."""
    if name in ("bt", "mlp", "gated"):
        return (INDEPENDENT, AFTER)
    if name == "gated, V_z":
        return (AS_IS, ANEW)
    return (INDEPENDENT, AS_IS, AFTER) if name in ("bayes", "ensemble") else (AS_IS,)


class SharedVariance(nn.Module):
    """One V_z for all pairs, learned with the head it belongs to."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.tensor(math.log(start) / QUICKENED))

    def forward(self, found: Posteriors) -> Posteriors:
        """The variance as a doubt that the raters of a pair share."""
        loc = found.features.loc
        doubt = loc.new_zeros(*loc.shape[:-1], 1)
        first = torch.zeros_like(doubt)
        first[:, 0] = 1.0
        root = (0.5 * QUICKENED * self.log_variance).exp()
        return replace(found, features=replace(found.features, doubt=doubt + first * root))


class ConstantSpread(nn.Module):
    """Variances of the features and a total concentration that are the same for all texts."""

    def __init__(self, num_features: int, num_objectives: int) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(num_features))
        self.log_total = nn.Parameter(torch.tensor(math.log(num_objectives) / QUICKENED))

    def forward(self, found: Posteriors) -> Posteriors:
        """The means of the head with these spreads."""
        variance = (QUICKENED * self.log_variance).exp().expand_as(found.features.loc)
        concentration = (QUICKENED * self.log_total).exp() * found.weights.mean
        weights = ObjectiveWeights(found.weights.mean, concentration.clamp_min(1e-2))
        return replace(found, weights=weights, features=SemanticFeatures(found.features.loc, variance))


@dataclass
class Voters:
    """Heads of one file and seed, each fitted when it is asked for.

    Attributes:
        library: of the features.
        rows: to fit, to stop early by, and the calibration part.
        seed: of the initial weights.
        ties: whether raters may tie.
        kept: parts that the second stage kept, and its tie threshold, once it was fitted.
    """

    library: Library
    rows: Parts
    seed: int
    ties: bool
    kept: tuple[str, ...] = ()
    stage_threshold: Tensor | None = None
    _means: dict[str, tuple[nn.Module, Callable[[Posteriors], Posteriors] | None]] = field(default_factory=dict)

    @property
    def features(self) -> Features:
        """Of every fold that was loaded."""
        return self.library.features()

    def says(self, name: str) -> Callable[[Fold], RaterVotes]:
        """A head of `HEADS`, as a function from a fold to the moments and votes of its pairs."""
        if name == "ensemble":
            seeds = range(100 + MEMBERS * self.seed + 1, 100 + MEMBERS * self.seed + MEMBERS)
            members = [self._stepped("mlp", self.seed), *(self._stepped("mlp", seed) for seed in seeds)]
            return lambda fold: _together([moments(head, self.features, fold) for head, _ in members])
        head, transform = self._head(name)
        return lambda fold: moments(head, self.features, fold, transform)

    def _head(self, name: str) -> tuple[nn.Module, Callable[[Posteriors], Posteriors] | None]:
        if name == "bayes":
            return self._bayes(), None
        return (self._staged(), None) if name == "staged" else self._stepped(name, self.seed)

    def config(self, kind: str) -> VRMConfig:
        """Of a head that knows ties where there are any."""
        settings = replace(DEFAULTS, head={"models_ties": self.ties})
        return head_config(Study(self.library, Path()), kind, self.rows.train, settings)

    def _stepped(self, name: str, seed: int) -> tuple[nn.Module, Callable[[Posteriors], Posteriors] | None]:
        key = f"{name} {seed}"
        if key not in self._means:
            kind = name.partition(",")[0]
            config = self.config(kind)
            head, start = new_head(kind, config, seed), votes_without_texts(counts_of(self.rows.train))
            head.start_votes(*start)
            transform: nn.Module | None = None
            if name == "gated, V_z":
                transform = SharedVariance(start[1] or 1.0)
            elif name == "vrm, no text":
                transform = ConstantSpread(head.num_features, head.num_objectives)
            head.transform = transform
            fit(head, config, self.features, (self.rows.train, self.rows.held), DEFAULTS, seed, transform)
            self._means[key] = head, transform
        return self._means[key]

    def _bayes(self) -> nn.Module:
        config = self.config("bayes")
        head = new_head("bayes", config, self.seed)
        rows = Rows(self.rows.train, self.features, labels(self.rows.train, config))
        head.fit_inputs(*rows.sample_features(4000, self.seed))
        fit_in_closed_form(head, rows, LossWeights(), self.seed)
        return head.eval()

    def _staged(self) -> nn.Module:
        means = self._stepped("gated", self.seed)[0]
        head, stage = in_two_stages(means, self.config("vrm"), self.features, self.rows.calibration, self.seed)
        self.kept = stage.kept
        self.stage_threshold = None if head.tie_threshold() is None else head.tie_threshold().detach().double()
        return head


def counts_of(fold: Fold) -> Tensor:
    """(pairs, 3) votes for the first, for the second, ties; one judgment alone may be a vote in parts."""
    return torch.tensor(
        [
            vote_counts(row.judgments) if row.judgments else [row.preference, 1.0 - (row.preference or 0.0), 0.0]
            for row in fold.judgments
        ]
    )


@torch.no_grad()
def moments(
    head: nn.Module,
    features: Features,
    fold: Fold,
    transform: Callable[[Posteriors], Posteriors] | None = None,
) -> RaterVotes:
    """What a head says of a fold's pairs, an item a pair."""
    parts = []
    for start in range(0, len(fold), 512):
        found = posteriors(head, features, fold, transform, slice(start, start + 512))
        first, second = found.features.completion(0), found.features.completion(1)
        margin = margin_moments(found.weights, first, second, found.decoder)
        delta = objective_scores(first.loc - second.loc, found.decoder)
        parts.append(
            RaterVotes(
                torch.zeros(len(delta), dtype=torch.long),
                margin.mean.double(),
                (margin.feature_variance + margin.parameter_variance).double(),
                (margin.weight_variance + margin.interaction_variance).double(),
                delta.double(),
                torch.zeros(len(delta), 3, dtype=torch.float64),
            )
        )
    return replace(RaterVotes.concatenate(parts), counts=counts_of(fold).double())


def _together(members: list[RaterVotes]) -> RaterVotes:
    """An ensemble: the spread of its members is doubt that raters share."""
    margins = torch.stack([member.mean for member in members])
    mean = margins.mean(0)
    return replace(members[0], mean=mean, shared_variance=margins.var(0), delta=mean[:, None])


@dataclass(frozen=True)
class Attached:
    """What is fitted to a head's moments on the calibration part.

    Attributes:
        temperature: that divides margins.
        tie_threshold: c; None without ties.
        shared_variance: V_z that is added; 0 for none.
        way: of `ways`.
    """

    temperature: float
    tie_threshold: Tensor | None
    shared_variance: float
    way: str

    @classmethod
    def fitted(cls, said: RaterVotes, way: str, ties: bool) -> Attached:
        """By maximum likelihood of the votes of the calibration part."""
        start = votes_without_texts(said.counts)
        values = torch.tensor([0.0, math.log(start[0]), math.log(0.5)], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([values], max_iter=60, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            scale, threshold, variance = values.clamp(-5.0, 4.0).exp()
            moved = _moved(said, way, scale, variance if way in (AFTER, ANEW) else 0.0)
            votes = pair_votes_of(moved, threshold if ties else None)
            result = -votes.log_likelihood(said.counts).sum() / said.counts.sum()
            # Weak: nothing runs away where the likelihood is flat.
            result = result + 0.5 * (values / 3.0).square().sum() / said.counts.sum()
            result.backward()
            return result

        optimizer.step(loss)
        scale, threshold, variance = values.detach().clamp(-5.0, 4.0).exp()
        return cls(float(scale), threshold if ties else None, float(variance) if way in (AFTER, ANEW) else 0.0, way)

    def moved(self, said: RaterVotes) -> RaterVotes:
        """The moments with what is attached."""
        return _moved(said, self.way, torch.tensor(self.temperature), self.shared_variance)


def _moved(said: RaterVotes, way: str, temperature: Tensor, shared: Tensor | float) -> RaterVotes:
    if way == ANEW:
        said = replace(said, shared_variance=torch.zeros_like(said.mean))
    said = said.single if way == INDEPENDENT else said
    return replace(
        said,
        mean=said.mean / temperature,
        delta=said.delta / temperature,
        shared_variance=said.shared_variance / temperature**2 + shared,
        own_variance=said.own_variance / temperature**2,
    )


def pair_votes_of(said: RaterVotes, threshold: Tensor | None, nodes: tuple[int, int] = (16, 8)) -> PairVotes:
    """(15) of moments; one node where there is no variance."""
    shared, own = (
        count if bool((variance > 0).any()) else 1
        for count, variance in zip(nodes, (said.shared_variance, said.own_variance), strict=True)
    )
    return votes_by_moments(said.mean, said.shared_variance, said.own_variance, threshold, shared, own)


def measures(said: RaterVotes, threshold: Tensor | None) -> dict[str, np.ndarray]:
    """Of every pair: minus log-likelihoods in nats, sums over its votes, and what may tell disagreement and ties."""
    votes = pair_votes_of(said, threshold, REPORTED_NODES)
    joint = votes.log_likelihood(said.counts)
    following = torch.zeros_like(joint)
    for outcome in range(3):
        given = said.counts[:, outcome] > 0
        fewer = said.counts.clone()
        fewer[:, outcome] -= 1.0
        change = joint - votes.log_likelihood(fewer.clamp_min(0.0))
        following += torch.where(given, said.counts[:, outcome] * change, torch.zeros_like(joint))
    found = {
        "joint": -joint,
        "share": -votes.mean_log_share(said.counts) * said.counts.sum(-1),
        "next": -following,
        "differ": votes.disagreement(),
        "tie": votes.share()[:, 2],
        "margin": said.mean,
    }
    return {name: values.numpy() for name, values in found.items()}
