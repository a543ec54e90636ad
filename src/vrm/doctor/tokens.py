"""Lengths in tokens, and what the limit of tokens does to the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vrm.choices import EMBEDDED
from vrm.config import ModelConfig
from vrm.data.chat import ChatTokenizer, ensure_chat_template
from vrm.data.tokenized import MIN_PROMPT, JudgmentTokenizer
from vrm.doctor.check import Check
from vrm.doctor.findings import DoctorSettings, percent, plural
from vrm.doctor.lengths import quantiles
from vrm.doctor.rows import FileRows, evenly
from vrm.errors import ConfigError, MissingExtraError
from vrm.results.doctor import Finding

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from vrm.inference.engine import RewardEngine

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
        """Whether this is the embedded backbone, which reads English."""
        return self.name == EMBEDDED


def load_reading(tokenizer: str = EMBEDDED, limit: int | None = None) -> Reading:
    """The tokenizer of a backbone directory, Hub name or `embedded`; `limit` None takes `DEFAULT_LIMIT`.

    An encoder's tokenizer without a chat template gets the one that training gives it.

    Raises:
        MissingExtraError: for `embedded` where its package is not installed.
        ConfigError: there is no such tokenizer, or the limit is under 1.
    """
    from vrm.model.checkpoint import load_tokenizer

    try:
        loaded = load_tokenizer(tokenizer)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"no tokenizer can be loaded from {tokenizer!r}: {reason}") from None
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
    """Sides that truncation makes identical and rows over the limit; and quantiles of lengths in tokens.

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
    checks = (Check(name, rows, settings) for name in ("cut_to_identical", "over_limit"))
    return [check.not_run(f"No lengths in tokens: {reading}.") for check in checks], {}


def _measured(rows: FileRows, settings: DoctorSettings, reading: Reading) -> tuple[list[Finding], dict[str, Any]]:
    chat = ChatTokenizer(reading.tokenizer, reading.wrap_text)
    tokenize = JudgmentTokenizer(chat, reading.limit, "truncate")
    looked = evenly(range(len(rows)), settings.sample)
    prompts, first, second, totals = [], [], [], []
    over, dropped, identical = [], [], []
    for row in looked:
        judgment = rows.judgments[row]
        whole = tokenize.whole(judgment)
        prompt, completions = len(whole.prompt), list(map(len, whole.completions))
        prompts.append(prompt)
        totals.append(whole.longest)
        if judgment.is_comparison:
            first.append(completions[0])
            second.append(completions[1])
        if totals[-1] > reading.limit:
            over.append(row)
        if whole.longest - prompt + min(prompt, MIN_PROMPT) > reading.limit:
            dropped.append(row)
        if tokenize.fit(whole) is None:
            identical.append(row)
    length = dict(zip(looked, totals, strict=True))
    longest_first = sorted(over, key=lambda row: -length[row])
    sampled = f" of a sample of {len(looked):,}" if len(looked) < len(rows) else ""
    findings = [
        _cut_to_identical(Check("cut_to_identical", rows, settings, identical, len(first)), reading, sampled),
        _over_limit(Check("over_limit", rows, settings, longest_first, len(looked)), reading, sampled, len(dropped)),
    ]
    named = {"prompt": prompts, "chosen": first, "rejected": second, "row": totals}
    return findings, {name: quantiles(values) for name, values in named.items() if values}


def _cut_to_identical(check: Check, reading: Reading, sampled: str) -> Finding:
    return check.by_share(
        f"{plural(len(check.concerned), 'comparison')}{sampled} ({check.percent}) would have identical sides if rows "
        f"were cut to {reading.limit:,} tokens ({reading.name}).",
        "Nothing is left to learn from them and they are dropped: raise the limit (a backbone that reads more), or use "
        "shorter texts.",
        error=check.settings.thresholds.cut_to_identical,
        warning=0.0,
        details={"limit": reading.limit, "tokenizer": reading.name},
    )


def _over_limit(check: Check, reading: Reading, sampled: str, dropped: int) -> Finding:
    return check.by_share(
        f"{plural(len(check.concerned), 'row is', 'rows are')} over {reading.limit:,} tokens{sampled} "
        f"({check.percent}); {dropped:,} ({percent(dropped / max(check.total, 1))}) even without their prompt.",
        "on_overlong truncate_prompt (the default of vrm train) drops the latter, truncate cuts their completions; a "
        "higher limit reads them.",
        warning=check.settings.thresholds.over_limit,
        details={"limit": reading.limit, "tokenizer": reading.name, "completions_too_long": dropped},
    )
