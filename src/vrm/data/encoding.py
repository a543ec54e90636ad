"""Texts to token ids, many in one call of the tokenizer, which then shares them out to all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Piece(NamedTuple):
    """A text to encode.

    Attributes:
        text: the text.
        marked: special tokens that it spells are parsed; otherwise it is text, whatever it spells.
        opened: the tokenizer adds its own special tokens, as to plain texts.
    """

    text: str
    marked: bool = True
    opened: bool = False


Reader: TypeAlias = Callable[[Piece], list[int]]
"""Gives a piece's token ids."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is encoded of a prompt or completion, before it is encoded.

    Attributes:
        pieces: one after the other; exactly one where there is an anchor.
        anchor: text before the piece that decides how it is tokenized, and whose own ids do not count; None without.
    """

    pieces: tuple[Piece, ...]
    anchor: str | None = None

    def wanted(self) -> tuple[Piece, ...]:
        """All pieces that `ids` asks for."""
        if self.anchor is None:
            return self.pieces
        return Piece(self.anchor), Piece(self.anchor + self.pieces[0].text)

    def ids(self, read: Reader) -> list[int]:
        """Token ids of the part."""
        if self.anchor is None:
            return [token for piece in self.pieces for token in read(piece)]
        before, ids = map(read, self.wanted())
        return ids[len(before) :] if ids[: len(before)] == before else list(read(self.pieces[0]))


_SAMPLE = 4


class PieceEncoder:
    """Encodes pieces, one or many.

    Args:
        tokenizer: a fast or slow `transformers` tokenizer; slow ones encode one text at a time.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def __call__(self, piece: Piece) -> list[int]:
        """Token ids of a piece."""
        if not piece.text:
            return []
        return list(self.tokenizer.encode(piece.text, **_options(piece)))

    def together(self, pieces: Iterable[Piece]) -> Reader:
        """Encode many pieces at once; the reader has their ids, and encodes others when asked for them."""
        groups: dict[tuple[bool, bool], dict[Piece, None]] = {}
        for piece in pieces:
            if piece.text:
                groups.setdefault(piece[1:], {})[piece] = None
        known: dict[Piece, list[int]] = {}
        if getattr(self.tokenizer, "is_fast", False):
            for group in groups.values():
                known.update(zip(group, self._batch(list(group)), strict=False))
        return lambda piece: known[piece] if piece in known else self(piece)

    def _batch(self, pieces: list[Piece]) -> list[list[int]]:
        texts, options = [piece.text for piece in pieces], _options(pieces[0])
        try:
            # Its own class sets the tokenizer up for these options, and shows that it does no more than that.
            sample = self._ids(texts[:_SAMPLE], options)
            encode = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "encode_batch_fast", None)
            if encode is None or len(texts) <= _SAMPLE:
                return sample + self._ids(texts[_SAMPLE:], options)
            # Without offsets, which nobody reads.
            found = [encoding.ids for encoding in encode(texts, add_special_tokens=pieces[0].opened)]
            return found if found[:_SAMPLE] == sample else self._ids(texts, options)
        except Exception:  # one text that cannot be encoded: it says so where it is asked for alone
            return []

    def _ids(self, texts: list[str], options: dict[str, bool]) -> list[list[int]]:
        only_ids = {"return_attention_mask": False, "return_token_type_ids": False}
        return list(self.tokenizer(texts, **options, **only_ids)["input_ids"]) if texts else []


def _options(piece: Piece) -> dict[str, bool]:
    options = {"add_special_tokens": piece.opened, "verbose": False}
    return options if piece.marked else {**options, "split_special_tokens": True}
