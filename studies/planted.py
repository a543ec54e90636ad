"""A planted problem: judgments drawn from the model itself, and small heads that are to find it again.

Prompts and completions are feature vectors. Weights come from the prompt, features of meaning from the completion:
    w | x ~ Dir(alpha(x)),   z | y ~ N(f_y, s2 I),   ratings ~ N(A z, tau^2),   P(a > b) = sigma(w . A (z_a - z_b)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributions import Dirichlet

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures, concentration_from_logits
from vrm.core.likelihoods.base import Judgments
from vrm.core.losses import LossTerms, LossWeights, weighted_loss
from vrm.core.posteriors import Posteriors, RatingModel
from vrm.core.predictive import log_probabilities

OBJECTIVES = 4
PROMPT_FEATURES = 6
NUM_EVALUATION = 8_000


@dataclass(frozen=True)
class Truth:
    """The planted parameters. `concentration` maps prompts (batch, PROMPT_FEATURES) to alpha (batch, OBJECTIVES)."""

    concentration: Callable[[Tensor], Tensor]
    prompts: Callable[[int], Tensor]
    decoder: Tensor
    spread: float
    variance: float = 0.25
    rating_scale: float = 0.5


def softmax_truth(seed: int, total: float = 6.0, spread: float = 8.0) -> Truth:
    """Gaussian prompts, alpha = total softmax(2 W x), a diagonal-dominant A."""
    generator = torch.Generator().manual_seed(1_000 + seed)
    matrix = 2.0 * torch.randn(PROMPT_FEATURES, OBJECTIVES, generator=generator) / PROMPT_FEATURES**0.5
    return Truth(
        lambda x: 1e-2 + total * (x @ matrix).softmax(-1),
        lambda n: torch.randn(n, PROMPT_FEATURES),
        _decoder(generator),
        spread,
    )


def linear_truth(seed: int, largest_total: float = 50.0, spread: float = 3.0) -> Truth:
    """Prompts are mixtures of six domains (points of a simplex), alpha = B^T x; domain totals from 5 to the largest."""
    generator = torch.Generator().manual_seed(2_000 + seed)
    shares = (1.2 * torch.randn(PROMPT_FEATURES, OBJECTIVES, generator=generator)).softmax(-1)
    totals = torch.linspace(math.log(5.0), math.log(largest_total), PROMPT_FEATURES).exp()
    domains = 1e-2 + (totals - 1e-2 * OBJECTIVES).unsqueeze(-1) * shares
    mixture = Dirichlet(torch.full((PROMPT_FEATURES,), 0.3))
    return Truth(lambda x: x @ domains, lambda n: mixture.sample((n,)), _decoder(generator), spread)


def _decoder(generator: torch.Generator) -> Tensor:
    return torch.eye(OBJECTIVES) + 0.3 * torch.randn(OBJECTIVES, OBJECTIVES, generator=generator)


@dataclass(frozen=True)
class Pairs:
    """Judged pairs: prompts (n, PROMPT_FEATURES), texts (n, 2, OBJECTIVES), judgments and the weights behind them."""

    prompts: Tensor
    texts: Tensor
    judgments: Judgments
    weights: Tensor

    def __len__(self) -> int:
        return self.prompts.shape[0]

    def rows(self, index: Tensor) -> Pairs:
        """The pairs at these indices."""
        labels = {name: values[index] for name, values in self.judgments.labels.items()}
        part = Judgments(self.judgments.mask[index], **labels)
        return Pairs(self.prompts[index], self.texts[index], part, self.weights[index])


def draw_pairs(truth: Truth, number: int, seed: int, rated: bool = False) -> Pairs:
    """Independent judgments from the planted model, one w each; with `rated`, four of five ratings are observed."""
    torch.manual_seed(seed)
    prompts = truth.prompts(number)
    texts = truth.spread * torch.randn(number, 2, OBJECTIVES)
    z = texts + math.sqrt(truth.variance) * torch.randn_like(texts)
    scores = z @ truth.decoder.T
    # float64, as small concentrations put a share of the weights under the least float32.
    w = Dirichlet(truth.concentration(prompts).double()).sample()
    utility = (w.float() * (scores[:, 0] - scores[:, 1])).sum(-1)
    preference = torch.bernoulli(torch.sigmoid(utility))
    ratings = None
    if rated:
        ratings = scores + truth.rating_scale * torch.randn_like(scores)
        ratings[torch.rand_like(ratings) < 0.2] = math.nan
    judgments = Judgments(torch.ones(number, 2, dtype=torch.bool), preference=preference, ratings=ratings)
    return Pairs(prompts, texts, judgments, w)


def true_posteriors(truth: Truth, pairs: Pairs) -> Posteriors:
    """The planted parameters in the form in which a head gives its own."""
    k = truth.decoder.shape[0]
    rating_model = RatingModel(torch.tensor(1.0), torch.zeros(k), torch.full((k,), truth.rating_scale))
    features = SemanticFeatures(pairs.texts, torch.full_like(pairs.texts, truth.variance))
    weights = ObjectiveWeights.from_concentration(truth.concentration(pairs.prompts))
    return Posteriors(weights, features, truth.decoder, rating_model)


class Head(nn.Module):
    """(1) and (2) from features, linear but for `weights="mlp"`; A is learned unless given.

    Args:
        weights: "softmax" (logits and log total linear in x), "linear" (alpha linear in x >= 0) or "mlp".
        decoder: A, kept fixed, with mu started at the identity, since a free linear mu could undo a known A by
            permuting the objectives; or None to learn A from a random start.
    """

    def __init__(self, weights: str, decoder: Tensor | None = None) -> None:
        super().__init__()
        self.form = weights
        if weights == "linear":
            self.log_domains = nn.Parameter(torch.ones(PROMPT_FEATURES, OBJECTIVES))
        elif weights == "mlp":
            self.prompt: nn.Module = nn.Sequential(
                nn.Linear(PROMPT_FEATURES, 64), nn.GELU(), nn.Linear(64, OBJECTIVES + 1)
            )
        else:
            self.prompt = nn.Linear(PROMPT_FEATURES, OBJECTIVES + 1)
        self.decoder = nn.Parameter(torch.randn(OBJECTIVES, OBJECTIVES) * 0.5 if decoder is None else decoder.clone())
        self.decoder.requires_grad_(decoder is None)
        self.loc = nn.Linear(OBJECTIVES, OBJECTIVES)
        if decoder is not None:
            nn.init.eye_(self.loc.weight)
        self.log_variance = nn.Parameter(torch.zeros(OBJECTIVES))
        self.rating_log_slope = nn.Parameter(torch.zeros(()))
        self.rating_offset = nn.Parameter(torch.zeros(OBJECTIVES))
        self.rating_log_scale = nn.Parameter(torch.zeros(OBJECTIVES))

    def forward(self, prompts: Tensor, texts: Tensor) -> Posteriors:
        """What the head says about prompts (n, PROMPT_FEATURES) and texts (n, 2, OBJECTIVES)."""
        if self.form == "linear":
            concentration = 1e-2 + prompts @ self.log_domains.exp()
        else:
            out = self.prompt(prompts)
            concentration = concentration_from_logits(out[..., :-1], out[..., -1] + 1.5)
        loc = self.loc(texts)
        variance = self.log_variance.clamp(-8, 4).exp().expand_as(loc)
        slope, scale = self.rating_log_slope.exp(), 0.1 + self.rating_log_scale.exp()
        return Posteriors(
            ObjectiveWeights.from_concentration(concentration),
            SemanticFeatures(loc, variance),
            self.decoder,
            RatingModel(slope, self.rating_offset, scale),
        )


@dataclass(frozen=True)
class Recipe:
    """How a head is trained; `samples` are draws of w for each judgment and step."""

    loss: Callable[..., LossTerms]
    weights: LossWeights = field(default_factory=LossWeights)
    epochs: int = 40
    batch: int = 500
    samples: int = 16
    rate: float = 0.03


def train(head: Head, pairs: Pairs, recipe: Recipe, seed: int) -> float:
    """Adam under a one-cycle rate, in place; returns the mean raw weight KL of the last epoch in nats."""
    torch.manual_seed(seed)
    steps = recipe.epochs * math.ceil(len(pairs) / recipe.batch)
    optimizer = torch.optim.Adam([p for p in head.parameters() if p.requires_grad], lr=recipe.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps)
    prior = torch.ones(OBJECTIVES)
    weight_kl = 0.0
    for _ in range(recipe.epochs):
        kls = []
        for index in torch.randperm(len(pairs)).split(recipe.batch):
            part = pairs.rows(index)
            terms = recipe.loss(head(part.prompts, part.texts), part.judgments, prior, recipe.samples)
            loss = weighted_loss(terms, recipe.weights).loss.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            kls.append(terms.kl_weights.detach().mean())
        weight_kl = torch.stack(kls).mean().item()
    return weight_kl


@dataclass(frozen=True)
class Fit:
    """Held-out figures: accuracy, mean negative log-likelihood, |p - 1/2|, total concentration, weight TV distance."""

    accuracy: float
    nll: float
    decisiveness: float
    total: float
    distance: float


@torch.no_grad()
def evaluate(posteriors: Posteriors, truth: Truth, pairs: Pairs) -> Fit:
    """Figures by (8) over fixed draws; total as the geometric mean; TV between mean weights, averaged over prompts."""
    features = posteriors.features
    first, second = log_probabilities(
        posteriors.weights, features.completion(0), features.completion(1), posteriors.decoder
    )
    label = pairs.judgments.preference
    assert label is not None
    correct = ((first > second) == (label == 1)).float().mean().item()
    nll = -torch.where(label == 1, first, second).mean().item()
    expected = ObjectiveWeights.from_concentration(truth.concentration(pairs.prompts)).mean
    distance = 0.5 * (posteriors.weights.mean - expected).abs().sum(-1).mean().item()
    total = posteriors.weights.total.log().mean().exp().item()
    return Fit(correct, nll, (first.exp() - 0.5).abs().mean().item(), total, distance)
