"""Which sentences did it: a completion is judged again without each of its sentences, under the same prompt.

The prompt decides the weights, so they stay as they are. All shortened completions are judged in one batch with the
whole ones, and the prompt is read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vrm.core.predictive import objective_scores
from vrm.data.schema import Judgment, Text
from vrm.data.units import split_units
from vrm.inference.engine import RewardEngine
from vrm.inference.explain import explain_row, label, last_message
from vrm.inference.judged import JudgedBatch
from vrm.inference.rewards import check_finite
from vrm.wire.explanation import Explanation
from vrm.wire.sentences import CompletionSentences, SentenceReport


@dataclass(frozen=True)
class LeftOut:
    """A judgment, and its completions with each sentence left out in turn.

    Attributes:
        judgment: as it was given.
        sentences: of each completion, joined again its text; none where a completion has one alone.
    """

    judgment: Judgment
    sentences: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, judgment: Judgment) -> LeftOut:
        """Split the last message of every completion into sentences, list items, headings and blocks of code."""
        return cls(judgment, tuple(_sentences(last_message(text)) for text in judgment.completions))

    @property
    def variants(self) -> Judgment:
        """The judgment with the shortened completions behind the whole ones, in order."""
        completions = list(self.judgment.completions)
        for text, sentences in zip(self.judgment.completions, self.sentences, strict=True):
            completions += [_without(text, sentences, position) for position in range(len(sentences))]
        return replace(
            self.judgment, completions=completions, preference=None, ratings=None, judgments=None, scores=None
        )

    @property
    def count(self) -> int:
        """Completions that `variants` has more than the judgment."""
        return sum(map(len, self.sentences))

    def effects(self, batch: JudgedBatch) -> tuple[CompletionSentences, ...]:
        """What each sentence adds.

        Args:
            batch: `variants`, judged, as a batch of one; steered or not.

        Raises:
            NumericsError: if a reward is not finite.
        """
        posteriors = batch.posteriors.double()
        weights = posteriors.weights.mean[0]
        if posteriors.weights.tilt is not None:
            weights = weights + posteriors.weights.tilt.loc.to(weights)
        scores = objective_scores(posteriors.features.loc[0], posteriors.decoder)
        check_finite(scores.flatten(), self.judgment)
        position, reports = len(self.judgment.completions), []
        for index, sentences in enumerate(self.sentences):
            rows = []
            for text in sentences:
                added = scores[index] - scores[position]
                contributions = weights * added
                rows.append(
                    SentenceReport(
                        text,
                        float(contributions.sum()),
                        dict(zip(batch.objectives, added.tolist(), strict=True)),
                        dict(zip(batch.objectives, contributions.tolist(), strict=True)),
                    )
                )
                position += 1
            reports.append(CompletionSentences(label(index), tuple(rows)))
        return tuple(reports)


def _sentences(text: str) -> tuple[str, ...]:
    units = [str(unit) for unit in split_units(text)]
    return tuple(units) if len(units) > 1 else ()


def _without(text: Text, sentences: Sequence[str], position: int) -> Text:
    rest = "".join([*sentences[:position], *sentences[position + 1 :]]).strip()
    if isinstance(text, str):
        return rest
    return [*text[:-1], {**text[-1], "content": rest}]


def explain_with_sentences(engine: RewardEngine, judgment: Judgment) -> Explanation:
    """Explain a judgment, and say what each sentence of its completions adds; errors as of `vrm.explain`."""
    left_out = LeftOut.of(judgment)
    batch = engine.judge([judgment, left_out.variants])
    return replace(explain_row(batch, 0, engine.model), sentences=left_out.effects(batch.row(1)))
