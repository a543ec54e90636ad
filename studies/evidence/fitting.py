"""One training loop for every head, on features in memory: the package's heads and losses, AdamW, early stopping."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from studies.evidence.bnrm import FactorHead, factor_terms
from studies.evidence.folds import Features, Fold
from torch import Tensor, nn

from vrm.core.disagreement import pair_votes
from vrm.core.likelihoods.base import Judgments
from vrm.core.likelihoods.comparison import comparison_log_likelihood
from vrm.core.losses import LossTerms, LossWeights, marginal_terms, variational_terms, weighted_loss
from vrm.core.posteriors import Posteriors
from vrm.core.predictive import margin_moments
from vrm.data.collate import TargetEncoder
from vrm.labels.judgments import vote_counts
from vrm.model.configuration_vrm import VRMConfig
from vrm.model.heads.base import InputNorm
from vrm.model.heads.registry import head_class

Transform = Callable[[Posteriors], Posteriors]


@dataclass(frozen=True)
class Settings:
    """What tuning chooses, and what it does not."""

    learning_rate: float = 3e-4
    weight_decay: float = 0.1
    dropout: float = 0.3
    kl: float = 0.003
    epochs: int = 10
    batch_size: int = 256
    evals_per_epoch: int = 2
    patience: int = 5
    kl_warmup: float = 0.1
    votes: float = 0.3
    ratings: float = 1.0
    loss: str = "variational"
    head: dict[str, Any] = field(default_factory=dict)


class _NormedInput(InputNorm):
    """Inputs come layer-normed from `Features`; only the standardization is left."""

    def _blockwise(self, inputs: Tensor) -> Tensor:
        return inputs


def new_head(name: str, config: VRMConfig, seed: int) -> nn.Module:
    """A head with initial weights of this seed."""
    torch.manual_seed(seed)
    head = FactorHead(config) if name == "bnrm" else head_class(config.head)(config)
    head.reset_parameters()
    for norm in ("completion_norm", "prompt_norm"):
        if hasattr(head, norm):
            setattr(head, norm, _NormedInput(config.num_blocks, config.backbone_hidden_size))
    return head


def labels(fold: Fold, config: VRMConfig) -> dict[str, Tensor]:
    """Targets of every row, for the heads that have objectives."""
    names = tuple(config.objective_names) if config.models_objectives else ()
    return TargetEncoder(names, config.rating_mean, config.rating_std)(fold.judgments)


def fit(
    head: nn.Module,
    config: VRMConfig,
    features: Features,
    folds: tuple[Fold, Fold],
    settings: Settings,
    seed: int,
    transform: Transform | None = None,
) -> dict[str, float]:
    """Train in place on the first fold, keep the weights of the lowest NLL on the second; returns what it reached."""
    train, held = (usable(fold, config) for fold in folds)
    target, held_pairs = labels(train, config), pairs_of(held)
    _standardize(head, features, train, seed)
    optimizer = torch.optim.AdamW(_groups(head, settings.weight_decay), lr=settings.learning_rate)
    batches = max(1, math.ceil(len(train) / settings.batch_size))
    total = batches * settings.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _cosine(step, total))
    every = max(1, batches // settings.evals_per_epoch)
    generator = np.random.default_rng(seed)
    best, kept, waited, step = math.inf, None, 0, 0
    for _ in range(settings.epochs):
        order = generator.permutation(len(train))
        for rows in np.array_split(order, batches):
            head.train()
            loss = _loss(head, features, train, target, rows, settings, step / total, transform)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            if step % every and step != total:
                continue
            nll = held_out_nll(head, features, held_pairs, transform)
            if nll < best:
                best, waited, kept = nll, 0, {name: value.clone() for name, value in head.state_dict().items()}
            else:
                waited += 1
        if waited >= settings.patience:
            break
    assert kept is not None
    head.load_state_dict(kept)
    head.eval()
    return {"held_out_nll": best, "steps": step}


def usable(fold: Fold, config: VRMConfig) -> Fold:
    """Rows of votes alone teach only heads with objectives."""
    return fold if config.models_objectives else pairs_of(fold)


def pairs_of(fold: Fold) -> Fold:
    """Rows that are comparisons."""
    return fold.where(lambda row: row.is_comparison)


@torch.inference_mode()
def posteriors(
    head: nn.Module, features: Features, fold: Fold, transform: Transform | None = None, rows: Any = slice(None)
) -> Posteriors:
    """What a head says of some rows of a fold."""
    found = head(*features.of(fold, rows))
    return transform(found) if transform else found


@torch.inference_mode()
def held_out_nll(head: nn.Module, features: Features, fold: Fold, transform: Transform | None = None) -> float:
    """Mean NLL of comparisons by (12), in nats, target margins included: raters' likelihood where they hold (14).

    Of rows with several judgments, mean NLL of a judgment by (15).
    """
    head.eval()
    total, judgments = 0.0, 0.0
    for start in range(0, len(fold), 1024):
        rows = slice(start, start + 1024)
        found = posteriors(head, features, fold, transform, rows)
        first, second = found.features.completion(0), found.features.completion(1)
        moments = margin_moments(found.weights, first, second, found.decoder)
        target = torch.tensor([row.margin for row in fold.judgments[rows]])
        label = torch.tensor([row.preference for row in fold.judgments[rows]])
        shrunk = (moments.mean - target) / (1.0 + math.pi / 8.0 * moments.variance).sqrt()
        logs = comparison_log_likelihood(shrunk, label)
        counts = torch.tensor([vote_counts(row.judgments or []) for row in fold.judgments[rows]])
        if bool(counts.any()):
            votes = pair_votes(found.weights, first, second, found.decoder, found.tie_threshold)
            logs = torch.where(counts.sum(-1) > 0, votes.log_likelihood(counts), logs)
        total -= float(logs.sum())
        judgments += float(counts.sum(-1).clamp_min(1.0).sum())
    return total / judgments


def _loss(
    head: nn.Module,
    features: Features,
    fold: Fold,
    target: dict[str, Tensor],
    rows: np.ndarray,
    settings: Settings,
    progress: float,
    transform: Transform | None,
) -> Tensor:
    found = head(*features.of(fold, rows))
    found = transform(found) if transform else found
    index = torch.from_numpy(rows)
    judgments = Judgments(**{name: value[index] for name, value in target.items()})
    terms: LossTerms
    if isinstance(head, FactorHead):
        terms = factor_terms(head, found, judgments)
    elif settings.loss == "marginal":
        terms = marginal_terms(found, judgments, head.prior_concentration)
    else:
        terms = variational_terms(found, judgments, head.prior_concentration)
    rise = min(1.0, progress / settings.kl_warmup) if settings.kl_warmup else 1.0
    weights = LossWeights(
        {"ratings": settings.ratings, "votes": settings.votes}, settings.kl * rise, settings.kl * rise
    )
    return weighted_loss(terms, weights).loss.mean()


def _standardize(head: nn.Module, features: Features, fold: Fold, seed: int) -> None:
    chosen = fold.sample(4000, seed)
    if hasattr(head, "prompt_norm"):
        head.prompt_norm.fit(features.normed[torch.from_numpy(chosen.prompts)])
    completions = chosen.completions
    head.completion_norm.fit(features.normed[torch.from_numpy(completions[completions >= 0])])


def _groups(head: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    kernels = [module.weight for module in head.modules() if isinstance(module, nn.Linear)]
    chosen = {id(parameter) for parameter in kernels}
    others = [parameter for parameter in head.parameters() if id(parameter) not in chosen]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _cosine(step: int, total: int, warmup: float = 0.05) -> float:
    rise = max(1.0, warmup * total)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1.0, total - rise)))
