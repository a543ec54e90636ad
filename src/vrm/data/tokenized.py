"""Tokenized judgments, and the policies for those that a backbone cannot read whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from vrm.choices import OnBadRows, OnOverlong
from vrm.data.chat import ChatTokenizer
from vrm.data.drafts import Draft
from vrm.data.encoding import Reader
from vrm.data.in_batches import encoded_together
from vrm.data.problems import InvalidRowError, Problem, one_problem
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key
from vrm.data.style import plain_text
from vrm.data.template_losses import CALLS, NOTHING_LEFT, ONLY_CALLS, TOOLS, says_nothing_else
from vrm.errors import OverlongError, check_choice

MIN_PROMPT = 8
"""Tokens of a prompt that `truncate_prompt` keeps at least (all of a shorter prompt)."""


MAX_EXAMPLES = 5
"""Rows over the limit that a report names."""


@dataclass(frozen=True, slots=True)
class TokenizedJudgment:
    """Token ids of a judgment.

    Attributes:
        prompt: ids of the prompt.
        completions: ids of each completion.
        judgment: the row itself, for its labels.
        prompt_cut: tokens that the limit took off the prompt.
        completions_cut: tokens that the limit took off each completion; empty where it took none.
        lost: what the chat template leaves out of the row, in words.
    """

    prompt: list[int]
    completions: list[list[int]]
    judgment: Judgment
    prompt_cut: int = 0
    completions_cut: tuple[int, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def truncated(self) -> bool:
        """Whether the model reads less than the row holds."""
        return self.prompt_cut > 0 or any(self.completions_cut)

    @property
    def identical(self) -> tuple[int, int] | None:
        """Positions of the first two completions that differ in text and not in tokens; None where there are none."""
        texts = self.judgment.completions
        first: dict[tuple[int, ...], int] = {}
        for position, ids in enumerate(self.completions):
            earlier = first.setdefault(tuple(ids), position)
            if texts[earlier] != texts[position]:
                return earlier, position
        return None

    @property
    def says_something(self) -> bool:
        """Whether something is left of every completion: one may call tools, and the chat template print none."""
        messages = [text for text in self.judgment.completions if not isinstance(text, str)]
        return CALLS not in self.lost or not any(map(says_nothing_else, messages))

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

    `total` counts all that were to be tokenized. `refusals` are the problems of the refused ones. `identical` counts
    rows with different completions that are the same in tokens, and `causes` says why. `sizes` counts the rows that
    have several completions, `losses` rows by what the chat template leaves out of them.
    """

    limit: int
    total: int = 0
    prompt_truncated: int = 0
    completion_truncated: int = 0
    dropped: int = 0
    dropped_identical: int = 0
    refused: int = 0
    identical: int = 0
    examples: list[str] = field(default_factory=list)
    refusals: list[Problem] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)

    def add(self, row: TokenizedJudgment) -> None:
        """Count a row that is judged, whether it was cut, and what the model cannot see of it."""
        self.prompt_truncated += row.prompt_cut > 0
        self.completion_truncated += any(row.completions_cut)
        self.losses.update(row.lost)
        if len(row.completions) > 1:
            self.sizes["pairs" if len(row.completions) == 2 else "lists"] += 1
            alike = row.identical
            self.identical += alike is not None
            self.causes.update([] if alike is None else [why_identical(row, *alike)])

    def refuse(self, error: InvalidRowError) -> None:
        """Count a row that is left out, as the chat template refuses it."""
        self.total += 1
        self.refused += 1
        self.refusals.extend(error.problems)

    def merge(self, other: OverlongReport, times: int = 1) -> None:
        """Add the counts of another report, so many times."""
        for name in ("total", "prompt_truncated", "completion_truncated", "dropped", "dropped_identical", "refused",
                     "identical"):  # fmt: skip
            setattr(self, name, getattr(self, name) + times * getattr(other, name))
        for name in ("sizes", "causes", "losses"):
            getattr(self, name).update({key: times * count for key, count in getattr(other, name).items()})
        self.examples = [*self.examples, *other.examples][:MAX_EXAMPLES]
        self.refusals.extend(other.refusals)

    def warnings(self) -> list[str]:
        """What a user should know of the rows beside the counts, a line each; none where all is well."""
        lines = []
        if self.refused:
            rows, first = (f"{self.refused:,} rows", "the first: ") if self.refused > 1 else ("1 row", "")
            lines.append(f"{rows} left out; {first}{self.refusals[0]}")
        if self.identical:
            noun = "rows" if self.sizes["lists"] else "pairs"
            causes = "; ".join(f"{cause} ({count:,})" for cause, count in self.causes.most_common())
            lines.append(f"{self.identical:,} of {self.sizes.total():,} {noun} become identical in tokens: {causes}")
        for cause, count in self.losses.most_common():
            lines.append(f"{cause}: {'1 row loses' if count == 1 else f'{count:,} rows lose'} them")
        return lines

    def render(self) -> str:
        """The counts in one line of words."""
        counts = {
            "prompt cut": self.prompt_truncated,
            "completion cut": self.completion_truncated,
            "dropped": self.dropped,
            "dropped because the sides became identical": self.dropped_identical,
        }
        overlong = [f"{count} {name}" for name, count in counts.items() if count]
        refused = f"; {self.refused} left out because of the chat template" if self.refused else ""
        if self.identical:
            refused += f"; {self.identical} with completions that are identical in tokens"
        rows = f"{self.total} row{'' if self.total == 1 else 's'}"
        if not overlong:
            every = "others" if self.refused else "all"
            return f"{rows}, {every} within {self.limit} tokens{refused}"
        return f"{rows}, limit {self.limit} tokens: {', '.join(overlong)}{refused}"


