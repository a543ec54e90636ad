"""The rows of a run as data sets: tokenized for a backbone that is tuned, features of one that is frozen."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from vrm.choices import Tuning
from vrm.config import RunConfig
from vrm.data.chat import ChatTokenizer
from vrm.data.collate import TargetEncoder
from vrm.data.schema import Judgment
from vrm.data.stored.rows import StoredRows
from vrm.data.stored.tokens import StoredTokens, stored_tokens
from vrm.data.tokenized import JudgmentTokenizer, OverlongReport, TokenizedJudgment
from vrm.errors import ConfigError
from vrm.inference.extraction import ExtractionOptions, FeatureExtractor
from vrm.inference.feature_table import FeatureTable
from vrm.inference.targets import target_encoder
from vrm.model.checkpoint import tokenizer_sha256
from vrm.model.configuration_vrm import VRMConfig
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.train.nuisance import NuisanceFit, offset_of_run
from vrm.train.passes import FeatureDataset, PassCollator, TokenizedDataset, collate_features
from vrm.train.processes import is_main_process, say, to_training_device
from vrm.train.setup import RunData

INPUT_SAMPLE = 20_000
"""Judgments whose frozen features set the head's input standardization."""

LONG_READ = 2_000
"""Rows from which tokenizing shows its progress."""


@dataclass(frozen=True)
class PreparedRows:
    """What the trainer is given.

    Attributes:
        train: data set of the training rows.
        eval: the same of the evaluation rows; None if there are none.
        collator: makes batches of either.
        overlong: rows over the model's limit, counted.
        nuisance: the fitted offset (14); None without.
    """

    train: TokenizedDataset | FeatureDataset
    eval: TokenizedDataset | FeatureDataset | None
    collator: Any
    overlong: OverlongReport
    nuisance: NuisanceFit | None = None


def prepare_rows(
    config: RunConfig,
    data: RunData,
    model: VRMForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    resume: bool = False,
    backbone_sha256: str | None = None,
) -> PreparedRows:
    """Tokenize the rows, fit the nuisance offset, and, with a frozen backbone, compute all features.

    A frozen backbone moves to the training device, and the head's inputs are standardized. `backbone_sha256` is the
    model's, where it is known.

    Raises:
        ConfigError: if no row remains that the head can learn from.
    """
    report = OverlongReport(model.config.max_input_tokens)
    train, evaluation = _tokenized(config, data, model.config, tokenizer, report)
    pad = int(tokenizer.pad_token_id or 0)
    options = _extraction(config)

    def initial_extractor() -> FeatureExtractor:
        to_training_device(model)
        return FeatureExtractor(model, pad, options, backbone_sha256)

    if config.model.tuning != Tuning.FROZEN:
        fit = offset_of_run(config, train, evaluation, initial_extractor, resume)
        collator = PassCollator.of(model, _targets(config, model.config, fit), pad, config.train.token_budget)
        held_out = TokenizedDataset(evaluation) if evaluation else None
        return PreparedRows(TokenizedDataset(train), held_out, collator, report, fit)
    to_training_device(model.backbone)
    extractor = FeatureExtractor(model, pad, options, backbone_sha256)
    tables = [_extract(extractor, rows, label) for rows, label in ((train, "train"), (evaluation, "eval")) if rows]
    fit = offset_of_run(config, train, evaluation, lambda: extractor, resume)
    targets = _targets(config, model.config, fit)
    rows, *others = (FeatureDataset(*pair, targets) for pair in zip(tables, (train, evaluation), strict=False))
    model.score.fit_inputs(*rows.sample_features(INPUT_SAMPLE, config.seed))
    return PreparedRows(rows, others[0] if others else None, collate_features, report, fit)


def _extraction(config: RunConfig) -> ExtractionOptions:
    """How features are computed; those that the run has kept itself, by `none` or before, are read where they are."""
    own = f"{config.output_dir}/features"
    options = ExtractionOptions(config.train.precision, config.features.token_budget)
    cache = config.features.cache or (own if Path(own).exists() else None)
    options = options.with_cache(cache, spill=own)
    if options.notice and config.model.tuning == Tuning.FROZEN:
        say(options.notice)
    return options


def _tokenized(
    config: RunConfig, data: RunData, model: VRMConfig, tokenizer: PreTrainedTokenizerBase, report: OverlongReport
) -> tuple[Sequence[TokenizedJudgment], Sequence[TokenizedJudgment]]:
    """Training and evaluation rows that the head can learn from.

    Rows without completions teach only heads with objectives; other heads leave them out, as `say_unused` tells.
    """
    policies = config.data.on_overlong, report, config.data.on_bad_rows
    tokenize = JudgmentTokenizer(ChatTokenizer(tokenizer), model.max_input_tokens, *policies)
    train, evaluation = (
        _able(_with_tokens(rows, tokenize, tokenizer), model.models_objectives) for rows in (data.train, data.eval)
    )
    if not train:
        why = "; ".join([report.render(), *report.warnings()])
        raise ConfigError(f"no training rows remain that head '{model.head}' can learn from: {why}")
    return train, evaluation


def _with_tokens(
    rows: Sequence[Judgment], tokenize: JudgmentTokenizer, tokenizer: PreTrainedTokenizerBase
) -> Sequence[TokenizedJudgment]:
    if isinstance(rows, StoredRows):
        template = str(tokenizer.chat_template)
        return stored_tokens(rows, tokenize, f"{tokenizer_sha256(tokenizer)} {template}")
    quiet = not is_main_process() or len(rows) < LONG_READ
    return list(tokenize.many(tqdm(rows, desc="tokenize", unit="row", file=sys.stderr, disable=quiet)))


def _able(rows: Sequence[TokenizedJudgment], models_objectives: bool) -> Sequence[TokenizedJudgment]:
    """The rows that the head can learn from."""
    if models_objectives:
        return rows
    if isinstance(rows, StoredTokens):
        return rows.pick(np.flatnonzero(rows.column("count") > 1))
    return [row for row in rows if len(row.completions) > 1]


def _targets(config: RunConfig, model: VRMConfig, fit: NuisanceFit | None) -> TargetEncoder:
    """Label encoder of a run; the model keeps the offset, so that rater metrics can be computed with it."""
    targets = target_encoder(model, config.data.votes_total)
    if fit is None:
        return targets
    say(fit.render())
    model.nuisance = fit.rater.to_dict()
    return replace(targets, offset=fit.rater)


def _extract(extractor: FeatureExtractor, rows: Sequence[TokenizedJudgment], label: str) -> FeatureTable:
    with tqdm(desc=f"{label} features", unit="text", file=sys.stderr, disable=not is_main_process()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return extractor.table(rows, progress)


def say_unused(config: VRMConfig, data: RunData) -> None:
    """Tell which labels the head cannot use."""
    if config.models_objectives:
        return
    facts = data.facts
    if facts.with_objectives:
        say(
            f"head '{config.head}' has no objectives: ratings and votes of {facts.with_objectives} rows are not used, "
            f"and {facts.without_pairs} of them, which have no completions, are left out"
        )
