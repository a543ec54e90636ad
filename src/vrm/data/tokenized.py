"""Tokenized judgments, and the policies for those that a backbone cannot read whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from vrm.choices import OnBadRows, OnOverlong
from vrm.data.chat import ChatTokenizer
from vrm.data.problems import InvalidRowError, Problem
from vrm.data.schema import Judgment
from vrm.errors import OverlongError, check_choice

MIN_PROMPT = 8
"""Tokens of a prompt that `truncate_prompt` keeps at least (all of a shorter prompt)."""


@dataclass(frozen=True, slots=True)
class TokenizedJudgment:
    """Token ids of a judgment.

    Attributes:
        prompt: ids of the prompt.
        completions: ids of each completion.
        judgment: the row itself, for its labels.
        prompt_cut: tokens that the limit took off the prompt.
        completions_cut: tokens that the limit took off each completion; empty where it took none.
    """

    prompt: list[int]
    completions: list[list[int]]
    judgment: Judgment
    prompt_cut: int = 0
    completions_cut: tuple[int, ...] = ()

    @property
    def truncated(self) -> bool:
        """Whether the model reads less than the row holds."""
        return self.prompt_cut > 0 or any(self.completions_cut)

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and of all completions, as the model reads them."""
        return len(self.prompt) + sum(map(len, self.completions))

    @property
    def longest(self) -> int:
        """Tokens of the prompt with the longest of its completions."""
        return len(self.prompt) + max(map(len, self.completions), default=0)


@dataclass
class OverlongReport:
    """Counts of judgments over the limit, and of those that the chat template refuses.

    `total` counts all that were to be tokenized; `refusals` are the problems of the refused ones.
    """

    limit: int
    total: int = 0
    prompt_truncated: int = 0
    completion_truncated: int = 0
    dropped: int = 0
    dropped_identical: int = 0
    refused: int = 0
    examples: list[str] = field(default_factory=list)
    refusals: list[Problem] = field(default_factory=list)

    def add(self, row: TokenizedJudgment) -> None:
        """Count a row that is judged, and whether it was cut."""
        self.prompt_truncated += row.prompt_cut > 0
        self.completion_truncated += any(row.completions_cut)

    def refuse(self, error: InvalidRowError) -> None:
        """Count a row that is left out, as the chat template refuses it."""
        self.total += 1
        self.refused += 1
        self.refusals.extend(error.problems)

    def warnings(self) -> list[str]:
        """What a user should know of the rows beside the counts, a line each; none where all is well."""
        if not self.refused:
            return []
        count, first = (f"{self.refused:,} rows", "the first: ") if self.refused > 1 else ("1 row", "")
        return [f"{count} left out; {first}{self.refusals[0]}"]

    def render(self) -> str:
        """The counts in one line of words."""
        counts = {
            "prompt cut": self.prompt_truncated,
            "completion cut": self.completion_truncated,
            "dropped": self.dropped,
            "dropped because the sides became identical": self.dropped_identical,
        }
        overlong = [f"{count} {name}" for name, count in counts.items() if count]
        refused = f"; {self.refused} left out, refused by the chat template" if self.refused else ""
        if not overlong:
            every = "others" if self.refused else "all"
            return f"{self.total} judgments, {every} within {self.limit} tokens{refused}"
        return f"{self.total} judgments, limit {self.limit} tokens: {', '.join(overlong)}{refused}"


