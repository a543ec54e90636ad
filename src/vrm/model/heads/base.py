"""What all heads share: normalized inputs, the network of the semantic features, the decoder A and the prior."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.posteriors import Posteriors, RatingModel
from vrm.core.unfamiliarity import FamiliarTexts, Unfamiliarity
from vrm.model.heads.familiarity import Familiarity
from vrm.model.heads.inputs import InputNorm
from vrm.model.heads.spread import Spread

LOG_VARIANCE_RANGE = (-10.0, 4.0)


class HeadSettings(Protocol):
    """What a head reads of `VRMConfig`, whose docstring describes the fields."""

    num_features: int
    hidden_size_head: int
    head_dropout: float
    prior_concentration: float
    initial_log_variance: float
    models_ties: bool
    stage_parts: list[str]
    familiar_components: int
    familiar_categories: dict[str, float]

    @property
    def familiar_blocks(self) -> list[int]:
        """Blocks of the input in which texts are compared with the training texts."""

    @property
    def two_stages(self) -> bool:
        """Whether it is trained as (19) has it."""

    @property
    def num_objectives(self) -> int:
        """K."""

    @property
    def num_blocks(self) -> int:
        """Pooled vectors in the head's input."""

    @property
    def backbone_hidden_size(self) -> int:
        """Width of one of them."""

    @property
    def feature_size(self) -> int:
        """Width of the head's input."""


def two_layers(config: HeadSettings, outputs: int) -> nn.Sequential:
    """A network of one hidden layer, from the head's input to `outputs` numbers."""
    hidden = config.hidden_size_head
    first, last = nn.Linear(config.feature_size, hidden), nn.Linear(hidden, outputs)
    return nn.Sequential(first, nn.GELU(), nn.Dropout(config.head_dropout), last)


