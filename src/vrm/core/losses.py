"""The two losses, (7) `variational` and (7') `marginal`, as raw terms for each judgment.

Nothing here is reduced over the batch and nothing is weighted before it is named: `LossTerms` holds raw terms,
`weighted_loss` is the only place where weights meet them. What a kind of label contributes is its likelihood's
(`vrm.core.likelihoods`).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vrm.core.distributions import kl_objective_weights, kl_semantic_features
from vrm.core.likelihoods import LIKELIHOODS
from vrm.core.likelihoods.base import Evidence, Judgments, Latents, Likelihood, Outcome
from vrm.core.posteriors import Posteriors
from vrm.core.quadrature import DEFAULT_NODES


class PromptIgnoredWarning(UserWarning):
    """The KL of the objective weights to their prior is under 0.01 nats, so they no longer depend on the prompt."""


MIN_WEIGHT_KL = 0.01
"""KL of the weights to their prior, in nats, under which the prompt counts as ignored."""


def warn_if_prompt_ignored(kl_to_prior: float) -> bool:
    """Warn with `PromptIgnoredWarning` where the weights are as good as their prior; returns whether it did.

    A small KL shows that the weights are the prior's for every prompt. The converse does not hold: a large KL may be
    the same departure from the prior everywhere.

    Args:
        kl_to_prior: mean of `LossTerms.kl_weights` over judgments, in nats. Heads whose weights are a point mass have
            none, and should not be asked.
    """
    if kl_to_prior >= MIN_WEIGHT_KL:
        return False
    message = (
        f"the mean KL of the objective weights to their prior is {kl_to_prior:.2g} nats, under {MIN_WEIGHT_KL}: the "
        "weights no longer depend on the prompt. Lower loss.beta_weights, train longer, or add objective votes"
    )
    warnings.warn(message, PromptIgnoredWarning, stacklevel=2)
    return True


@dataclass(frozen=True)
class LossTerms:
    """Raw log-likelihoods and KLs, each (batch,), in nats, unweighted, zero where a judgment does not have them.

    A log-likelihood is also an attribute: `terms.votes` is `terms.log_likelihoods["votes"]`.

    Attributes:
        log_likelihoods: by kind of label.
        kl_weights: KL((1) || Dir(alpha0)).
        kl_features: KL((2) || N(0, I)), summed over the completions.
    """

    log_likelihoods: Mapping[str, Tensor]
    kl_weights: Tensor
    kl_features: Tensor

    def __getattr__(self, name: str) -> Tensor:
        try:
            return vars(self)["log_likelihoods"][name]
        except KeyError:
            raise AttributeError(f"there is no term {name!r}") from None

    def as_dict(self) -> dict[str, Tensor]:
        """The terms by name."""
        return {**self.log_likelihoods, "kl_weights": self.kl_weights, "kl_features": self.kl_features}


@dataclass(frozen=True)
class LossWeights:
    """Multipliers of the raw terms.

    Attributes:
        likelihoods: by kind of label (lambda_r, lambda_v); 1 for kinds that are not named.
        beta_weights: beta_w of (7), eta_w of (7').
        beta_features: beta_z of (7), eta_z of (7').
    """

    likelihoods: Mapping[str, float] = field(default_factory=dict)
    beta_weights: float = 0.0
    beta_features: float = 0.0


@dataclass(frozen=True)
class WeightedLoss:
    """The loss of each judgment, (batch,), and its weighted parts by name, each (batch,), signed as they enter."""

    loss: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


def weighted_loss(terms: LossTerms, weights: LossWeights) -> WeightedLoss:
    """Minus the weighted log-likelihoods plus the weighted KLs, for each judgment."""
    parts = {name: -weights.likelihoods.get(name, 1.0) * term for name, term in terms.log_likelihoods.items()}
    parts["kl_weights"] = weights.beta_weights * terms.kl_weights
    parts["kl_features"] = weights.beta_features * terms.kl_features
    return WeightedLoss(torch.stack(list(parts.values())).sum(0), parts)


def variational_terms(
    posteriors: Posteriors,
    judgments: Judgments,
    prior_concentration: Tensor,
    num_samples: int = 4,
    num_nodes: int = DEFAULT_NODES,
    likelihoods: Mapping[str, Likelihood] = LIKELIHOODS,
) -> LossTerms:
    """Terms of (7): expectations of the log-likelihoods under q, and the KLs to text-blind priors.

    Args:
        posteriors: q(w | x) and q(z | x, y).
        judgments: the outcomes.
        prior_concentration: alpha0, (num_objectives,).
        num_samples: reparameterized draws of w.
        num_nodes: Gauss-Hermite nodes for (8).
        likelihoods: by kind of label.
    """
    latents = Latents(posteriors, posteriors.weights.rsample(num_samples), num_nodes)
    terms = _Terms(posteriors, judgments, likelihoods)
    for name, likelihood in terms.present.items():
        terms.add(name, likelihood.expected(judgments, latents))
    return terms.with_kl(prior_concentration)


def marginal_terms(
    posteriors: Posteriors,
    judgments: Judgments,
    prior_concentration: Tensor,
    num_samples: int = 8,
    num_nodes: int = DEFAULT_NODES,
    likelihoods: Mapping[str, Likelihood] = LIKELIHOODS,
) -> LossTerms:
    """Terms of (7'): the likelihood of everything observed, by the chain rule evidence, then outcomes given it.

    Arguments as for `variational_terms`; the KL terms are those of the learned conditional priors to Dir(alpha0)
    and N(0, I). Votes condition w and ratings condition z, so their order does not matter. Outcomes of one row are
    taken as independent given the evidence.
    """
    terms = _Terms(posteriors, judgments, likelihoods)
    given = posteriors
    for name, likelihood in terms.present.items():
        if isinstance(likelihood, Evidence):
            log_likelihood, given = likelihood.condition(judgments, given)
            terms.add(name, log_likelihood)
    latents = Latents(given, given.weights.rsample(num_samples), num_nodes)
    for name, likelihood in terms.present.items():
        if isinstance(likelihood, Outcome):
            terms.add(name, likelihood.marginal(judgments, latents))
    return terms.with_kl(prior_concentration)


class _Terms:
    """The terms of a batch as they are filled in; zero where a row lacks the label.

    Attributes:
        present: the likelihoods whose label some row has, by name.
    """

    def __init__(self, posteriors: Posteriors, judgments: Judgments, likelihoods: Mapping[str, Likelihood]) -> None:
        self._posteriors, self._judgments = posteriors, judgments
        self._zeros = torch.zeros_like(posteriors.weights.mean[:, 0])
        self._values = dict.fromkeys(likelihoods, self._zeros)
        self._observed = {name: likelihood.observed(judgments) for name, likelihood in likelihoods.items()}
        self.present = {name: likelihoods[name] for name, rows in self._observed.items() if bool(rows.any())}

    def add(self, name: str, log_likelihood: Tensor) -> None:
        self._values[name] = torch.where(self._observed[name], log_likelihood, self._zeros)

    def with_kl(self, prior_concentration: Tensor) -> LossTerms:
        features = (kl_semantic_features(self._posteriors.features) * self._judgments.mask).sum(-1)
        return LossTerms(self._values, kl_objective_weights(self._posteriors.weights, prior_concentration), features)
