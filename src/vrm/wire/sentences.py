"""What single sentences of a completion do to its reward, in files, on the wire and in Python."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SentenceReport:
    """A sentence, list item, heading or block of code, and what leaving it out does.

    Attributes:
        text: as it stands in the completion, with the white space around it.
        effect: E[r] of the completion minus E[r] without the sentence, raw: what the sentence adds.
        scores: {objective: what it adds to o_k(mu)}.
        contributions: {objective: what it adds to the reward by that objective}; they sum to `effect`.
    """

    text: str
    effect: float
    scores: dict[str, float]
    contributions: dict[str, float]


@dataclass(frozen=True)
class CompletionSentences:
    """The sentences of a completion, in order; joined again they are its text.

    Attributes:
        label: of the completion: A, B, ...
        sentences: none where there is one sentence alone, which cannot be left out.
    """

    label: str
    sentences: tuple[SentenceReport, ...]
