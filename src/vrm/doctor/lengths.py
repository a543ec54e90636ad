"""Lengths: whether the longer completion wins, sides that differ in next to nothing, and the limit of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vrm.choices import EMBEDDED, EMBEDDED_BACKBONES
from vrm.config import ModelConfig
from vrm.data.chat import ChatTokenizer, ensure_chat_template
from vrm.data.style import text_length
from vrm.data.tokenized import MIN_PROMPT, JudgmentTokenizer
from vrm.doctor.findings import Check, DoctorSettings, percent, with_ends
from vrm.doctor.rows import FileRows, Pair, evenly
from vrm.doctor.templates import NAMES, TemplateView
from vrm.errors import CheckpointError, ConfigError, MissingExtraError
from vrm.metrics import Interval, pairwise_hits, share_interval
from vrm.results.doctor import Finding, Severity
from vrm.results.formats import plural

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from vrm.inference.engine import RewardEngine


QUANTILES = (0.05, 0.5, 0.95, 1.0)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """`QUANTILES` of the values (at least one) and their mean, by name."""
    levels = np.quantile(np.asarray(values, dtype=np.float64), QUANTILES)
    named = {f"p{100 * level:.0f}" if level < 1 else "max": float(value) for level, value in zip(QUANTILES, levels)}
    return {**named, "mean": float(np.mean(values))}


def character_lengths(rows: FileRows) -> dict[str, dict[str, float]]:
    """Quantiles of the characters of prompts, and of the preferred and the other side of decided pairs."""
    sides = [_of_sides(rows, pair)[:: pair.sign] for pair in rows.pairs if pair.sign]
    named = {
        "prompt": [text_length(row.prompt) for row in rows.judgments],
        "chosen": [chosen for chosen, _ in sides],
        "rejected": [rejected for _, rejected in sides],
    }
    return {name: quantiles(lengths) for name, lengths in named.items() if lengths}


def check_lengths(rows: FileRows, settings: DoctorSettings) -> list[Finding]:
    """The "longer wins" rate, and sides that differ in case, white space or Unicode form alone."""
    return [_longer_wins(rows, settings), _case_only(rows, settings)]


def _of_sides(rows: FileRows, pair: Pair) -> tuple[int, int]:
    """Characters of the first and of the second completion."""
    completions = rows.judgments[pair.row].completions
    return text_length(completions[pair.first]), text_length(completions[pair.second])


def _rate(rows: FileRows, pairs: Sequence[Pair]) -> Interval:
    lengths = (_of_sides(rows, pair) for pair in pairs)
    hits = pairwise_hits([first - second for first, second in lengths], [pair.preference for pair in pairs])
    return share_interval(hits, [rows.prompts[pair.row] for pair in pairs])


def _longer_wins(rows: FileRows, settings: DoctorSettings) -> Finding:
    decided = [pair for pair in rows.pairs if pair.sign]
    check = Check.of("longer_wins", rows, settings, (), len(decided))
    if not decided:
        return check.not_run("There is no labelled pair that is not a tie.")
    rate = _rate(rows, decided)
    sources: dict[str, list[Pair]] = {}
    for pair in decided:
        sources.setdefault(rows.judgments[pair.row].source or "", []).append(pair)
    by_source = {name: _rate(rows, pairs) for name, pairs in sources.items()} if len(sources) > 1 else {}
    sure = rate.low > 0.5 or rate.high < 0.5
    strong = sure and abs(rate.estimate - 0.5) > settings.thresholds.longer_wins
    message = f"The longer completion wins {with_ends(rate)} of {plural(len(decided), 'decided pair')}"
    if by_source:
        message += "; by source: " + ", ".join(f"{name} {with_ends(interval)}" for name, interval in by_source.items())
    return check.finding(
        Severity.WARNING if strong else Severity.INFO,
        message + ".",
        "Quote this rate beside every accuracy, read length-controlled accuracy (vrm evaluate), and check the model's "
        "sensitivity to padding (vrm audit)."
        if strong
        else "",
        {"rate": rate, "by_source": by_source},
    )


def _case_only(rows: FileRows, settings: DoctorSettings) -> Finding:
    keys = rows.completions
    alike = [pair.row for pair in rows.pairs if keys[pair.row][pair.first] == keys[pair.row][pair.second]]
    check = Check.of("case_only", rows, settings, alike, len(rows.pairs))
    return check.by_share(
        f"In {plural(len(alike), 'pair')} the sides differ in case, white space or Unicode form alone "
        f"({check.percent}).",
        "Leave them out unless that is what was judged; an uncased tokenizer cannot tell such sides apart.",
        warning=settings.thresholds.case_only,
    )


DEFAULT_LIMIT = int(ModelConfig.model_fields["max_input_tokens"].default)
"""Tokens of a row that `vrm train` reads unless it is told otherwise."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a model reads rows.

    Attributes:
        tokenizer: with a chat template, if there are rows of messages.
        limit: tokens of prompt and completion together.
        name: of the tokenizer, for reports.
        wrap_text: whether plain text is wrapped into messages.
    """

    tokenizer: PreTrainedTokenizerBase
    limit: int
    name: str
    wrap_text: bool = False

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ConfigError(f"the limit of tokens is {self.limit}; it must be at least 1")

    @property
    def english_only(self) -> bool:
        """Whether this is an embedded backbone: both read English."""
        return self.name in EMBEDDED_BACKBONES


def load_reading(tokenizer: str = EMBEDDED, limit: int | None = None) -> Reading:
    """The tokenizer of a directory, Hub name or embedded backbone; `limit` None takes `DEFAULT_LIMIT`.

    An encoder's tokenizer without a chat template gets the one that training gives it.

    Raises:
        MissingExtraError: for an embedded one where its package is not installed.
        ConfigError: there is no such tokenizer, or the limit is under 1.
    """
    from vrm.model.checkpoint import load_tokenizer

    try:
        loaded = load_tokenizer(tokenizer)
    except CheckpointError as error:
        raise ConfigError(f"no tokenizer can be loaded from {tokenizer!r}: {error}") from None
    if loaded.cls_token is not None and loaded.sep_token is not None:
        ensure_chat_template(loaded, "encoder")
    return Reading(loaded, DEFAULT_LIMIT if limit is None else limit, tokenizer)


def default_reading(limit: int | None = None) -> Reading | str:
    """The embedded backbone's reading, or why there is none."""
    try:
        return load_reading(EMBEDDED, limit)
    except MissingExtraError as error:
        return f"{error}; or name a tokenizer (--tokenizer) or a model (--model)"