class JudgmentTokenizer:
    """Tokenizes judgments within a limit of tokens for prompt and completion together.

    Args:
        chat: the chat tokenizer.
        max_tokens: limit of one row.
        on_overlong: one of `vrm.choices.OnOverlong`.
        report: where counts go; a fresh one if None.
        on_bad_rows: one of `vrm.choices.OnBadRows`, for rows that the chat template refuses.

    Raises:
        ConfigError: for an unknown policy.
    """

    def __init__(
        self,
        chat: ChatTokenizer,
        max_tokens: int,
        on_overlong: str = "error",
        report: OverlongReport | None = None,
        on_bad_rows: str = "error",
    ) -> None:
        check_choice("on_overlong", on_overlong, OnOverlong)
        check_choice("on_bad_rows", on_bad_rows, OnBadRows)
        self.chat, self.max_tokens, self.on_overlong = chat, max_tokens, on_overlong
        self.on_bad_rows = on_bad_rows
        self.report = report or OverlongReport(max_tokens)
        self._special = frozenset(chat.tokenizer.all_special_ids)

    def __call__(self, judgment: Judgment) -> TokenizedJudgment | None:
        """Tokenize one judgment; None if it was left out (and counted).

        Raises:
            InvalidRowError, OverlongError: where the policies say so.
        """
        return self._by_policy(judgment, self.on_bad_rows)

    def whole(self, judgment: Judgment) -> TokenizedJudgment:
        """Tokenize one judgment, however long it is; InvalidRowError where the chat template refuses it."""
        prompt = self.chat.prompt(judgment)
        completions = [self.chat.completion(prompt, text, judgment) for text in judgment.completions]
        return TokenizedJudgment(prompt.ids, completions, judgment)

    def fit(self, tokenized: TokenizedJudgment) -> TokenizedJudgment | None:
        """A tokenized judgment within the limit: itself, or cut by the policy, or None if dropped. All are counted."""
        self.report.total += 1
        fitted = tokenized if tokenized.longest <= self.max_tokens else self._shorten(tokenized)
        if fitted is not None:
            self.report.add(fitted)
        return fitted

    def many(self, judgments: Iterable[Judgment], on_bad_rows: str | None = None) -> Iterator[TokenizedJudgment]:
        """Tokenize many, leaving out the dropped; `on_bad_rows` in place of the tokenizer's own policy."""
        for judgment in judgments:
            tokenized = self._by_policy(judgment, on_bad_rows or self.on_bad_rows)
            if tokenized is not None:
                yield tokenized

    def _by_policy(self, judgment: Judgment, on_bad_rows: str) -> TokenizedJudgment | None:
        try:
            whole = self.whole(judgment)
        except InvalidRowError as error:
            if on_bad_rows == OnBadRows.ERROR:
                raise
            self.report.refuse(error)
            return None
        return self.fit(whole)

    def _shorten(self, whole: TokenizedJudgment) -> TokenizedJudgment | None:
        row = whole.judgment
        where = f"{row.file}:{row.line}: {whole.longest} tokens, limit {self.max_tokens}"
        if len(self.report.examples) < 5:
            self.report.examples.append(where)
        if self.on_overlong == OnOverlong.ERROR:
            raise OverlongError(f"{where}. Set on_overlong to drop, truncate_prompt or truncate, or raise the limit")
        if self.on_overlong == OnOverlong.DROP:
            self.report.dropped += 1
            return None
        longest = whole.longest - len(whole.prompt)
        # A quarter of the row stays with the prompt, so that a long completion is still read in its context.
        least = min(len(whole.prompt), self.max_tokens // 4 if self.on_overlong == OnOverlong.TRUNCATE else MIN_PROMPT)
        prompt = self._cut_prompt(whole.prompt, max(self.max_tokens - longest, least))
        shortened = replace(whole, prompt=prompt, prompt_cut=len(whole.prompt) - len(prompt))
        space = self.max_tokens - len(prompt)
        if longest <= space:
            return shortened
        if self.on_overlong == OnOverlong.TRUNCATE_PROMPT:
            self.report.dropped += 1
            return None
        return self._cut_completions(shortened, space)

    def _cut_completions(self, tokenized: TokenizedJudgment, space: int) -> TokenizedJudgment | None:
        cut = [ids if len(ids) <= space else [*ids[: space - 1], ids[-1]] for ids in tokenized.completions]
        if tokenized.judgment.is_comparison and cut[0] == cut[1]:
            self.report.dropped_identical += 1
            return None
        lost = tuple(len(ids) - len(kept) for ids, kept in zip(tokenized.completions, cut, strict=True))
        return replace(tokenized, completions=cut, completions_cut=lost)

    def _cut_prompt(self, ids: list[int], room: int) -> list[int]:
        """Keep the end of a prompt, and its very first token if that is special (BOS, [CLS])."""
        if len(ids) <= room:
            return ids
        head = ids[:1] if ids[0] in self._special else []
        return head + ids[len(ids) - (room - len(head)) :]
