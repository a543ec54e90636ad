"""Configuration of a variational reward model, saved as `config.json`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from numbers import Integral, Real
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForTextEncoding,
    PretrainedConfig,
    __version__,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES,
)

from vrm.choices import BackboneKind, LossName, Pooling, RewardScale, StagePart
from vrm.core.predictive import RewardUnits
from vrm.errors import ConfigError, check_choice
from vrm.model.heads.registry import head_class
from vrm.model_files import MODEL_TYPE, check_backbone_directory, loading


class VRMConfig(PretrainedConfig):
    """What a `VRMForSequenceClassification` is made of.

    Args:
        backbone_config: configuration of the backbone, a `PretrainedConfig` or its dictionary.
        backbone_kind: `decoder` (one causal pass) or `encoder` (prompt and pair apart); None reads it off the backbone.
        backbone_name_or_path: where the backbone's weights came from.
        head: one of `vrm.choices.HEADS`.
        objectives: names of the objectives that have ratings or votes.
        num_free_objectives: further objectives without a name.
        num_features: d, the number of semantic features.
        hidden_size_head: width of the hidden layer of the head's networks.
        head_dropout: dropout in the head's networks, in [0, 1).
        prior_concentration: alpha0, the same for every objective, > 0.
        initial_log_variance: of the semantic features.
        loss: `variational` (7), `marginal` (7') or `staged` (19), which it was trained with; counts of (13) are
            pseudo-observations under the last two.
        stage_parts: what the second stage of (19) has kept, of `vrm.choices.StagePart`.
        feature_layers: hidden states that feed the head, as indices into `hidden_states` (0 is the embedding, -1 the
            last); several are concatenated.
        poolings: encoders only, any of `mean`, `max`, `cls`; several are concatenated.
        decoder_poolings: decoders only, any of `last` (the last token has seen everything), `mean`, `max`; over the
            tokens of a completion, or of a prompt where that alone is read.
        prompt_boundary_ids: token ids that end a prompt, for callers that pass ids alone.
        guarded_template: whether the saved chat template keeps messages from spelling special tokens
            (`vrm.data.template_guard`); the last match of the pattern is then the prompt's end.
        prompt_opening_id: special token that prompts begin with, kept where a long one is cut.
        conversational: whether it was trained on messages; plain text is then wrapped into messages before scoring.
        max_input_tokens: longest row in tokens.
        reward_mean: mean reward on the held-out rows.
        reward_std: standard deviation of rewards on the held-out rows, > 0.
        reward_scale: `raw` or `standardized`, which of the two `.logits` holds.
        rating_mean: by objective, of the training ratings, in their own units.
        rating_std: by objective, of the training ratings.
        objectives_with_votes: names that votes were trained on.
        objectives_with_ratings: names that ratings were trained on.
        models_ties: whether it has a tie threshold (15), learned where several raters of a pair may tie; without one
            nobody ties.
        learned_disagreement: whether two raters judged some pair of the training data. Elsewhere nothing shows what
            raters share, and how often two of them differ is not known.
        familiar_components: principal components of each block of the training texts' features that the head keeps, to
            tell texts that are unlike them, after (17); 0 keeps nothing.
        familiar_categories: {training category: median distance of its own texts to their centre}, of those whose
            centres the head keeps.
        text_digests: of the tokenizer and chat template that it was saved with; others are refused. Empty: not known.
        nuisance: offset of (14) that comparisons were trained with, as `vrm.inference.rater` reads it; rewards leave it
            out, rater metrics add it.

    Raises:
        ConfigError: for a value that is not allowed.

    Example:
        >>> from vrm import VRMConfig
        >>> VRMConfig(objectives=["helpfulness", "safety"], num_free_objectives=1).objective_names
        ['helpfulness', 'safety', 'free_1']
    """

    model_type = MODEL_TYPE
    # The trainers of `transformers` gather and concatenate everything else that the model returns.
    keys_to_ignore_at_inference = ["posteriors"]  # noqa: RUF012  (transformers reads a list)

    def __init__(
        self,
        backbone_config: PretrainedConfig | dict[str, Any] | None = None,
        backbone_kind: str | None = None,
        backbone_name_or_path: str | None = None,
        head: str = "vrm",
        objectives: list[str] | None = None,
        num_free_objectives: int = 16,
        num_features: int = 8,
        hidden_size_head: int = 128,
        head_dropout: float = 0.0,
        prior_concentration: float = 1.0,
        initial_log_variance: float = -2.0,
        loss: str = "variational",
        feature_layers: list[int] | None = None,
        poolings: list[str] | None = None,
        decoder_poolings: list[str] | None = None,
        prompt_boundary_ids: list[int] | None = None,
        guarded_template: bool = False,
        prompt_opening_id: int | None = None,
        conversational: bool = True,
        max_input_tokens: int = 1024,
        reward_mean: float = 0.0,
        reward_std: float = 1.0,
        reward_scale: str = "raw",
        rating_mean: dict[str, float] | None = None,
        rating_std: dict[str, float] | None = None,
        objectives_with_votes: list[str] | None = None,
        objectives_with_ratings: list[str] | None = None,
        nuisance: dict[str, Any] | None = None,
        models_ties: bool = False,
        learned_disagreement: bool = False,
        stage_parts: list[str] | None = None,
        familiar_components: int = 0,
        familiar_categories: dict[str, float] | None = None,
        text_digests: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        _check_fields(locals(), kwargs)
        self.backbone_config = _as_config(backbone_config)
        self.backbone_kind = backbone_kind or infer_backbone_kind(self.backbone_config)
        self.backbone_name_or_path, self.head, self.conversational = backbone_name_or_path, head, conversational
        self.objectives, self.text_digests = list(objectives or []), dict(text_digests or {})
        self.num_free_objectives, self.num_features = num_free_objectives, num_features
        self.hidden_size_head, self.head_dropout = hidden_size_head, head_dropout
        self.prior_concentration, self.initial_log_variance = prior_concentration, initial_log_variance
        self.feature_layers, self.loss, self.stage_parts = list(feature_layers or [-1]), str(loss), _texts(stage_parts)
        self.poolings, self.decoder_poolings = _texts(poolings, Pooling.MEAN), _texts(decoder_poolings, Pooling.LAST)
        self.guarded_template, self.max_input_tokens = guarded_template, max_input_tokens
        self.reward_mean, self.reward_std, self.reward_scale = reward_mean, reward_std, str(reward_scale)
        self.rating_mean, self.rating_std = dict(rating_mean or {}), dict(rating_std or {})
        self.objectives_with_votes, self.prompt_boundary_ids = _texts(objectives_with_votes), prompt_boundary_ids
        self.objectives_with_ratings, self.prompt_opening_id = _texts(objectives_with_ratings), prompt_opening_id
        self.models_ties, self.learned_disagreement, self.nuisance = models_ties, learned_disagreement, nuisance
        self.familiar_components, self.familiar_categories = familiar_components, dict(familiar_categories or {})
        # Transformers 5 has no default pad id and two labels; both would break the generic loaders.
        padding = getattr(self.backbone_config, "pad_token_id", None)
        super().__init__(**{"pad_token_id": padding, "num_labels": 1, **kwargs})
        self._validate()

    def _validate(self) -> None:
        head_class(self.head)
        check_choice("backbone_kind", self.backbone_kind, BackboneKind)
        check_choice("reward_scale", self.reward_scale, RewardScale)
        check_choice("loss", self.loss, LossName)
        for part in self.stage_parts:
            check_choice("stage_parts", part, StagePart)
        for key, other in (("poolings", Pooling.LAST), ("decoder_poolings", Pooling.CLS)):
            for pooling in getattr(self, key):
                check_choice(key, pooling, [choice for choice in Pooling if choice != other])
        if len(set(self.objective_names)) != self.num_objectives:
            raise ConfigError(f"objectives must be distinct, and not called as unnamed ones are; got {self.objectives}")
        if not self.objective_names:
            raise ConfigError(
                f"num_free_objectives is 0 and no objective has a name, but head '{self.head}' needs at least one: "
                "name some, or leave num_free_objectives at its default, 16"
            )
        for name in ("num_features", "hidden_size_head", "max_input_tokens", "prior_concentration", "reward_std"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be > 0, got {getattr(self, name)}")
        if not 0 <= self.head_dropout < 1:
            raise ConfigError(f"head_dropout must be in [0, 1), got {self.head_dropout}")
        if self.num_free_objectives < 0:
            raise ConfigError(f"num_free_objectives must be >= 0, got {self.num_free_objectives}")
        check_architecture(self.backbone_config)
        if self.num_labels != 1:
            raise ConfigError(f"num_labels must be 1 (one reward), got {self.num_labels}")

    @property
    def objective_names(self) -> list[str]:
        """Names of all objectives of the head in order; unnamed ones are `free_1`, `free_2`, ..."""
        if not self.models_objectives:
            return ["reward"]
        return self.objectives + [f"free_{index + 1}" for index in range(self.num_free_objectives)]

    @property
    def num_objectives(self) -> int:
        """K."""
        return len(self.objective_names)

    @property
    def models_objectives(self) -> bool:
        """Whether ratings and votes can train this head."""
        return head_class(self.head).models_objectives

    @property
    def has_weight_uncertainty(self) -> bool:
        """Whether the objective weights are a distribution, with a concentration, and not a point."""
        return head_class(self.head).has_weight_uncertainty and self._keeps(StagePart.CONCENTRATION)

    @property
    def has_feature_uncertainty(self) -> bool:
        """Whether the semantic features, and with them the rewards, have a variance."""
        return head_class(self.head).has_feature_uncertainty and self._keeps(StagePart.VARIANCE)

    @property
    def two_stages(self) -> bool:
        """Whether means are trained first, and a spread is added where held-out pairs ask for one (19)."""
        return self.loss == LossName.STAGED

    @property
    def counts_are_observations(self) -> bool:
        """Whether the likelihood of labels set the concentration, so that counts of (13) weigh as observations do."""
        return self.loss != LossName.VARIATIONAL

    @property
    def head_in_words(self) -> str:
        """The head as messages name it that say what it has not."""
        return f"head '{self.head}'" + (" in two stages" if self.two_stages else "")

    def _keeps(self, part: StagePart) -> bool:
        return not self.two_stages or part in self.stage_parts

    @property
    def has_reward_uncertainty(self) -> bool:
        """Whether rewards have a variance, from the weights, the features, or doubt about the head's parameters."""
        head = head_class(self.head)
        return self.has_weight_uncertainty or self.has_feature_uncertainty or head.has_parameter_uncertainty

    @property
    def knows_ties(self) -> bool:
        """Whether training tells how often raters tie: from ties, or from raters of one pair who never did."""
        return self.models_ties or self.learned_disagreement

    @property
    def kind_poolings(self) -> list[str]:
        """The poolings of a backbone of this kind."""
        return self.poolings if self.backbone_kind == BackboneKind.ENCODER else self.decoder_poolings

    @property
    def num_blocks(self) -> int:
        """Pooled vectors that are concatenated into the head's input."""
        return len(self.feature_layers) * len(self.kind_poolings)

    @property
    def familiar_blocks(self) -> list[int]:
        """Blocks of the head's input in which texts are compared with the training texts.

        Means where there are any, since other poolings depend on the length of a text; else all.
        """
        count, poolings = self.num_blocks, self.kind_poolings
        means = [block for block in range(count) if poolings[block % len(poolings)] == Pooling.MEAN]
        return means or list(range(count))

    @property
    def backbone_hidden_size(self) -> int:
        """Width of one hidden state."""
        config = self.backbone_config
        return int(config.get_text_config().hidden_size) if config is not None else 0

    @property
    def feature_size(self) -> int:
        """Width of the head's input."""
        return self.num_blocks * self.backbone_hidden_size

    def reward_units(self, reward_scale: str | None = None) -> RewardUnits:
        """Units of rewards on the scale `raw` or `standardized`; None takes the scale that the model is set to."""
        if (reward_scale or self.reward_scale) == RewardScale.STANDARDIZED:
            return RewardUnits(self.reward_mean, self.reward_std)
        return RewardUnits()

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PretrainedConfig:
        """This configuration itself: generic code asks it for `num_labels` and `pad_token_id`."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dictionary, the backbone's configuration nested."""
        output = super().to_dict()
        if self.backbone_config is not None:
            output["backbone_config"] = self.backbone_config.to_dict()
        return output


def _texts(names: list[str] | None, *default: str) -> list[str]:
    """Choices by name as plain strings, as they are stored."""
    return [str(name) for name in names or default]


_FIELDS = {
    name: hint
    for name, hint in get_type_hints(VRMConfig.__init__).items()
    if name not in ("backbone_config", "kwargs", "return")
}
_LARGEST = 2**16
_SIZES = ("num_free_objectives", "num_features", "hidden_size_head", "familiar_components")


def _check_fields(values: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    """Raise ConfigError for a field of another type, a size that nobody has, and a name that is nearly a field's."""
    for name, hint in _FIELDS.items():
        if not _is_of(values[name], hint):
            wanted = str(hint).replace("<class '", "").replace("'>", "").replace("typing.", "")
            raise ConfigError(f"{name} must be {wanted}, finite where it is a number; got {values[name]!r:.60}")
    for name in _SIZES:
        if not 0 <= values[name] <= _LARGEST:
            raise ConfigError(f"{name} must be in [0, {_LARGEST:,}], got {values[name]}")
    for name in others:
        close = difflib.get_close_matches(name, _FIELDS, 1, 0.85)
        if close:
            raise ConfigError(f"{name!r} is no field of the configuration; did you mean {close[0]!r}?")


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value of a configuration is of a type; whole numbers are numbers too, and True is none."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is UnionType:
        return any(_is_of(value, each) for each in inner)
    if kind is list:
        return isinstance(value, list | tuple) and all(_is_of(entry, inner[0]) for entry in value)
    if kind is dict:
        return isinstance(value, Mapping) and all(
            isinstance(key, str) and _is_of(entry, inner[1]) for key, entry in value.items()
        )
    if hint in (int, float):
        numbers = Integral if hint is int else Real
        return isinstance(value, numbers) and not isinstance(value, bool) and math.isfinite(value)
    return hint is Any or isinstance(value, hint)


def _as_config(value: PretrainedConfig | dict[str, Any] | None) -> PretrainedConfig | None:
    if not isinstance(value, dict):
        return value
    fields = dict(value)
    model_type = fields.pop("model_type", None)
    if model_type is None:
        raise ConfigError("backbone_config has no model_type, so the backbone cannot be built")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise ConfigError(f"backbone_config: transformers {__version__} has no architecture {model_type!r}")
    return AutoConfig.for_model(model_type, **fields)


def read_backbone_config(path: str) -> PretrainedConfig:
    """Configuration of a backbone's directory or Hub name, looked at before any weights are read.

    Raises:
        CheckpointError: it is no backbone, or its files are damaged.
        ConfigError: it is an encoder-decoder.
    """
    check_backbone_directory(path)
    with loading(path):
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        check_architecture(config)
    return config


def check_architecture(config: PretrainedConfig | None) -> None:
    """Raise ConfigError for encoder-decoders, but for those that read one text as encoders do (BART, T5)."""
    if getattr(config, "is_encoder_decoder", False) and infer_backbone_kind(config) != BackboneKind.ENCODER:
        assert config is not None
        raise ConfigError(
            f"the backbone is an encoder-decoder ({config.model_type}), which reads two texts: choose an encoder or a "
            "decoder"
        )


def position_limit(config: PretrainedConfig) -> int | None:
    """The longest row in tokens that a backbone has positions for; None for no limit, which some write as -1."""
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def infer_backbone_kind(config: PretrainedConfig | None) -> str:
    """`encoder` for architectures with a masked-language-model class that do not run as decoders, else `decoder`.

    An encoder that is taken out of an encoder-decoder (T5) is one too.
    """
    if config is None:
        return "decoder"
    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    causal_only = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not masked
    encodes = (masked and not causal_only and not getattr(config, "is_decoder", False)) or _encodes_alone(config)
    return "encoder" if encodes else "decoder"


def backbone_loader(config: PretrainedConfig | None) -> Any:
    """The class of `transformers` that makes and loads a backbone: of an encoder-decoder, its encoder where it can."""
    return AutoModelForTextEncoding if config is not None and _encodes_alone(config) else AutoModel


def _encodes_alone(config: PretrainedConfig) -> bool:
    """Whether `transformers` has the encoder of this encoder-decoder as a model of its own."""
    kind = config.model_type
    of_two = kind in MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES and kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    # T5Gemma nests two configurations, and its encoder is made of one of them alone.
    return of_two and not config.sub_configs
