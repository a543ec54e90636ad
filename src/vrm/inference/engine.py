"""One engine behind score, explain and evaluate: judgments in, predictive distributions out, in the order given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.losses import Posteriors
from vrm.core.predictive import PredictiveMoments
from vrm.core.steering import emphasize, without
from vrm.data.chat import ChatTokenizer
from vrm.data.schema import Judgment
from vrm.data.tokenized import JudgmentTokenizer, OverlongReport, TokenizedJudgment
from vrm.errors import ConfigError, DataError
from vrm.inference.ahead import ahead
from vrm.inference.extraction import ExtractionOptions, FeatureExtractor, Progress
from vrm.model.checkpoint import load_model
from vrm.model.modeling_vrm import VRMForSequenceClassification, completion_moments

WINDOW = 512
"""Judgments tokenized and sorted by length together; bounds memory for input of any size."""


@dataclass(frozen=True)
class Steering:
    """What to change at inference, equation (13).

    Attributes:
        emphasis: {objective: count >= 0}, added to the concentration.
        without: objectives left out.
    """

    emphasis: dict[str, float]
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class JudgedBatch:
    """Judgments and what the model says about them, steering applied; on the CPU, without gradients.

    Attributes:
        judgments: the rows, in the order given.
        mask: (batch, num_completions) bool.
        posteriors: distributions of the batch.
        objectives: names of the objectives the posteriors range over.
    """

    judgments: list[Judgment]
    mask: Tensor
    posteriors: Posteriors
    objectives: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.judgments)

    @property
    def moments(self) -> PredictiveMoments:
        """Moments of every reward, (batch, num_completions), in raw units."""
        return completion_moments(self.posteriors)

    def row(self, index: int) -> JudgedBatch:
        """One judgment as a batch of one, its padding removed."""
        count = max(len(self.judgments[index].completions), 1)
        weights, features = self.posteriors.weights, self.posteriors.features
        concentration = None if weights.concentration is None else weights.concentration[index : index + 1]
        posteriors = Posteriors(
            ObjectiveWeights(weights.mean[index : index + 1], concentration),
            SemanticFeatures(features.loc[index : index + 1, :count], features.variance[index : index + 1, :count]),
            self.posteriors.decoder,
            self.posteriors.rating_model,
        )
        return JudgedBatch([self.judgments[index]], self.mask[index : index + 1, :count], posteriors, self.objectives)


class RewardEngine:
    """Runs a model over judgments.

    Args:
        model: in evaluation mode.
        tokenizer: the checkpoint's.
        options: precision, token budget, and a feature cache if features should be kept.
        on_overlong: what to do with rows over the model's limit; see `vrm.data.tokenized.ON_OVERLONG`.
        steering: applied to every judgment.

    Raises:
        ConfigError: for steering that names unknown objectives, or that this head cannot follow.
    """

    def __init__(
        self,
        model: VRMForSequenceClassification,
        tokenizer: PreTrainedTokenizerBase,
        options: ExtractionOptions | None = None,
        on_overlong: str = "truncate",
        steering: Steering | None = None,
    ) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.options = options or ExtractionOptions()
        self.report = OverlongReport(model.config.max_input_tokens)
        chat = ChatTokenizer(tokenizer, wrap_text=model.config.conversational)
        self.tokenize = JudgmentTokenizer(chat, model.config.max_input_tokens, on_overlong, self.report)
        self.steering = steering
        check_steering(model, steering)
        # A cache on disk keeps features between runs; in memory they would only grow, so a window has its own.
        self._shared = FeatureExtractor(model, self._pad_id, self.options) if self.options.cache else None

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, device: str = "cpu", **kwargs: object) -> RewardEngine:
        """Load a model directory or Hub name and build an engine around it."""
        model, tokenizer = load_model(name_or_path, device=device)
        return cls(model, tokenizer, **kwargs)  # type: ignore[arg-type]

    def reset_report(self) -> None:
        """Start counting overlong rows anew."""
        self.report = OverlongReport(self.model.config.max_input_tokens)
        self.tokenize.report = self.report

    @property
    def _pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives that remain after steering."""
        left_out = set(self.steering.without) if self.steering else set()
        return tuple(name for name in self.model.config.objective_names if name not in left_out)

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
            DataError: if every one of them was dropped as overlong, or none was given.
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
        prompts, completions = table.batch(np.arange(len(table)))
        with torch.inference_mode():
            device = next(self.model.score.parameters()).device
            posteriors = _to_cpu(self.model.score(prompts.to(device), completions.to(device)))
        judgments = [item.judgment for item in tokenized]
        return JudgedBatch(judgments, mask, self._steer(posteriors), self.objectives)

    def _steer(self, posteriors: Posteriors) -> Posteriors:
        if self.steering is None:
            return posteriors
        names = self.model.config.objective_names
        weights, decoder, rating = posteriors.weights, posteriors.decoder, posteriors.rating_model
        if self.steering.emphasis:
            counts = torch.tensor([float(self.steering.emphasis.get(name, 0.0)) for name in names])
            weights = emphasize(weights, counts)
        if self.steering.without:
            keep = torch.tensor([name not in self.steering.without for name in names])
            weights, decoder = without(weights, decoder, keep)
            rating = type(rating)(rating.slope, rating.offset[keep], rating.scale[keep])
        return Posteriors(weights, posteriors.features, decoder, rating)


def check_steering(model: VRMForSequenceClassification, steering: Steering | None) -> None:
    """Check steering against a model before anything is computed; raises ConfigError."""
    if steering is None:
        return
    names = model.config.objective_names
    unknown = sorted((set(steering.emphasis) | set(steering.without)) - set(names))
    if unknown:
        raise ConfigError(f"steering names {', '.join(unknown)}, but the model's objectives are: {', '.join(names)}")
    if steering.emphasis and model.config.head != "vrm":
        raise ConfigError(
            f"head '{model.config.head}' has no concentration to add counts to; only 'vrm' can be emphasized"
        )
    wrong = {name: count for name, count in steering.emphasis.items() if not 0 <= count < float("inf")}
    if wrong:
        raise ConfigError(f"emphasis counts must be finite and >= 0, got {wrong}")
    if not set(names) - set(steering.without):
        raise ConfigError("at least one objective must remain; all were left out")


def _to_cpu(posteriors: Posteriors) -> Posteriors:
    weights, features, rating = posteriors.weights, posteriors.features, posteriors.rating_model
    concentration = None if weights.concentration is None else weights.concentration.cpu()
    return Posteriors(
        ObjectiveWeights(weights.mean.cpu(), concentration),
        SemanticFeatures(features.loc.cpu(), features.variance.cpu()),
        posteriors.decoder.detach().cpu(),
        type(rating)(rating.slope.detach().cpu(), rating.offset.detach().cpu(), rating.scale.detach().cpu()),
    )
