"""Rows between rendering and encoding: the texts are there, their token ids are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from vrm.data.encoding import Part, Piece
from vrm.data.schema import Judgment


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt's text, and how a completion is attached to it.

    Attributes:
        text: rendered prompt, the trailing whitespace included.
        piece: what is encoded of it: all but the trailing whitespace, which is tokenized with the completion.
        gap: that trailing whitespace.
        lead: text the template puts between the generation prompt and the completion's content, usually none.
        tail: text the template puts after the content (end of turn).
        anchor: end of `text` from its last special token on, the trailing whitespace left out.
    """

    text: str
    piece: Piece
    gap: str = ""
    lead: str = ""
    tail: str = ""
    anchor: str = ""


class Frame(NamedTuple):
    """What a template puts around the content of an answer; see `RenderedPrompt`."""

    lead: str
    tail: str


@dataclass(frozen=True, slots=True)
class TokenizedPrompt:
    """A prompt in tokens.

    Attributes:
        ids: token ids of the prompt, to the end of the generation prompt without its trailing whitespace.
        rendered: its text.
    """

    ids: list[int]
    rendered: RenderedPrompt


@dataclass(frozen=True, slots=True)
class Draft:
    """A row as it is rendered, before any of it is encoded.

    Attributes:
        judgment: the row.
        prompt: what is encoded of its prompt.
        completions: the same of each completion.
        lost: what the chat template leaves out of the row, in words.
    """

    judgment: Judgment
    prompt: Piece
    completions: tuple[Part, ...]
    lost: tuple[str, ...] = ()

    def wanted(self) -> list[Piece]:
        """All pieces of the row."""
        return [self.prompt, *(piece for part in self.completions for piece in part.wanted())]
