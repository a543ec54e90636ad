"""`VRMForSequenceClassification`: `.logits` is E[r], and everything else the model knows stands beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput
from transformers.utils.logging import warning_once

from vrm.choices import BackboneKind
from vrm.core.disagreement import PairVotes, reported_votes
from vrm.core.posteriors import Posteriors
from vrm.core.predictive import completion_moments, objective_scores
from vrm.errors import CheckpointError, ConfigError
from vrm.model.attention import use_packed_attention
from vrm.model.backbones import (
    encode_packed,
    encode_padded_rows,
    first_position,
    packing_problem,
    sees_ahead,
    sees_padding,
)
from vrm.model.configuration_vrm import VRMConfig, backbone_loader, infer_backbone_kind, read_backbone_config
from vrm.model.embedded import resolve_backbone
from vrm.model.heads.base import JudgmentHead
from vrm.model.heads.registry import head_class
from vrm.model.packing import PROMPT, packed_passes, trees_of
from vrm.model.padding import align_left, checked_start, find_completion_start, shorten_rows
from vrm.model_files import check_seals, loading

logger = logging.getLogger(__name__)

FORWARD_TOKEN_BUDGET = 16_384
"""Token positions of one pass of the backbone, where `forward` is called without gradients."""


@dataclass
class VRMOutput(ModelOutput):
    """What the model says; the same fields for every head.

    Attributes:
        loss: always None here: losses live in `vrm.train`.
        logits: E[r] (9), (batch, num_completions); (batch, 1) for a plain call, one row one completion.
        reward_variance: Var[r] (10), same shape; zero for deterministic heads.
        objective_scores: o(mu) of (3), (batch, num_completions, num_objectives).
        posteriors: the distributions, with the decoder A and the rating model.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    reward_variance: Tensor | None = None
    objective_scores: Tensor | None = None
    posteriors: Posteriors | None = None

    @property
    def weights(self) -> Tensor:
        """E[w], (batch, num_objectives)."""
        assert self.posteriors is not None
        return self.posteriors.weights.mean

    def votes(self, first: int = 0, second: int = 1) -> PairVotes:
        """How several raters vote on two completions of every judgment, by position (15).

        `votes().share()` is (batch, 3), for the first, for the second, tie; `votes().disagreement()` is (batch,), and
        means something only where `config.learned_disagreement`.
        """
        assert self.posteriors is not None
        weights, features, decoder = self.posteriors.weights, self.posteriors.features, self.posteriors.decoder
        one, other = features.completion(first), features.completion(second)
        with torch.autocast(features.loc.device.type, enabled=False):
            return reported_votes(weights, one, other, decoder, self.posteriors.tie_threshold)


