"""What heads with several objectives share: weights that depend on the prompt, and the rating model of (5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vrm.core.distributions import ObjectiveWeights
from vrm.core.posteriors import MIN_RATING_SCALE, RatingModel
from vrm.model.heads.base import HeadSettings, JudgmentHead, two_layers
from vrm.model.heads.inputs import InputNorm


class ObjectivesHead(JudgmentHead):
    """Base of heads whose prompt weighs several objectives; as it stands their weights have no uncertainty."""

    models_objectives = True

    def __init__(self, config: HeadSettings) -> None:
        super().__init__(config)
        self.prompt_norm = InputNorm(config.num_blocks, config.backbone_hidden_size)
        # One logit an objective, and the log of the total concentration where the weights have one.
        self.gives_concentration = self.has_weight_uncertainty and not config.two_stages
        outputs = self.num_objectives + int(self.gives_concentration)
        self.weights = two_layers(config, outputs)
        self.log_rating_slope = nn.Parameter(torch.zeros(()))
        self.rating_offset = nn.Parameter(torch.zeros(self.num_objectives))
        self.raw_rating_scale = nn.Parameter(torch.zeros(self.num_objectives))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initial values of the base, near-flat weights of total K, and a neutral rating model."""
        super().reset_parameters()
        self.weights[-1].weight.mul_(0.1)
        if self.gives_concentration:
            self.weights[-1].bias[-1] = math.log(self.num_objectives)
        self.log_rating_slope.zero_()
        self.rating_offset.zero_()
        self.raw_rating_scale.zero_()

    def objective_weights(self, prompt_features: Tensor) -> ObjectiveWeights:
        """Weights of the objectives, (batch, num_objectives), from the prompt alone."""
        outputs = self.weights(self.prompt_norm(prompt_features))
        if self.has_weight_uncertainty and not self.gives_concentration:
            return ObjectiveWeights(outputs.softmax(-1))
        return self.weights_from(outputs)

    def weights_from(self, outputs: Tensor) -> ObjectiveWeights:
        """Weights from the outputs of the prompt's network: a point, by a softmax of K logits."""
        return ObjectiveWeights(outputs.softmax(-1))

    def rating_model(self) -> RatingModel:
        """The learned parameters of (5)."""
        scale = MIN_RATING_SCALE + nn.functional.softplus(self.raw_rating_scale)
        # A copy: a parameter that is itself an output counts as unused in distributed training.
        return RatingModel(self.log_rating_slope.exp(), self.rating_offset.clone(), scale)

    @torch.no_grad()
    def start_votes(self, tie_threshold: float, shared_variance: float | None) -> None:
        """As in the base; the slope of (5) falls by as much as the scores' spread rises, so ratings keep theirs."""
        before = self._spread_of_scores()
        super().start_votes(tie_threshold, shared_variance)
        if before is not None and (after := self._spread_of_scores()) is not None:
            self.log_rating_slope.copy_(0.5 * (before / after).log())

    def _spread_of_scores(self) -> Tensor | None:
        """Variance of o_k at the start, mean over the objectives; None where features have none."""
        if not self.gives_variance:
            return None
        variance = self._last_layer().bias[self.num_features :].exp()
        return (self.decoder.square() * variance).sum(-1).mean()

    @torch.no_grad()
    def scale_rewards(self, factor: float) -> None:
        """As in the base; the slope of (5) falls by as much."""
        super().scale_rewards(factor)
        self.log_rating_slope.sub_(math.log(factor))

    def fit_inputs(self, prompt_features: Tensor, completion_features: Tensor) -> None:
        """Standardize the inputs of both networks."""
        super().fit_inputs(prompt_features, completion_features)
        if len(prompt_features) > 1:
            self.prompt_norm.fit(prompt_features)