class JudgmentHead(nn.Module):
    """Base of all heads. Always float32; named `score` in the model, so that PEFT saves it.

    As it stands a head has one objective, whose weight is 1, and features without variance. Subclasses override what
    differs, and state what they can do in the class attributes.

    In two stages (19) the networks of every head give means alone, as those of a head without distributions, and
    `spread` adds what the second stage has found.

    Attributes:
        has_weight_uncertainty: whether the weights are a Dirichlet with a concentration, and not a point.
        has_feature_uncertainty: whether the semantic features have a variance.
        models_objectives: whether there are several objectives, which ratings and votes can train.
        has_parameter_uncertainty: whether rewards have a variance from doubt about the head's own parameters.
        fits_in_closed_form: whether `vrm.train.closed_form` fits it to frozen features at once, and not by steps.
        is_scalar: whether the only feature is the reward itself, with A fixed to 1. It promises that the reward is
            the last layer of `features` and nothing after it; see `with_linear_end`.
        description: what the head is, in a few words for a model card.
    """

    has_weight_uncertainty: ClassVar[bool] = False
    has_feature_uncertainty: ClassVar[bool] = False
    has_parameter_uncertainty: ClassVar[bool] = False
    models_objectives: ClassVar[bool] = False
    fits_in_closed_form: ClassVar[bool] = False
    is_scalar: ClassVar[bool] = False
    description: ClassVar[str] = ""

    def __init__(self, config: HeadSettings) -> None:
        super().__init__()
        self.num_objectives = config.num_objectives
        self.num_features = 1 if self.is_scalar else config.num_features
        self.completion_norm = InputNorm(config.num_blocks, config.backbone_hidden_size)
        self.gives_variance = self.has_feature_uncertainty and not config.two_stages
        self.features = self.feature_network(config, self.num_features * (1 + int(self.gives_variance)))
        if self.is_scalar:
            self.register_buffer("decoder", torch.ones(1, 1, dtype=torch.float32))
        else:
            self.decoder = nn.Parameter(torch.empty(self.num_objectives, self.num_features))
        prior = torch.full((self.num_objectives,), config.prior_concentration, dtype=torch.float32)
        self.register_buffer("prior_concentration", prior)
        self.initial_log_variance = config.initial_log_variance
        # c0 of (15). Models of data without ties, and those saved before it, have none: their c is 0.
        self.raw_tie_threshold = nn.Parameter(torch.zeros(())) if config.models_ties else None
        self.spread = Spread(config, self.num_features) if config.two_stages else None
        # Fitted when training has ended; models that were saved before it have none.
        self.familiarity: Familiarity | None = None
        if config.familiar_components:
            shape = len(config.familiar_blocks), config.backbone_hidden_size
            self.familiarity = Familiarity(shape, config.familiar_components, len(config.familiar_categories))
        self.familiar_blocks = config.familiar_blocks

    def feature_network(self, config: HeadSettings, outputs: int) -> nn.Module:
        """The network from a completion's input to means, and log variances where features have them."""
        return two_layers(config, outputs)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initial values: features near zero with small variance."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=1.0 / math.sqrt(module.in_features))
                nn.init.zeros_(module.bias)
            if isinstance(module, InputNorm):
                module.loc.zero_()
                module.inverse_scale.fill_(1.0)
        last = self._last_layer()
        last.weight.mul_(0.1)
        if self.gives_variance:
            last.bias[self.num_features :].fill_(self.initial_log_variance)
        if self.raw_tie_threshold is not None:
            self.raw_tie_threshold.zero_()
        if self.spread is not None:
            self.spread.reset_parameters()
        if self.is_scalar:
            self.decoder.fill_(1.0)
        else:
            nn.init.normal_(self.decoder, std=1.0 / math.sqrt(self.num_features))

    def _last_layer(self) -> nn.Linear:
        """The layer that gives the features' means, and their log variances."""
        return self.features if isinstance(self.features, nn.Linear) else self.features[-1]

    def forward(self, prompt_features: Tensor, completion_features: Tensor) -> Posteriors:
        """Distributions of a batch of judgments.

        Args:
            prompt_features: (batch, feature_size), any floating dtype.
            completion_features: (batch, num_completions, feature_size).

        Returns:
            `Posteriors` in float32.
        """
        with torch.autocast(completion_features.device.type, enabled=False):
            posteriors = Posteriors(
                self.objective_weights(prompt_features),
                self.semantic_features(completion_features),
                self.decoder,
                self.rating_model(),
                self.tie_threshold(),
                self._unfamiliarity(prompt_features, completion_features),
            )
            if self.spread is None:
                return posteriors
            return self.spread(posteriors, prompt_features, completion_features)

    def with_linear_end(self, prompt_features: Tensor, completion_features: Tensor) -> Posteriors:
        """As `forward`, with all that is linear at the head's end in A.

        Scalar heads fix A to 1. Here their A is the weights of their last layer and their features are what it reads,
        so that w . A z is the reward without its constant. `vrm certify` bounds the error of this function, and
        refuses a head of which it is another one than `forward`.

        A scalar head whose reward bends after the last layer, or adds something to it, has to override this. If
        nothing of its end is linear, `return self(prompt_features, completion_features)` does: A is then 1.
        """
        posteriors = self(prompt_features, completion_features)
        if not self.is_scalar:
            return posteriors
        with torch.autocast(completion_features.device.type, enabled=False):
            read = self.completion_norm(completion_features)
            read = read if isinstance(self.features, nn.Linear) else self.features[:-1](read)
            features = SemanticFeatures(read, torch.zeros_like(read), doubt=posteriors.features.doubt)
            return replace(posteriors, features=features, decoder=self._last_layer().weight)

    def objective_weights(self, prompt_features: Tensor) -> ObjectiveWeights:
        """Weights of the objectives, (batch, num_objectives): 1 for the only one."""
        return ObjectiveWeights(prompt_features.new_ones(prompt_features.shape[0], 1, dtype=torch.float32))

    def semantic_features(self, completion_features: Tensor) -> SemanticFeatures:
        """Features of the completions, (batch, num_completions, num_features)."""
        outputs = self.features(self.completion_norm(completion_features))
        if not self.gives_variance:
            return SemanticFeatures(outputs, torch.zeros_like(outputs))
        loc, log_variance = outputs.chunk(2, -1)
        return SemanticFeatures(loc, log_variance.clamp(*LOG_VARIANCE_RANGE).exp())

    def rating_model(self) -> RatingModel:
        """Parameters of (5): a neutral model, which nothing trains, where there are no objectives to rate."""
        one = self.prior_concentration.new_ones(self.num_objectives)
        return RatingModel(one[0], torch.zeros_like(one), one)

    def tie_threshold(self) -> Tensor | None:
        """c = softplus(c0) of (15), a scalar; None for 0."""
        return None if self.raw_tie_threshold is None else nn.functional.softplus(self.raw_tie_threshold)

    @torch.no_grad()
    def start_votes(self, tie_threshold: float, shared_variance: float | None) -> None:
        """Begin where several raters' votes are likeliest before a text is read (15).

        From the usual start, with V_z near 0, training does not come to the V_z that raters' agreement asks for. The
        features get the variance of their prior, 1, and every objective a share in the first of them.

        Args:
            tie_threshold: c > 0; heads without one leave it.
            shared_variance: V_z > 0 at equal weights; None keeps the features' variance, as heads without any do.
        """
        if self.raw_tie_threshold is not None:
            self.raw_tie_threshold.fill_(math.log(math.expm1(tie_threshold)))
        if shared_variance is not None and self.gives_variance:
            self._last_layer().bias[self.num_features :].zero_()
            mean_row = self.decoder.mean(0)
            common = 0.5 * shared_variance - mean_row[1:].square().sum()
            self.decoder[:, 0] += common.clamp_min(0.0).sqrt() - mean_row[0]

    @torch.no_grad()
    def scale_rewards(self, factor: float) -> None:
        """Multiply every reward; what the head says of ratings stays."""
        self.decoder.mul_(factor)

    def fit_inputs(self, prompt_features: Tensor, completion_features: Tensor) -> None:
        """Standardize the head's inputs by a sample of training inputs, each (rows, feature_size).

        Fewer than two rows teach nothing and change nothing: rows of votes alone have no completions.
        """
        if len(completion_features) > 1:
            self.completion_norm.fit(completion_features)

    def _unfamiliarity(self, prompt_features: Tensor, completion_features: Tensor) -> Unfamiliarity | None:
        if self.familiarity is None:
            return None
        return self.familiarity(self.compared(prompt_features), self.compared(completion_features))

    def compared(self, inputs: Tensor) -> Tensor:
        """What is compared with the training texts, of prompts or completions (..., feature_size).

        Prompts have the norm of completions here: some heads do not read them and have no other.
        """
        normed = self.completion_norm(inputs)
        blocks = normed.unflatten(-1, (self.completion_norm.num_blocks, -1))
        return blocks[..., self.familiar_blocks, :].flatten(-2)

    def keep_familiar(self, known: FamiliarTexts) -> None:
        """Keep what `known` says of the training texts, whose vectors `compared` gave."""
        count, width, components = known.completions.basis.shape
        self.familiarity = Familiarity((count, width), components, len(known.centres))
        self.familiarity.to(self.prior_concentration.device).keep(known)

    def kernel_parameters(self) -> list[nn.Parameter]:
        """Weight matrices of the networks: what weight decay may apply to (not A, biases or the rating model)."""
        return [module.weight for module in self.modules() if isinstance(module, nn.Linear)]
