"""What the chat template makes of rows: those it refuses, those it makes identical, and what it leaves out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from vrm.data.problems import InvalidRowError
from vrm.data.template_losses import ONLY_CALLS
from vrm.data.tokenized import TokenizedJudgment, why_identical
from vrm.doctor.findings import Check, DoctorSettings
from vrm.doctor.rows import FileRows
from vrm.results.doctor import Finding
from vrm.results.formats import plural

NAMES = ("template_refuses", "identical_tokens", "template_drops")


@dataclass
class TemplateView:
    """Rows as the chat template and the tokenizer read them, gathered row by row.

    Attributes:
        refused: {row: the template's words}.
        identical: {row: why different completions are the same in tokens}.
        lost: {row: what the template leaves out}.
        looked: number of rows.
        several: number of rows with several completions.
    """

    refused: dict[int, str] = field(default_factory=dict)
    identical: dict[int, str] = field(default_factory=dict)
    lost: dict[int, tuple[str, ...]] = field(default_factory=dict)
    looked: int = 0
    several: int = 0

    def read(self, row: int, whole: TokenizedJudgment | InvalidRowError) -> TokenizedJudgment | None:
        """A row's tokens; None where the template refuses it. What is wrong with it is noted."""
        self.looked += 1
        if isinstance(whole, InvalidRowError):
            self.refused[row] = whole.reason
            return None
        if not whole.says_something:
            self.refused[row] = ONLY_CALLS
        if whole.lost:
            self.lost[row] = whole.lost
        self.several += len(whole.completions) > 1
        alike = whole.identical
        if alike is not None:
            self.identical[row] = why_identical(whole, *alike)
        return whole

    def findings(self, rows: FileRows, settings: DoctorSettings, sampled: str) -> list[Finding]:
        """Findings of the names `NAMES`; `sampled` says that they are of a sample."""
        limits = settings.thresholds
        refused = Check.of("template_refuses", rows, settings, self.refused, self.looked)
        identical = Check.of("identical_tokens", rows, settings, self.identical, self.several)
        lost = Check.of("template_drops", rows, settings, self.lost, self.looked)
        return [
            refused.by_share(
                f"{plural(refused.count, 'row')}{sampled} cannot be read by this model ({refused.percent})"
                + _reasons(self.refused),
                "Change their messages to what the template takes: vrm train stops at them unless on_bad_rows is skip.",
                error=limits.bad_rows,
                warning=0.0,
                details={"reasons": dict(Counter(self.refused.values()))},
            ),
            identical.by_share(
                f"In {plural(identical.count, 'row')}{sampled} different completions are the same in tokens "
                f"({identical.percent} of those with several)" + _reasons(self.identical),
                "Their rewards are equal whatever is trained: take them out, or give the model a template that prints "
                "what sets them apart (model.chat_template).",
                error=limits.cut_to_identical,
                warning=0.0,
                details={"reasons": dict(Counter(self.identical.values()))},
            ),
            lost.by_share(
                f"The chat template leaves out parts of {plural(lost.count, 'row')}{sampled} ({lost.percent})"
                + _reasons({row: "; ".join(causes) for row, causes in self.lost.items()}),
                "The model does not see them: give it a template that prints them (model.chat_template).",
                warning=0.0,
            ),
        ]


def _reasons(by_row: Mapping[int, str]) -> str:
    counts = Counter(by_row.values())
    return ": " + "; ".join(f"{reason} ({count:,})" for reason, count in counts.most_common()) + "." if counts else "."
