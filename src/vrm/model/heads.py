"""The head: from pooled hidden states to objective weights (1), semantic features (2) and what (3) and (5) need."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures, concentration_from_logits
from vrm.core.posteriors import MIN_RATING_SCALE, Posteriors, RatingModel
from vrm.model.configuration_vrm import VRMConfig

LOG_VARIANCE_RANGE = (-10.0, 4.0)


class InputNorm(nn.Module):
    """Layer norm of each pooled block apart, then a fixed standardization of every input.

    The buffers are zeros and ones until `fit` sets them from frozen training features: hidden states share a large
    common direction, and without it the head spends its first epochs on unlearning that.
    """

    def __init__(self, num_blocks: int, width: int) -> None:
        super().__init__()
        self.num_blocks = num_blocks
        # Named dtypes: `from_pretrained(dtype=...)` changes the default one while it builds a model.
        self.register_buffer("loc", torch.zeros(num_blocks * width, dtype=torch.float32))
        self.register_buffer("inverse_scale", torch.ones(num_blocks * width, dtype=torch.float32))

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., num_blocks * width) to the same shape, float32."""
        return (self._blockwise(inputs) - self.loc) * self.inverse_scale

    def _blockwise(self, inputs: Tensor) -> Tensor:
        blocks = inputs.float().unflatten(-1, (self.num_blocks, -1))
        return nn.functional.layer_norm(blocks, blocks.shape[-1:]).flatten(-2)

    @torch.no_grad()
    def fit(self, inputs: Tensor) -> None:
        """Set mean and scale from a sample of training inputs (rows, num_blocks * width)."""
        normed = self._blockwise(inputs)
        self.loc.copy_(normed.mean(0))
        self.inverse_scale.copy_(1.0 / normed.std(0).clamp_min(1e-2))


def _mlp(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))


class JudgmentHead(nn.Module):
    """All heads by configuration. Always float32; named `score` in the model, so that PEFT saves it.

    | head | weights | features | decoder A |
    |---|---|---|---|
    | vrm | Dirichlet of the prompt | Gaussian of prompt and completion | learned |
    | gated | softmax of the prompt, no uncertainty | deterministic | learned |
    | bottleneck | one objective | Gaussian | learned, one row |
    | mlp, bt | one objective | one deterministic feature, by an MLP or a linear map | 1 |
    """

    def __init__(self, config: VRMConfig) -> None:
        super().__init__()
        self.head = config.head
        scalar = config.head in ("mlp", "bt")
        self.num_objectives = config.num_objectives
        self.num_features = 1 if scalar else config.num_features
        self.gaussian = config.head in ("vrm", "bottleneck")
        size, hidden, dropout = config.feature_size, config.hidden_size_head, config.head_dropout
        self.completion_norm = InputNorm(config.num_blocks, config.backbone_hidden_size)
        outputs = self.num_features * (2 if self.gaussian else 1)
        self.features = nn.Linear(size, outputs) if config.head == "bt" else _mlp(size, hidden, outputs, dropout)
        if config.models_objectives:
            self.prompt_norm = InputNorm(config.num_blocks, config.backbone_hidden_size)
            self.weights = _mlp(size, hidden, self.num_objectives + int(self.gaussian), dropout)
        if scalar:
            self.register_buffer("decoder", torch.ones(1, 1, dtype=torch.float32))
        else:
            self.decoder = nn.Parameter(torch.empty(self.num_objectives, self.num_features))
        if config.models_objectives:
            self.log_rating_slope = nn.Parameter(torch.zeros(()))
            self.rating_offset = nn.Parameter(torch.zeros(self.num_objectives))
            self.raw_rating_scale = nn.Parameter(torch.zeros(self.num_objectives))
        prior = torch.full((self.num_objectives,), config.prior_concentration, dtype=torch.float32)
        self.register_buffer("prior_concentration", prior)
        self.initial_log_variance = config.initial_log_variance

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initial values: near-flat weights of total K, features near zero with small variance."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=1.0 / math.sqrt(module.in_features))
                nn.init.zeros_(module.bias)
            if isinstance(module, InputNorm):
                module.loc.zero_()
                module.inverse_scale.fill_(1.0)
        last = self.features if isinstance(self.features, nn.Linear) else self.features[-1]
        last.weight.mul_(0.1)
        if self.gaussian:
            last.bias[self.num_features :].fill_(self.initial_log_variance)
        if isinstance(self.decoder, nn.Parameter):
            nn.init.normal_(self.decoder, std=1.0 / math.sqrt(self.num_features))
        else:
            self.decoder.fill_(1.0)
        if hasattr(self, "weights"):
            self.weights[-1].weight.mul_(0.1)
            self.log_rating_slope.zero_()
            self.rating_offset.zero_()
            self.raw_rating_scale.zero_()
            if self.gaussian:
                self.weights[-1].bias[-1] = math.log(self.num_objectives)

    def forward(self, prompt_features: Tensor, completion_features: Tensor) -> Posteriors:
        """Distributions of a batch of judgments.

        Args:
            prompt_features: (batch, feature_size), any floating dtype.
            completion_features: (batch, num_completions, feature_size).

        Returns:
            `Posteriors` in float32.
        """
        with torch.autocast(completion_features.device.type, enabled=False):
            return Posteriors(
                self._weights(prompt_features), self._features(completion_features), self.decoder, self.rating_model()
            )

    def _weights(self, prompt_features: Tensor) -> ObjectiveWeights:
        if not hasattr(self, "weights"):
            return ObjectiveWeights(prompt_features.new_ones(prompt_features.shape[0], 1, dtype=torch.float32))
        outputs = self.weights(self.prompt_norm(prompt_features))
        if not self.gaussian:
            return ObjectiveWeights(outputs.softmax(-1))
        return ObjectiveWeights.from_concentration(concentration_from_logits(outputs[..., :-1], outputs[..., -1]))

    def _features(self, completion_features: Tensor) -> SemanticFeatures:
        outputs = self.features(self.completion_norm(completion_features))
        if not self.gaussian:
            return SemanticFeatures(outputs, torch.zeros_like(outputs))
        loc, log_variance = outputs.chunk(2, -1)
        return SemanticFeatures(loc, log_variance.clamp(*LOG_VARIANCE_RANGE).exp())

    def rating_model(self) -> RatingModel:
        """Parameters of (5); heads without objectives carry a neutral one that nothing trains."""
        if not hasattr(self, "log_rating_slope"):
            one = self.prior_concentration.new_ones(self.num_objectives)
            return RatingModel(one[0], torch.zeros_like(one), one)
        scale = MIN_RATING_SCALE + nn.functional.softplus(self.raw_rating_scale)
        # A copy: a parameter that is itself an output counts as unused in distributed training.
        return RatingModel(self.log_rating_slope.exp(), self.rating_offset.clone(), scale)

    def kernel_parameters(self) -> list[nn.Parameter]:
        """Weight matrices of the networks: what weight decay may apply to (not A, biases or the rating model)."""
        return [module.weight for module in self.modules() if isinstance(module, nn.Linear)]
