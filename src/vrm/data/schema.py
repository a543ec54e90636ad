"""The one row schema: a judgment of zero, two or more completions of one prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from vrm.labels.judgments import RaterJudgment, mean_preference

Message: TypeAlias = dict[str, Any]
"""One chat message: `role`, `content`, and whatever else the chat template reads (`tool_calls`, `name`, ...)."""

Text: TypeAlias = str | list[Message]
"""A prompt or completion: plain text (standard format) or messages (conversational format)."""


@dataclass(frozen=True, slots=True)
class Judgment:
    """What was said about the completions of one prompt; every part but the prompt may be missing.

    Attributes:
        prompt: text or messages. Prompt and completions of one row have the same format.
        completions: none (votes only), two (a comparison, chosen first) or more (a ranked list).
        preference: probability in [0, 1] that the first of two completions is preferred; None without a label.
            A comparison that carries no `preference` column has 1.0. Of several judgments it is their mean.
        margin: target margin t of equation (4), in units of reward.
        scores: for ranked lists, one number a completion, higher is better, ties allowed.
        ratings: one mapping {objective: number} a completion (possibly empty), or None.
        objective_votes: {objective: weight >= 0}, which objectives decided; None without votes.
        tools: tool definitions for the chat template.
        chat_template_kwargs: further arguments of the chat template.
        annotator: who judged.
        source: which data set the row is from.
        category: domain, scenario or topic of the prompt.
        file: where the row was read from.
        line: 1-based line (or row) number in `file`.
        labels: labels of kinds that `vrm.labels.register_kind` added, by the names that they give them.
        judgments: what several raters said of the pair (15), `completions` in their order; None for one judge.

    Example:
        >>> from vrm import Judgment
        >>> row = Judgment("Name a tree.", ["Oak", "Granite"], preference=1.0)
        >>> row.is_comparison
        True
    """

    prompt: Text
    completions: list[Text] = field(default_factory=list)
    preference: float | None = None
    margin: float = 0.0
    scores: list[float] | None = None
    ratings: list[dict[str, float]] | None = None
    objective_votes: dict[str, float] | None = None
    tools: list[Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    annotator: str | None = None
    source: str | None = None
    category: str | None = None
    file: str = "<memory>"
    line: int = 0
    labels: dict[str, Any] = field(default_factory=dict)
    judgments: list[RaterJudgment] | None = None

    def __post_init__(self) -> None:
        if self.judgments and self.preference is None:
            object.__setattr__(self, "preference", mean_preference(self.judgments))

    @property
    def is_comparison(self) -> bool:
        """Whether the row is a labelled pair."""
        return len(self.completions) == 2 and self.preference is not None

    @property
    def annotators(self) -> list[str | None]:
        """Who judged the row, one entry a judgment; None for nobody named."""
        return [judgment.annotator for judgment in self.judgments] if self.judgments else [self.annotator]
