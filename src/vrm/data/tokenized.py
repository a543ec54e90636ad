"""Tokenized judgments, and what happens to those that a backbone cannot read whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from vrm.choices import OnOverlong
from vrm.data.chat import ChatTokenizer
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
    """

    prompt: list[int]
    completions: list[list[int]]
    judgment: Judgment


@dataclass
class OverlongReport:
    """Counts of judgments over the limit; `total` counts all that were tokenized."""

    limit: int
    total: int = 0
    prompt_truncated: int = 0
    completion_truncated: int = 0
    dropped: int = 0
    dropped_identical: int = 0
    examples: list[str] = field(default_factory=list)

    def render(self) -> str:
        """One line for people; says that nothing was over the limit if so."""
        counts = {
            "prompt cut": self.prompt_truncated,
            "completion cut": self.completion_truncated,
            "dropped": self.dropped,
            "dropped because the sides became identical": self.dropped_identical,
        }
        found = [f"{count} {name}" for name, count in counts.items() if count]
        if not found:
            return f"{self.total} judgments, all within {self.limit} tokens"
        return f"{self.total} judgments, limit {self.limit} tokens: {', '.join(found)}"


class JudgmentTokenizer:
    """Tokenizes judgments within a limit of tokens for prompt and completion together.

    Args:
        chat: the chat tokenizer.
        max_tokens: limit of one row.
        on_overlong: one of `vrm.choices.OnOverlong`.
        report: where counts go; a fresh one if None.

    Raises:
        ConfigError: for an unknown policy.
    """

    def __init__(
        self, chat: ChatTokenizer, max_tokens: int, on_overlong: str = "error", report: OverlongReport | None = None
    ) -> None:
        check_choice("on_overlong", on_overlong, OnOverlong)
        self.chat, self.max_tokens, self.on_overlong = chat, max_tokens, on_overlong
        self.report = report or OverlongReport(max_tokens)
        self._special = frozenset(chat.tokenizer.all_special_ids)

    def __call__(self, judgment: Judgment) -> TokenizedJudgment | None:
        """Tokenize one judgment; None if it was dropped (and counted)."""
        return self.fit(self.whole(judgment))

    def whole(self, judgment: Judgment) -> TokenizedJudgment:
        """Tokenize one judgment, however long it is."""
        prompt = self.chat.prompt(judgment)
        completions = [self.chat.completion(prompt, text, judgment) for text in judgment.completions]
        return TokenizedJudgment(prompt.ids, completions, judgment)

    def fit(self, tokenized: TokenizedJudgment) -> TokenizedJudgment | None:
        """A tokenized judgment within the limit: itself, or what `on_overlong` makes of it; counted either way."""
        self.report.total += 1
        if self._longest(tokenized) <= self.max_tokens:
            return tokenized
        return self._shorten(tokenized)

    def many(self, judgments: Iterable[Judgment]) -> Iterator[TokenizedJudgment]:
        """Tokenize many, leaving out the dropped."""
        for judgment in judgments:
            tokenized = self(judgment)
            if tokenized is not None:
                yield tokenized

    def _longest(self, tokenized: TokenizedJudgment) -> int:
        return len(tokenized.prompt) + max((len(ids) for ids in tokenized.completions), default=0)

    def _shorten(self, tokenized: TokenizedJudgment) -> TokenizedJudgment | None:
        row = tokenized.judgment
        where = f"{row.file}:{row.line}: {self._longest(tokenized)} tokens, limit {self.max_tokens}"
        if len(self.report.examples) < 5:
            self.report.examples.append(where)
        if self.on_overlong == OnOverlong.ERROR:
            raise OverlongError(f"{where}. Set on_overlong to drop, truncate_prompt or truncate, or raise the limit")
        if self.on_overlong == OnOverlong.DROP:
            self.report.dropped += 1
            return None
        longest = max((len(ids) for ids in tokenized.completions), default=0)
        # A quarter of the row stays with the prompt, so that a long completion is still read in its context.
        least = min(
            len(tokenized.prompt), self.max_tokens // 4 if self.on_overlong == OnOverlong.TRUNCATE else MIN_PROMPT
        )
        room = max(self.max_tokens - longest, least)
        prompt = self._cut_prompt(tokenized.prompt, room)
        space = self.max_tokens - len(prompt)
        if longest <= space:
            self.report.prompt_truncated += 1
            return TokenizedJudgment(prompt, tokenized.completions, row)
        if self.on_overlong == OnOverlong.TRUNCATE_PROMPT:
            self.report.dropped += 1
            return None
        return self._cut_completions(TokenizedJudgment(prompt, tokenized.completions, row), space, tokenized.prompt)

    def _cut_completions(
        self, tokenized: TokenizedJudgment, space: int, whole_prompt: list[int]
    ) -> TokenizedJudgment | None:
        cut = [ids if len(ids) <= space else [*ids[: space - 1], ids[-1]] for ids in tokenized.completions]
        row = tokenized.judgment
        if row.is_comparison and cut[0] == cut[1]:
            self.report.dropped_identical += 1
            return None
        self.report.completion_truncated += 1
        self.report.prompt_truncated += int(len(tokenized.prompt) < len(whole_prompt))
        return TokenizedJudgment(tokenized.prompt, cut, row)

    def _cut_prompt(self, ids: list[int], room: int) -> list[int]:
        """Keep the end of a prompt, and its very first token if that is special (BOS, [CLS])."""
        if len(ids) <= room:
            return ids
        head = ids[:1] if ids[0] in self._special else []
        return head + ids[len(ids) - (room - len(head)) :]