class VRMForSequenceClassification(PreTrainedModel):
    """A backbone and a `JudgmentHead`.

    `forward(input_ids, attention_mask)` scores rows of prompt and completion; `.logits` is (rows, 1). The prompt's end
    is found by the stored pattern, or given as `completion_start`. Training code passes `prompt_rows` and
    `completion_rows` to group rows into judgments, or cached features in place of ids.

    Example:
        >>> from transformers import AutoTokenizer
        >>> from vrm import VRMForSequenceClassification
        >>> model = VRMForSequenceClassification.from_pretrained("runs/mine/model").eval()
        >>> tokenizer = AutoTokenizer.from_pretrained("runs/mine/model")
        >>> messages = [{"role": "user", "content": "Name a tree."}, {"role": "assistant", "content": "Oak"}]
        >>> text = tokenizer.apply_chat_template(messages, tokenize=False)
        >>> output = model(**tokenizer(text, return_tensors="pt", add_special_tokens=False))
        >>> output.logits.shape  # E[r]
        torch.Size([1, 1])
    """

    config_class = VRMConfig
    base_model_prefix = "backbone"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _keep_in_fp32_modules_strict = ["score"]  # noqa: RUF012  (transformers reads a list)

    def __init__(self, config: VRMConfig, backbone: Any = None) -> None:
        """`backbone`: one that is loaded, to be used as it is; None makes one of `config` with random weights."""
        super().__init__(config)
        if config.backbone_config is None:
            raise ConfigError(
                "VRMConfig.backbone_config is missing: build the model with from_backbone or from_pretrained"
            )
        if backbone is None:
            # Its configuration remembers the dtype it was saved in; `from_pretrained(dtype=...)` must win.
            loader = backbone_loader(config.backbone_config)
            how = {"dtype": torch.get_default_dtype(), "trust_remote_code": False}
            backbone = loader.from_config(config.backbone_config, **how)
        self.backbone = backbone
        # A BERT pooler is never read; without it every parameter gets a gradient, which DDP wants.
        if getattr(self.backbone, "pooler", None) is not None:
            self.backbone.pooler = None
        use_packed_attention(self.backbone)
        self.score = head_class(config.head)(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # Older releases of transformers 5 ask this of a head that the file held, too.
        if isinstance(module, JudgmentHead) and not all(
            getattr(weights, "_is_hf_initialized", False) for weights in module.parameters()
        ):
            module.reset_parameters()

    def initialize_weights(self) -> None:
        """As in `transformers`, which fills here what files do not hold; the backbone by its own rules.

        Within a class from elsewhere it would pass over modules that have no weights themselves, and leave what they
        fill in their layers (Falcon-H1's multipliers) as memory that nobody wrote.
        """
        self.backbone.initialize_weights()
        super().initialize_weights()

    @classmethod
    def from_backbone(
        cls, name_or_path: str, *, dtype: torch.dtype | None = None, **config: Any
    ) -> VRMForSequenceClassification:
        """A new model: pretrained backbone, fresh head.

        Args:
            name_or_path: directory, Hub name, `embedded` or `embedded-decoder`.
            dtype: of the backbone; the head is float32 whatever it is.
            **config: fields of `VRMConfig`.

        Raises:
            CheckpointError: it is no backbone, or its files are damaged.
            ConfigError: it is to be read as a decoder, and its tokens see what follows them.
        """
        path = resolve_backbone(name_or_path)
        backbone_config = read_backbone_config(path)
        asked = config.pop("backbone_kind", None)
        kind = asked or infer_backbone_kind(backbone_config)
        with loading(path):
            loader = backbone_loader(backbone_config)
            how = {"output_loading_info": True, "trust_remote_code": False}
            backbone, info = loader.from_pretrained(path, dtype=dtype or torch.float32, **how)
            check_finite(path, dict(backbone.named_parameters()))
            ahead = kind == BackboneKind.DECODER and sees_ahead(backbone)
        _check_backbone(path, backbone, info["missing_keys"])
        if ahead and asked is None:
            kind = BackboneKind.ENCODER
            logger.warning("%s: its tokens see what follows them, so it is read as an encoder", name_or_path)
        fields = config | {"backbone_kind": str(kind), "backbone_name_or_path": name_or_path}
        model = cls(VRMConfig(backbone_config=backbone.config, **fields), backbone)
        model.score.reset_parameters()
        if kind == BackboneKind.DECODER:
            model.sees_ahead = ahead
        model.check_rows_apart()
        return model

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As in `transformers`, but weights that are missing, unexpected or of another shape are an error.

        Raises:
            CheckpointError: naming those weights, or those that are no numbers; or a file whose bits have changed.
        """
        wants_info = kwargs.pop("output_loading_info", False)
        check_seals(pretrained_model_name_or_path)
        # Mismatches are reported below with the rest; `transformers` would raise without naming the weights.
        kwargs |= {"output_loading_info": True, "ignore_mismatched_sizes": True, "use_safetensors": True}
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        _check_loaded(str(pretrained_model_name_or_path), info)
        head = {key: value for key, value in model.state_dict().items() if key.startswith("score.")}
        check_finite(str(pretrained_model_name_or_path), dict(model.named_parameters()) | head)
        return (model, info) if wants_info else model

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether activations are computed again; PEFT asks by this name, of which newer `transformers` warn."""
        return any(getattr(module, "gradient_checkpointing", False) for module in self.modules())

    def get_input_embeddings(self) -> nn.Module:
        """The backbone's token embeddings."""
        return self.backbone.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the backbone's token embeddings."""
        self.backbone.set_input_embeddings(value)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        completion_start: Tensor | None = None,
        prompt_rows: Tensor | None = None,
        completion_rows: Tensor | None = None,
        prompt_features: Tensor | None = None,
        completion_features: Tensor | None = None,
        packed: Mapping[str, Tensor] | None = None,
        **_: Any,
    ) -> VRMOutput:
        """Distributions of rewards.

        Args:
            input_ids: (rows, length) prompt and completion, padded on any side.
            attention_mask: (rows, length); None means that nothing is padding.
            completion_start: (rows,) index of the first completion token, in `input_ids` as passed.
            prompt_rows: (batch,) a row that begins with the judgment's prompt; None: every row is a judgment.
            completion_rows: (batch, num_completions) row of every completion, -1 where there is none.
            prompt_features: (batch, feature_size), cached, in place of ids.
            completion_features: (batch, num_completions, feature_size), cached.
            packed: a packed row in place of ids: what `vrm.model.packing.pack_trees` gives, with `prompt_reads`
                (batch,) and `completion_reads` (batch, num_completions), numbers of `reads`, -1 where there is none.

        Returns:
            `VRMOutput`.
        """
        if packed is not None:
            features = encode_packed(self.backbone, self.config, packed)
            prompt_features = features[packed["prompt_reads"]]
            completion_features = features[packed["completion_reads"].clamp_min(0)]
        elif prompt_features is None or completion_features is None:
            prompt_features, completion_features = self._encode(input_ids, attention_mask, completion_start)
            if prompt_rows is None or completion_rows is None:
                completion_features = completion_features.unsqueeze(1)
            else:
                prompt_features = prompt_features[prompt_rows]
                completion_features = completion_features[completion_rows.clamp_min(0)]
        posteriors = self.score(prompt_features, completion_features)
        # The caller's autocast would compute the moments in its own precision.
        with torch.autocast(posteriors.decoder.device.type, enabled=False):
            moments = completion_moments(posteriors)
            units = self.config.reward_units()
            return VRMOutput(
                logits=units.of(moments.mean),
                reward_variance=moments.variance / units.scale**2,
                objective_scores=objective_scores(posteriors.features.loc, posteriors.decoder),
                posteriors=posteriors,
            )

    def _encode(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, start: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if input_ids is None:
            raise ValueError("forward needs input_ids, or both prompt_features and completion_features")
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        ids, mask, offsets = align_left(input_ids, attention_mask)
        if start is None:
            pattern, last = self.config.prompt_boundary_ids, self.config.guarded_template
            start = find_completion_start(ids, mask.sum(1), pattern, last=last)
            limit = self.config.max_input_tokens
            if ids.shape[1] > limit:
                warning_once(
                    logger, "rows over the model's limit of %d tokens are cut, as `vrm score` cuts them", limit
                )
                ids, mask, start = shorten_rows(ids, mask.sum(1), start, limit, self.config.prompt_opening_id)
        else:
            start = checked_start(start - offsets, mask.sum(1))
        if self.packing_problem is not None:
            return encode_padded_rows(self.backbone, self.config, ids, mask, start)
        rows = [row[:length] for row, length in zip(ids.tolist(), mask.sum(1).tolist(), strict=True)]
        return self._encode_rows(rows, start.tolist(), ids.device)

    @cached_property
    def sees_ahead(self) -> bool:
        """Whether the backbone's tokens see what follows them, by a probe at the first use."""
        return sees_ahead(self.backbone)

    def check_rows_apart(self) -> None:
        """Raise ConfigError for a backbone that lets a row's reward depend on the rows beside it.

        A decoder whose tokens see what follows them: the state of a prompt would be read behind it in a row, where it
        has seen the row's completion. An encoder whose tokens see padding: there is more of it beside a longer row.
        """
        decoder = self.config.backbone_kind == BackboneKind.DECODER
        if decoder and self.sees_ahead:
            raise ConfigError(
                "backbone_kind is 'decoder', but the backbone's tokens see what follows them, so that rewards would "
                "depend on the rows beside them: train it again as an 'encoder', which is what backbone_kind is then "
                "by default"
            )
        if not decoder and self._sees_padding:
            raise ConfigError(
                f"the backbone ({self.config.backbone_config.model_type}) does not mask padding, so that rewards would "
                "depend on the rows beside them: choose another backbone"
            )

    @cached_property
    def _sees_padding(self) -> bool:
        return sees_padding(self.backbone)

    @cached_property
    def packing_problem(self) -> str | None:
        """Why rows are padded and every prompt is computed with each of its completions; None if they are packed."""
        self.check_rows_apart()
        problem = packing_problem(self.backbone, self.config)
        if problem is not None:
            logger.warning("rows are padded and prompts are not shared: %s", problem)
        return problem

    def _encode_rows(self, rows: list[list[int]], starts: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Both inputs of the head for every row; rows of equal prompts share it.

        In passes of bounded size: trainers that call a reward model pass their whole batch at once.
        """
        trees, places = trees_of((row[:start], [row[start:]]) for row, start in zip(rows, starts, strict=True))
        features: dict[tuple[int, int], Tensor] = {}
        first = first_position(self.backbone)
        for one_pass in packed_passes(trees, self.config.backbone_kind, FORWARD_TOKEN_BUDGET, first):
            on_device = {name: value.to(device) for name, value in one_pass.row.items()}
            features.update(zip(one_pass.reads, encode_packed(self.backbone, self.config, on_device), strict=True))
        prompts = torch.stack([features[tree, PROMPT] for tree, _ in places])
        return prompts, torch.stack([features[place] for place in places])


def _check_backbone(name: str, backbone: nn.Module, missing: Iterable[str]) -> None:
    """Refuse a backbone most of whose weights are not in its files, and name those few that are not."""
    absent = sorted(key for key in missing if not key.startswith("pooler."))
    if not absent:
        return
    sizes = {key: value.numel() for key, value in backbone.state_dict().items()}
    named = f"{', '.join(absent[:3])}{', ...' if len(absent) > 3 else ''}"
    if sum(sizes.get(key, 0) for key in absent) > 0.5 * sum(sizes.values()):
        raise CheckpointError(f"{name} does not hold the weights its configuration promises (missing keys: {named})")
    logger.warning("%s: weights that its files do not hold start at random: %s", name, named)


_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_finite(name: str, tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError for tensors that hold no numbers; it names one, and how many of its entries are none."""
    for key, tensor in tensors.items():
        if tensor.dtype not in _FLOATS or tensor.is_meta or not tensor.numel():
            continue
        if not all(torch.isfinite(bound) for bound in torch.aminmax(tensor.detach())):
            count = int((~torch.isfinite(tensor)).sum())
            raise CheckpointError(f"{name}: {count:,} of the {tensor.numel():,} numbers in {key} are NaN or infinite")


def _check_loaded(name: str, info: dict[str, Any]) -> None:
    mismatched = [entry if isinstance(entry, str) else entry[0] for entry in info["mismatched_keys"]]
    check_keys(name, info.get("missing_keys"), info.get("unexpected_keys"), mismatched)


def check_keys(
    name: str, missing: Iterable[str] | None, unexpected: Iterable[str] | None, mismatched: Iterable[str] | None
) -> None:
    """Raise CheckpointError where stored tensors are not those that a model has; it names five of each kind."""
    problems = {"missing keys": missing, "unexpected keys": unexpected, "keys of another shape": mismatched}
    wrong = [f"{kind}: {', '.join(sorted(keys)[:5])}" for kind, keys in problems.items() if keys]
    if wrong:
        raise CheckpointError(
            f"{name} does not hold the weights its configuration promises ({'; '.join(wrong)}). "
            "Save it again with save_pretrained of the trained model"
        )
