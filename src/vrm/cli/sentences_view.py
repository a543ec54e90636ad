"""What each sentence of a completion adds to its reward, in a terminal: a bar a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vrm.wire.sentences import CompletionSentences, SentenceReport


def sentences_table(completions: Sequence[CompletionSentences], cells: int, block: str) -> RenderableType:
    """One row a sentence, in order: what it adds, a bar of at most `cells` blocks, the objective behind most of it."""
    most = max((abs(sentence.effect) for entry in completions for sentence in entry.sentences), default=0.0)
    table = Table.grid(padding=(0, 2, 0, 0))
    for column in ({}, {"justify": "right", "no_wrap": True}, {"no_wrap": True}, {"ratio": 1}):
        table.add_column(**column)  # type: ignore[arg-type]
    for entry in completions:
        if not entry.sentences:
            table.add_row(entry.label, "", "", Text("one sentence, which cannot be left out", style="dim"))
        for place, sentence in enumerate(entry.sentences):
            bar = Text(block * round(cells * abs(sentence.effect) / most if most else 0))
            bar.stylize("blue" if sentence.effect > 0 else "yellow")
            words = Text(" ".join(sentence.text.split()), overflow="fold")
            words.append(f"  {_by(sentence)}", style="dim")
            table.add_row(entry.label if place == 0 else "", f"{sentence.effect:+.2f}", bar, words)
    hint = "The reward of the completion minus its reward without the sentence; effects of several do not add up."
    return Group(table, Text(f"\n{hint}", style="dim"))


def _by(sentence: SentenceReport) -> str:
    """The objective that says most in the direction of the effect."""
    sign = 1 if sentence.effect > 0 else -1
    name, value = max(sentence.contributions.items(), key=lambda item: sign * item[1])
    return f"({name} {value:+.2f})" if len(sentence.contributions) > 1 and abs(value) >= 0.005 else ""