def model_reading(engine: RewardEngine, name: str, limit: int | None = None) -> Reading:
    """How a loaded model reads rows; `limit` overrides its own."""
    config = engine.model.config
    return Reading(engine.tokenizer, limit or config.max_input_tokens, name, config.conversational)


def check_tokens(
    rows: FileRows, settings: DoctorSettings, reading: Reading | str
) -> tuple[list[Finding], dict[str, Any]]:
    """Rows that are refused, sides that truncation makes identical, rows over the limit; and quantiles of lengths.

    Args:
        rows: of one file.
        settings: limits, and the number of rows to tokenize.
        reading: tokenizer and limit, or why there is none.
    """
    try:
        if not isinstance(reading, str):
            return _measured(rows, settings, reading)
    except ConfigError as error:
        # Rows of messages and a tokenizer without a chat template.
        reading = str(error)
    checks = (Check.of(name, rows, settings) for name in (*NAMES, "cut_to_identical", "over_limit"))
    return [check.not_run(f"No lengths in tokens: {reading}.") for check in checks], {}


def _measured(rows: FileRows, settings: DoctorSettings, reading: Reading) -> tuple[list[Finding], dict[str, Any]]:
    chat = ChatTokenizer(reading.tokenizer, reading.wrap_text)
    tokenize = JudgmentTokenizer(chat, reading.limit, "truncate")
    looked = evenly(range(len(rows)), settings.sample)
    prompts, first, second, totals = [], [], [], []
    over, identical, dropped = [], [], 0
    view, read = TemplateView(), []
    outcomes = tokenize.read_many(rows.judgments[row] for row in looked)
    for row, outcome in zip(looked, outcomes, strict=True):
        judgment = rows.judgments[row]
        whole = view.read(row, outcome)
        if whole is None:
            continue
        read.append(row)
        prompt, completions = len(whole.prompt), list(map(len, whole.completions))
        prompts.append(prompt)
        totals.append(whole.longest)
        if judgment.is_comparison:
            first.append(completions[0])
            second.append(completions[1])
        if totals[-1] > reading.limit:
            over.append(row)
            if tokenize.fit(whole) is None:
                identical.append(row)
        dropped += whole.longest - prompt + min(prompt, MIN_PROMPT) > reading.limit
    length = dict(zip(read, totals, strict=True))
    longest_first = sorted(over, key=lambda row: -length[row])
    sampled = f" of a sample of {len(looked):,}" if len(looked) < len(rows) else ""
    limit = {"limit": reading.limit, "tokenizer": reading.name}
    cut = Check.of("cut_to_identical", rows, settings, identical, len(first))
    long = Check.of("over_limit", rows, settings, longest_first, len(read))
    findings = [
        *view.findings(rows, settings, sampled),
        cut.by_share(
            f"{plural(cut.count, 'comparison')}{sampled} ({cut.percent}) would have identical sides if rows were cut "
            f"to {reading.limit:,} tokens ({reading.name}).",
            "Nothing is left to learn from them and they are dropped: raise the limit (a backbone that reads more), or "
            "use shorter texts.",
            error=settings.thresholds.cut_to_identical,
            warning=0.0,
            details=limit,
        ),
        long.by_share(
            f"{plural(long.count, 'row is', 'rows are')} over {reading.limit:,} tokens{sampled} ({long.percent}); "
            f"{dropped:,} ({percent(dropped / max(long.total, 1))}) even without their prompt.",
            "on_overlong truncate_prompt (the default of vrm train) drops the latter, truncate cuts their completions; "
            "a higher limit reads them.",
            warning=settings.thresholds.over_limit,
            details={**limit, "completions_too_long": dropped},
        ),
    ]
    named = {"prompt": prompts, "chosen": first, "rejected": second, "row": totals}
    return findings, {name: quantiles(values) for name, values in named.items() if values}
