"""What the doctor reports: findings with a severity, and the limits that decide it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from vrm.choices import SplitBy
from vrm.doctor.rows import FileRows
from vrm.errors import ConfigError, MissingExtraError, check_choice
from vrm.metrics import Interval
from vrm.results.doctor import Finding, Severity
from vrm.results.formats import ends


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Above which share a finding is an error or a warning; the one place where this is decided.

    Attributes:
        bad_rows: error; of rows that cannot be used, and of those that the chat template refuses. Any is a warning:
            training stops at them by default.
        cut_to_identical: error; of pairs whose sides are the same after truncation, and of rows with different
            completions that are the same in tokens. Any is a warning.
        contradictory_pairs: error; of labelled pairs that are also judged the other way round. Any is a warning.
        shared_prompts: error; of the smaller file's prompts that are in the other file too. Any at all by default.
        near_shared_prompts: error; the same for near copies. Any is a warning.
        duplicate_rows: warning; of rows that repeat an earlier row's pair and label, exactly or nearly.
        repeated_completions: warning; of completions whose text also stands under another prompt.
        near_duplicate_prompts: warning; of prompts that are near copies of another prompt of the file.
        case_only: warning; of pairs whose sides differ in case, white space or Unicode form alone.
        longer_wins: warning; distance of the "longer wins" rate from 1/2, if its interval leaves 1/2 out.
        label_noise: warning; of estimated wrong labels.
        ratings_contradict: warning; of rated pairs whose rejected side has the higher mean rating.
        over_limit: warning; of rows that are longer than the limit of tokens.
        other_languages: warning; of prompts in another language than English, where the tokenizer is the embedded
            backbone's, which reads English.
        near: Jaccard similarity of word shingles from which two texts are near copies, in (0, 1].

    Raises:
        ConfigError: a value is outside [0, 1], or `near` is 0.
    """

    bad_rows: float = 0.01
    cut_to_identical: float = 0.05
    contradictory_pairs: float = 0.10
    shared_prompts: float = 0.0
    near_shared_prompts: float = 0.05
    duplicate_rows: float = 0.01
    repeated_completions: float = 0.01
    near_duplicate_prompts: float = 0.01
    case_only: float = 0.01
    longer_wins: float = 0.10
    label_noise: float = 0.15
    ratings_contradict: float = 0.20
    over_limit: float = 0.10
    other_languages: float = 0.05
    near: float = 0.8

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0 or (name == "near" and not value):
                raise ConfigError(f"threshold '{name}' is {value!r}; it is a share, in [0, 1]")


@dataclass(frozen=True, slots=True)
class DoctorSettings:
    """How `diagnose` looks.

    Attributes:
        thresholds: what makes a finding an error or a warning.
        allow: names of findings that may be errors without making the data invalid; they become warnings.
        examples: places that a finding keeps.
        split_by: `prompt`: files must not share prompts; `category`: nor categories.
        sample: rows of a file that are tokenized, and prompts whose language is detected, evenly spaced; 0 for all.
        model_rows: rows of a file that the model judges, evenly spaced; 0 for all.

    Raises:
        ConfigError: a value is not allowed.
    """

    thresholds: Thresholds = field(default_factory=Thresholds)
    allow: tuple[str, ...] = ()
    examples: int = 3
    split_by: str = "prompt"
    sample: int = 10_000
    model_rows: int = 2_000

    def __post_init__(self) -> None:
        check_choice("split_by", self.split_by, SplitBy)
        for name in ("examples", "sample", "model_rows"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 0")
        unknown = sorted(set(self.allow) - set(ERRORS))
        if unknown:
            raise ConfigError(
                f"{', '.join(unknown)} cannot be allowed; findings that can be errors: {', '.join(ERRORS)}"
            )


ERRORS = (
    "bad_rows",
    "nothing_to_learn",
    "contradictory_pairs",
    "template_refuses",
    "identical_tokens",
    "cut_to_identical",
    "shared_prompts",
    "near_shared_prompts",
    "shared_categories",
)
"""Names of the findings that can be errors."""


def check_extra() -> None:
    """Raise `MissingExtraError` where a library of the extra `doctor` is absent."""
    for package, feature in (("datasketch", "The search for near duplicates"), ("py3langid", "Language detection")):
        if find_spec(package) is None:
            raise MissingExtraError(package, "doctor", feature)


def severity(count: int, total: int, *, error: float | None = None, warning: float | None = None) -> Severity:
    """`error` or `warning` where the share is above that limit, else `info`; `ok` where there is none."""
    if not count:
        return Severity.OK
    share = count / total
    if error is not None and share > error:
        return Severity.ERROR
    return Severity.WARNING if warning is not None and share > warning else Severity.INFO


def percent(share: float) -> str:
    """A share in words: at most one decimal, and never rounded to nothing."""
    if 0 < share < 0.0005:
        return "under 0.1 %"
    return f"{100 * share:.1f} %"


def with_ends(interval: Interval) -> str:
    """A share in words with the ends of its interval, where there are any."""
    return percent(interval.estimate) + ("" if math.isnan(interval.low) else f" {ends(interval.low, interval.high)}")


def ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The worst first; within a severity in the order given."""
    return tuple(sorted(findings, key=lambda finding: list(Severity).index(finding.severity)))


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked for in one file or between two, and the finding that comes of it.

    Attributes:
        name: as `--allow` takes it.
        files: names of the files.
        count: number of rows, pairs or prompts that it concerns.
        total: number that were looked at.
        places: the first of them, as a finding names them.
    """

    name: str
    files: tuple[str, ...]
    count: int = 0
    total: int = 0
    places: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, name: str, rows: FileRows, settings: DoctorSettings, concerned: Collection[int] = (), total: int = 0
    ) -> Check:
        """The check of one file that concerns some of its rows, the first to be named first; one may stand twice."""
        return cls(name, (rows.name,), len(concerned), total, rows.places(concerned, settings.examples))

    @property
    def percent(self) -> str:
        """The share concerned, in words."""
        return percent(self.count / max(self.total, 1))

    def not_run(self, message: str, details: dict[str, Any] | None = None) -> Finding:
        """The finding where nothing could be looked for."""
        return Finding(self.name, Severity.NOT_RUN, self.files, message, details=details or {})

    def by_share(
        self,
        message: str,
        advice: str,
        *,
        error: float | None = None,
        warning: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> Finding:
        """The finding with the severity of its share.

        Args:
            message: what was found.
            advice: what to do about it, left out where the count is 0.
            error: share above which it is an error.
            warning: share above which it is a warning.
            details: further numbers.
        """
        degree = severity(self.count, self.total, error=error, warning=warning)
        return self.finding(degree, message, advice if self.count else "", details)

    def finding(
        self, degree: Severity, message: str, advice: str = "", details: dict[str, Any] | None = None
    ) -> Finding:
        """The finding with a severity of its own."""
        return Finding(
            self.name, degree, self.files, message, advice, self.count, self.total, details or {}, self.places
        )
