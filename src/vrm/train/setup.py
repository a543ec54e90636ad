"""What a run needs before its first step: rows, split, model, tokenizer and adapters."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedTokenizerBase

from vrm.choices import BackboneKind, Tuning
from vrm.config import DataConfig, ModelConfig, RunConfig, SourceConfig
from vrm.core.disagreement import votes_without_texts
from vrm.core.likelihoods.votes import ratings_as_votes
from vrm.data.chat import describe_prompts, ensure_chat_template
from vrm.data.facts import RowFacts, facts_of, named_objectives
from vrm.data.load import Source, load_judgments
from vrm.data.row_tables import edited, joined, pick, remembered
from vrm.data.schema import Judgment
from vrm.data.splits import held_out_rows, mix
from vrm.data.statistics import without_unknown
from vrm.errors import ConfigError
from vrm.labels import has_label
from vrm.model.backbones import embedding_rows, first_position
from vrm.model.checkpoint import check_vocabulary, load_tokenizer
from vrm.model.configuration_vrm import (
    VRMConfig,
    check_architecture,
    infer_backbone_kind,
    position_limit,
    read_backbone_config,
)
from vrm.model.embedded import resolve_backbone
from vrm.model.heads.registry import head_class
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.train.initial_draws import draw_as_random_backbone
from vrm.train.processes import say
from vrm.user_files import is_stream, read_text


@dataclass(frozen=True)
class RunData:
    """Rows of a run.

    Attributes:
        train: training rows, mixed by weight.
        eval: rows that choose the checkpoint, never trained on; empty if neither `eval` nor `held_out` was given.
        objectives: names with ratings or votes.
        report: what was read and refused, as text.
        source_rows: rows read of each source of `train` and `eval`, before weights; empty without sources.

    Rows are in lists, or on the disk (`vrm.data.stored`), where nothing but a choice of them is in memory.
    """

    train: Sequence[Judgment]
    eval: Sequence[Judgment]
    objectives: list[str]
    report: str
    source_rows: dict[str, list[int]] = field(default_factory=dict)

    @cached_property
    def facts(self) -> RowFacts:
        """What has to be known of the training rows."""
        return facts_of(self.train)


def load_data(config: DataConfig, seed: int) -> RunData:
    """Read, check and split the rows.

    Raises:
        DataError: for bad rows, unless they are to be skipped.
        ConfigError: if nothing remains to train on.
    """
    loaded = load_judgments(
        _sources(config.train),
        objectives=config.objectives,
        on_bad_rows=config.on_bad_rows,
        seed=seed,
        storage=config.storage,
    )
    report = loaded.report.render()
    by_source: Mapping[str, Sequence[Judgment]] = loaded.by_source
    evaluation: Sequence[Judgment] = []
    source_rows = {"train": _lengths(by_source), "eval": []}
    if config.eval:
        held = load_judgments(
            _sources(config.eval),
            objectives=config.objectives,
            on_bad_rows=config.on_bad_rows,
            seed=seed,
            storage=config.storage,
        )
        source_rows["eval"] = _lengths(held.by_source)
        evaluation, report = held.judgments, report + "\nevaluation rows\n" + held.report.render()
    elif config.held_out > 0:
        by_source, evaluation = _held_out(by_source, config, seed)
    train = mix(by_source, loaded.weights, seed)
    if not train:
        raise ConfigError(f"no training rows remain after holding out {config.held_out:.0%}; lower data.held_out")
    objectives = config.objectives
    if not objectives:
        objectives = list(dict.fromkeys(name for names in named_objectives(train) for name in names))
    if config.ratings_as_votes:
        train = with_ratings_as_votes(train, objectives)
    evaluation, left_out = _known(evaluation, objectives)
    if left_out:
        names = ", ".join(f"{name} ({count})" for name, count in sorted(left_out.items()))
        report += f"\nevaluation labels on objectives without training labels are left out: {names}"
    return RunData(train, evaluation, objectives, report, source_rows)


def _held_out(
    by_source: Mapping[str, Sequence[Judgment]], config: DataConfig, seed: int
) -> tuple[dict[str, Sequence[Judgment]], Sequence[Judgment]]:
    """The rows of each source that are trained on, and all others, no prompt on both sides."""
    out = held_out_rows(joined([*by_source.values()]), config.held_out, seed, config.held_out_by)
    kept, held, first = {}, [], 0
    for name, rows in by_source.items():
        of_source = out[first : first + len(rows)]
        first += len(rows)
        kept[name] = pick(rows, np.flatnonzero(~of_source))
        held.append(pick(rows, np.flatnonzero(of_source)))
    return kept, joined(held)


def _lengths(by_source: Mapping[str, Sequence[Judgment]]) -> list[int]:
    return [len(rows) for rows in by_source.values()]


def _known(rows: Sequence[Judgment], objectives: list[str]) -> tuple[Sequence[Judgment], Counter[str]]:
    """The rows without labels on other objectives, those left out that have nothing else, and what was left out."""

    def looked() -> tuple[list[int], Counter[str]]:
        left_out: Counter[str] = Counter()
        bare = []
        for place, row in enumerate(rows):
            known, unknown = without_unknown(row, objectives, objectives)
            left_out.update(unknown)
            if not (known.completions or has_label(known)):
                bare.append(place)
        return bare, left_out

    key = "without other objectives: " + json.dumps(objectives)
    bare, left_out = remembered(rows, key, looked)
    if bare:
        rows = pick(rows, sorted({*range(len(rows))} - {*bare}))
    if left_out:
        rows = edited(rows, lambda row: without_unknown(row, objectives, objectives)[0], key)
    return rows, Counter(left_out)


def _sources(entries: list[SourceConfig]) -> list[Source]:
    return [Source(**entry.model_dump()) for entry in entries]


def with_ratings_as_votes(rows: Sequence[Judgment], objectives: list[str]) -> Sequence[Judgment]:
    """Rows with ratings but no votes get votes from their ratings, the paper's reading of (6)."""

    def change(row: Judgment) -> Judgment:
        if row.objective_votes is not None or not any(row.ratings or []):
            return row
        values = [[rated.get(name, float("nan")) for name in objectives] for rated in row.ratings or []]
        shares = ratings_as_votes(torch.tensor(values)).tolist()
        votes = {name: share for name, share in zip(objectives, shares, strict=True) if share > 0}
        return replace(row, objective_votes=votes or None)

    return edited(rows, change, "ratings as votes: " + json.dumps(objectives))