def why_identical(row: TokenizedJudgment, first: int, second: int) -> str:
    """Why two different completions of a row are the same in tokens, in words."""
    lost = [cause for cause in row.lost if cause != TOOLS]
    if lost:
        return " and ".join(lost)
    texts = [row.judgment.completions[position] for position in (first, second)]
    one, other = (plain_text(text) for text in texts)
    if one.strip() == other.strip():
        return "blank space at the ends of messages is trimmed"
    if row.completions_cut and any(row.completions_cut[position] for position in (first, second)):
        return "what sets them apart is cut off"
    if len({prompt_key(Judgment(text)) for text in texts}) == 1:
        return "the tokenizer does not tell case or white space apart"
    return "the chat template or the tokenizer reads them alike"


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
        try:
            whole = self.whole(judgment)
        except InvalidRowError as error:
            if self.on_bad_rows == OnBadRows.ERROR:
                raise
            self.report.refuse(error)
            return None
        return self.fit(whole)

    def whole(self, judgment: Judgment) -> TokenizedJudgment:
        """Tokenize one judgment, however long it is.

        Raises:
            InvalidRowError: the chat template refuses it, or leaves nothing of a completion.
        """
        draft = self.chat.draft(judgment)
        return with_words(encoded(draft, self.chat.together([draft])))

    def read_many(self, judgments: Iterable[Judgment]) -> Iterator[TokenizedJudgment | InvalidRowError]:
        """As `whole` for many, in order and in batches, also where nothing is left of a completion.

        The error of a row that the chat template refuses comes in its place.
        """
        for draft, read in encoded_together(self.chat, judgments):
            if isinstance(draft, Exception) and not isinstance(draft, InvalidRowError):
                raise draft
            yield draft if isinstance(draft, Exception) else encoded(draft, read)

    def fit(self, tokenized: TokenizedJudgment) -> TokenizedJudgment | None:
        """A tokenized judgment within the limit: itself, or cut by the policy, or None if dropped. All are counted."""
        self.report.total += 1
        fitted = tokenized if tokenized.longest <= self.max_tokens else self._shorten(tokenized)
        if fitted is not None:
            self.report.add(fitted)
        return fitted

    def many(self, judgments: Iterable[Judgment], on_bad_rows: str | None = None) -> Iterator[TokenizedJudgment]:
        """Tokenize many, leaving out the dropped; `on_bad_rows` in place of the tokenizer's own policy."""
        for outcome in self.each(judgments, on_bad_rows):
            if isinstance(outcome, InvalidRowError):
                raise outcome
            if outcome is not None:
                yield outcome

    def each(
        self, judgments: Iterable[Judgment], on_bad_rows: str | None = None
    ) -> Iterator[TokenizedJudgment | InvalidRowError | None]:
        """Tokenize many: for each the same as for one, in order; the error of a bad row comes in its place.

        Rows are rendered and encoded a batch at a time, the next batch being rendered while one is encoded.
        """
        skip = (on_bad_rows or self.on_bad_rows) == OnBadRows.SKIP
        for row in self.read_many(judgments):
            try:
                if isinstance(row, InvalidRowError):
                    raise row
                whole = with_words(row)
            except InvalidRowError as error:
                if skip:
                    self.report.refuse(error)
                yield None if skip else error
                continue
            yield self.fit(whole)

    def _shorten(self, whole: TokenizedJudgment) -> TokenizedJudgment | None:
        row = whole.judgment
        where = f"{row.file}:{row.line}: {whole.longest} tokens, limit {self.max_tokens}"
        if len(self.report.examples) < MAX_EXAMPLES:
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


def encoded(draft: Draft, read: Reader) -> TokenizedJudgment:
    """A rendered row with the token ids that a reader gives its pieces."""
    completions = [part.ids(read) for part in draft.completions]
    return TokenizedJudgment(list(read(draft.prompt)), completions, draft.judgment, lost=draft.lost)


def with_words(row: TokenizedJudgment) -> TokenizedJudgment:
    """The row; InvalidRowError where the chat template leaves nothing of a completion."""
    if not row.says_something:
        raise one_problem(row.judgment.file, row.judgment.line, "", NOTHING_LEFT, ONLY_CALLS)
    return row
