"""One engine behind score, explain and evaluate: judgments in, predictive distributions out, in the order given."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from vrm.core.posteriors import Posteriors
from vrm.data.chat import ChatTokenizer
from vrm.data.schema import Judgment
from vrm.data.tokenized import JudgmentTokenizer, OverlongReport, TokenizedJudgment
from vrm.errors import CheckpointError, DataError
from vrm.inference.ahead import ahead
from vrm.inference.extraction import (
    ExtractionOptions,
    FeatureExtractor,
    Progress,
    backbone_fingerprint,
)
from vrm.inference.feature_table import FeatureTable
from vrm.inference.judged import JudgedBatch
from vrm.inference.known_raters import KnownRaters, load_raters
from vrm.inference.steering import Steering
from vrm.model.checkpoint import load_model
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.model_files import check_chat_template, unknown_rater
from vrm.user_files import at_home

WINDOW = 512
"""Judgments tokenized and sorted by length together; bounds memory for input of any size."""

HEAD_VALUES = 2**26
"""Numbers of completions' features that the head reads at once, padding included: 256 MiB."""


class RewardEngine:
    """Runs a model over judgments.

    Args:
        model: in evaluation mode.
        tokenizer: the checkpoint's.
        options: precision, token budget, and a feature cache if features should be kept.
        on_overlong: what to do with rows over the model's limit; see `vrm.choices.OnOverlong`.
        steering: applied to every judgment.
        on_bad_rows: what to do with rows that the chat template refuses; see `vrm.choices.OnBadRows`.
        raters: that the model knows; None without any.

    Raises:
        ConfigError: for steering that names unknown objectives or raters, or that this head cannot follow.

    Example:
        >>> from vrm import Judgment, RewardEngine
        >>> engine = RewardEngine.from_pretrained("runs/mine/model")
        >>> judged = engine.judge([Judgment("How do I boil an egg?", ["Ten minutes in boiling water.", "No idea."])])
        >>> judged.moments.mean.shape  # one reward a completion
        torch.Size([1, 2])
    """

    def __init__(
        self,
        model: VRMForSequenceClassification,
        tokenizer: PreTrainedTokenizerBase,
        options: ExtractionOptions | None = None,
        on_overlong: str = "truncate",
        steering: Steering | None = None,
        on_bad_rows: str = "error",
        raters: KnownRaters | None = None,
    ) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.options = options or ExtractionOptions()
        self.report = OverlongReport(model.config.max_input_tokens)
        chat = ChatTokenizer(tokenizer, wrap_text=model.config.conversational)
        self.tokenize = JudgmentTokenizer(chat, model.config.max_input_tokens, on_overlong, self.report, on_bad_rows)
        self.steering, self.raters = steering, raters
        self.check_steering(steering)
        # A cache on disk keeps features between runs; in memory they would only grow, so a window has its own.
        self._shared: FeatureExtractor | None = None
        self._backbone_sha256: str | None = None
        if self.options.cache:
            shared = FeatureExtractor(model, self._pad_id, self.options)
            # A cache that cannot be used is not tried again: every try reads all weights for its name.
            self.options, self._backbone_sha256 = shared.options, shared.backbone_sha256
            self._shared = shared if self.options.cache else None

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, device: str = "cpu", **kwargs: object) -> RewardEngine:
        """Load a model directory or Hub name, and the raters it knows, and build an engine around it.

        Raises:
            CheckpointError: it is no reward model, is damaged, or lacks the chat template that it needs.
        """
        path = at_home(str(name_or_path))
        check_chat_template(path)
        model, tokenizer = load_model(path, device=device)
        asked = isinstance(steering := kwargs.get("steering"), Steering) and steering.rater is not None
        return cls(model, tokenizer, raters=_raters(path, model, asked), **kwargs)  # type: ignore[arg-type]

    def check_steering(self, steering: Steering | None) -> None:
        """Raise CannotFollowError where the model cannot follow it, ConfigError for a count that is not allowed."""
        if steering is None:
            return
        steering.check(self.model.config)
        if steering.rater is not None:
            if self.raters is None:
                raise unknown_rater(steering.rater, ())
            self.raters.of(steering.rater)

    def reset_report(self) -> None:
        """Start counting overlong rows anew."""
        self.report = OverlongReport(self.model.config.max_input_tokens)
        self.tokenize.report = self.report

    @property
    def _pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def backbone_sha256(self) -> str:
        """`backbone_fingerprint` of the model, which the feature cache has computed if there is one."""
        return self._backbone_sha256 or backbone_fingerprint(self.model)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives that remain after steering."""
        names = self.model.config.objective_names
        return tuple(names) if self.steering is None else self.steering.remaining(names)

    def stream(self, judgments: Iterable[Judgment], window: int = WINDOW) -> Iterator[JudgedBatch]:
        """Judge any number of judgments, a window at a time; memory does not grow with their number."""
        iterator = iter(judgments)
        windows = iter(lambda: list(islice(iterator, window)), [])
        for tokenized in ahead(list(self.tokenize.many(rows)) for rows in windows):
            if tokenized:
                yield self.judge_tokenized(tokenized)

    def judge(self, judgments: Sequence[Judgment]) -> JudgedBatch:
        """Judge a few judgments at once.

        Raises:
            DataError: if every one of them was left out, or none was given.
        """
        tokenized = list(self.tokenize.many(judgments))
        if not tokenized:
            raise DataError(f"nothing to judge: {self.report.render()}")
        return self.judge_tokenized(tokenized)

    def judge_tokenized(self, tokenized: Sequence[TokenizedJudgment], progress: Progress | None = None) -> JudgedBatch:
        """Judge tokenized judgments, all in one batch of the head."""
        extractor = self._shared or FeatureExtractor(self.model, self._pad_id, self.options)
        table = extractor.table(tokenized, progress)
        mask = torch.from_numpy(table.completions >= 0)
        names = tuple(self.model.config.objective_names)
        judged = JudgedBatch(list(tokenized), mask, self._posteriors(table), names, raters=self.raters)
        return judged.steered(self.steering)

    @torch.inference_mode()
    def _posteriors(self, table: FeatureTable) -> Posteriors:
        """In slices: one long list pads every judgment's features to its length."""
        device = next(self.model.score.parameters()).device
        values = table.completions.shape[1] * self.model.config.feature_size
        size = max(HEAD_VALUES // max(values, 1), 1)
        batches = (table.batch(slice(first, first + size)) for first in range(0, max(len(table), 1), size))
        parts = [self.model.score(prompts.to(device), texts.to(device)).on_cpu() for prompts, texts in batches]
        return Posteriors.concatenate(parts)


def _raters(directory: str, model: VRMForSequenceClassification, asked: bool) -> KnownRaters | None:
    """The raters that a model knows; raises CheckpointError for what cannot be used only where one is asked for."""
    try:
        return load_raters(directory, model)
    except CheckpointError as error:
        if asked:
            raise
        warnings.warn(f"the model's raters are left out: {error}", stacklevel=3)
        return None