def build_model(config: RunConfig, data: RunData) -> tuple[VRMForSequenceClassification, PreTrainedTokenizerBase]:
    """Backbone, fresh head and tokenizer; seeds torch first, so that a run's initial weights are its seed's."""
    torch.manual_seed(config.seed)
    settings = config.model
    tokenizer = load_tokenizer(settings.tokenizer or settings.backbone)
    fields = _head_fields(settings, config.loss.name, data)
    model = _new_model(config, fields, tokenizer)
    check_vocabulary(tokenizer, embedding_rows(model), settings.tokenizer or settings.backbone)
    _start_votes(model, data)
    _check_positions(model)
    if settings.chat_template:
        tokenizer.chat_template = read_text(Path(settings.chat_template))
    ensure_chat_template(tokenizer, _template_kind(model.config, tokenizer))
    if tokenizer.pad_token_id is None:
        # Never read by the model; only batches need it.
        tokenizer.pad_token = tokenizer.eos_token
    model.config.update(describe_prompts(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    if settings.tuning == Tuning.FROZEN:
        model.backbone.requires_grad_(False)
    return model, tokenizer


def _start_votes(model: VRMForSequenceClassification, data: RunData) -> None:
    """Begin where the votes of several raters are likeliest before a text is read."""
    votes = torch.tensor(data.facts.votes)
    if len(votes):
        counts = votes[:, :-1].repeat_interleave(votes[:, -1].long(), 0)
        model.score.start_votes(*votes_without_texts(counts))


def _new_model(
    config: RunConfig, fields: dict[str, Any], tokenizer: PreTrainedTokenizerBase
) -> VRMForSequenceClassification:
    path = config.model.from_scratch
    if not path:
        draw_as_random_backbone(read_backbone_config(resolve_backbone(config.model.backbone)))
        return VRMForSequenceClassification.from_backbone(config.model.backbone, **fields)
    fields = {**fields, "backbone_config": scratch_config(path, tokenizer)}
    model = VRMForSequenceClassification(VRMConfig(**fields))
    if model.config.backbone_kind == BackboneKind.DECODER and model.sees_ahead:
        torch.manual_seed(config.seed)
        model = VRMForSequenceClassification(VRMConfig(**fields, backbone_kind=str(BackboneKind.ENCODER)))
    return model


def _template_kind(config: VRMConfig, tokenizer: PreTrainedTokenizerBase) -> str:
    """The kind by which a tokenizer gets our template.

    Decoders that are read as encoders may lack the tokens that it needs, and plain text needs no template.
    """
    has_separators = tokenizer.cls_token is not None and tokenizer.sep_token is not None
    return config.backbone_kind if has_separators else infer_backbone_kind(config.backbone_config)


def check_backbone(settings: ModelConfig) -> None:
    """Look at the backbone's configuration before any row is read.

    Raises:
        CheckpointError, ConfigError: it cannot be one, or reads fewer positions than `max_input_tokens`.
    """
    if settings.from_scratch and is_stream(settings.from_scratch):
        return  # it is read once, when the model is built
    if settings.from_scratch:
        model_type, values = _scratch_values(settings.from_scratch)
        backbone = AutoConfig.for_model(model_type, **values)
        check_architecture(backbone)
    else:
        backbone = read_backbone_config(resolve_backbone(settings.backbone))
    _check_limit(position_limit(backbone), settings.max_input_tokens)


def _check_positions(model: VRMForSequenceClassification) -> None:
    limit = position_limit(model.config.backbone_config)
    _check_limit(None if limit is None else limit - first_position(model.backbone), model.config.max_input_tokens)


def _check_limit(readable: int | None, max_input_tokens: int) -> None:
    if readable is not None and max_input_tokens > readable:
        raise ConfigError(
            f"model.max_input_tokens is {max_input_tokens}, but the backbone reads at most {readable} "
            f"positions; set model.max_input_tokens to {readable} or less"
        )


FREE_OBJECTIVES: int = ModelConfig.model_fields["num_free_objectives"].default


def _head_fields(settings: ModelConfig, loss: str, data: RunData) -> dict[str, Any]:
    models_objectives = head_class(settings.head).models_objectives
    objectives = data.objectives if models_objectives else []
    facts = data.facts
    statistics = facts.ratings if models_objectives else {}
    names = (
        "head", "num_free_objectives", "num_features", "hidden_size_head", "head_dropout", "prior_concentration",
        "feature_layers", "poolings", "decoder_poolings", "max_input_tokens",
    )  # fmt: skip
    values = {name: getattr(settings, name) for name in names}
    if models_objectives and not objectives and not settings.num_free_objectives:
        # Plain pairs, the most common data, name none.
        values["num_free_objectives"] = FREE_OBJECTIVES
        say(
            "the training rows name no objectives, and model.num_free_objectives is 0: the head gets "
            f"{FREE_OBJECTIVES} free ones, the default of that key"
        )
    return {
        **values,
        "loss": loss,
        "objectives": objectives,
        "rating_mean": {name: values.mean for name, values in statistics.items()},
        "rating_std": {name: values.standard_deviation or 1.0 for name, values in statistics.items()},
        "objectives_with_ratings": [name for name in objectives if name in facts.rated],
        "objectives_with_votes": [name for name in objectives if name in facts.voted],
        "models_ties": facts.ties_of_raters,
        "learned_disagreement": facts.several_raters,
        "conversational": facts.conversational,
    }


def scratch_config(path: str, tokenizer: PreTrainedTokenizerBase) -> Any:
    """Configuration of a backbone of random weights from a JSON file; raises ConfigError."""
    model_type, values = _scratch_values(path)
    values.setdefault("vocab_size", len(tokenizer))
    values.setdefault("pad_token_id", tokenizer.pad_token_id)
    return AutoConfig.for_model(model_type, **values)


def _scratch_values(path: str) -> tuple[str, dict[str, Any]]:
    """The architecture and the other values of a file that describes a backbone to be trained from scratch."""
    file = Path(path)
    if not file.is_file() and not is_stream(file):
        raise ConfigError(f"model.from_scratch: {file}: no such file")
    try:
        values = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise ConfigError(f"model.from_scratch: {file}: not JSON (line {error.lineno}: {error.msg})") from None
    model_type = values.pop("model_type", None)
    if model_type is None:
        raise ConfigError(f"model.from_scratch: {file} has no model_type")
    if model_type not in CONFIG_MAPPING:
        raise ConfigError(f"model.from_scratch: {file}: transformers has no architecture {model_type!r}")
    return model_type, values
