"""Tokenizing rows beside the same tokenizer on the same texts in one batch, on one core and on all of them.

    python -m studies.speed.tokenizing --data HH_HELPFUL HH_HARMLESS --json tokenizing.json

The texts are those of prompts and completions behind a guarded chat template for decoders, a prompt once a pair. The
tokenizer alone is given them as they are; the package renders the template, keeps what a row says apart from the
template's own tokens, and finds where a prompt ends. A run on one core is one to which the system gives no other.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

from studies.speed.inputs import benchmark_tokenizer, read_rows
from studies.speed.measure import Alone, Spread, in_turn, say, timed
from studies.speed.tables import Table, finish, parser, quiet

from vrm.data.chat import ChatTokenizer, guard_chat_template
from vrm.data.schema import Judgment
from vrm.data.tokenized import JudgmentTokenizer

ONE_BATCH, TOGETHER, ONE_BY_ONE = "the tokenizer alone, one batch", "JudgmentTokenizer, many rows", "a row at a time"
RENDERING, ENCODING = "rendering", "encoding"


def main() -> None:
    """Measure and print."""
    options = arguments()
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    quiet()
    rows = read_rows(options.data, 40 if options.quick else options.pairs, 1 << 20)
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    counts = [count for count in (1, 2, 4, 8, 16) if count < len(available)] + [max(len(available), 1)]
    speed = Table("Tokenizing", ["cores, side", "tokens/s", "x one batch"])
    parts = Table("Where the time goes, one core", ["part", "ms a row"])
    figures = {}
    for count in dict.fromkeys(counts):
        found = Alone(options.quick)(measure, rows.judgments, available[:count], options.rounds)
        tokens = found.pop("tokens")[0]
        figures[str(count)] = {"tokens": tokens, "seconds": found}
        for side in (ONE_BATCH, TOGETHER, ONE_BY_ONE):
            rate = Spread.of(tokens / seconds for seconds in found[side])
            ratio = Spread.of_ratios(found[ONE_BATCH], found[side])
            speed.add(f"{count}, {side}", rate.text(0), "-" if side == ONE_BATCH else ratio.text())
        if count == 1:
            for part in (RENDERING, ENCODING):
                parts.add(part, Spread.of(1e3 * seconds / len(rows) for seconds in found[part]).text())
        say(f"{count} cores done")
    speed.notes = [f"{len(rows):,} pairs of {rows.source}; tokens count a prompt once."]
    finish(options, [speed, parts], figures)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--data", nargs="+", default=[], help="preference data; without, generated pairs")
    options.add_argument("--pairs", type=int, default=1000)
    return options.parse_args()


def measure(judgments: Sequence[Judgment], cores: Sequence[int], rounds: int) -> dict[str, list[float]]:
    """Seconds of every side and part a round, and the number of tokens."""
    before = os.sched_getaffinity(0) if cores else set()
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        return _measured(judgments, rounds)
    finally:
        if cores:
            os.sched_setaffinity(0, before)


def _measured(judgments: Sequence[Judgment], rounds: int) -> dict[str, list[float]]:
    tokenizer = benchmark_tokenizer()
    guard_chat_template(tokenizer)
    chat = ChatTokenizer(tokenizer)
    tokenize = JudgmentTokenizer(chat, 1 << 20)
    tokenized = list(tokenize.many(judgments))
    drafts = [chat.draft(row) for row in judgments]
    texts = [
        piece.text for draft in drafts for piece in (draft.prompt, *(part.pieces[0] for part in draft.completions))
    ]

    def one_by_one() -> None:
        for row in judgments:
            tokenize.whole(row)

    sides = {
        ONE_BATCH: lambda: timed(lambda: tokenizer(texts, add_special_tokens=False)["input_ids"]),
        TOGETHER: lambda: timed(lambda: list(tokenize.many(judgments))),
        ONE_BY_ONE: lambda: timed(one_by_one),
        RENDERING: lambda: timed(lambda: [chat.draft(row) for row in judgments]),
        ENCODING: lambda: _seconds_of_encoding(chat, judgments),
    }
    return {"tokens": [sum(row.tokens for row in tokenized)], **in_turn(sides, rounds)}


def _seconds_of_encoding(chat: ChatTokenizer, judgments: Sequence[Judgment]) -> float:
    drafts = [chat.draft(row) for row in judgments]
    started = time.perf_counter()
    for first in range(0, len(drafts), 256):
        chat.together(drafts[first : first + 256])
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
