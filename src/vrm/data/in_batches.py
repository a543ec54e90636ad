"""Rows in batches: one is encoded, on all cores, while the next is rendered, on one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from vrm.data.chat import ChatTokenizer
from vrm.data.drafts import Draft
from vrm.data.encoding import Reader
from vrm.data.schema import Judgment

_ROWS = 256
_CHARACTERS = 2**19
"""A batch ends with either; what the tokenizer holds while it encodes a batch is some 50 MB."""

Drafted: TypeAlias = Draft | Exception
"""A row, or why the template does not make one of it."""


@dataclass(frozen=True)
class _SourceError:
    error: Exception


_Batch: TypeAlias = list[Drafted | _SourceError]


def encoded_together(chat: ChatTokenizer, judgments: Iterable[Judgment]) -> Iterator[tuple[Drafted, Reader]]:
    """Rows rendered, each with a reader that has its pieces' token ids; or the error of a row, in its place.

    Nothing is encoded while the caller has a row, so the tokenizer is the caller's meanwhile.

    Args:
        chat: renders and encodes.
        judgments: rows; an error while they are read is raised behind the rows before it.
    """
    batches = _batches(chat, judgments)
    with ThreadPoolExecutor(1, "tokenize") as thread:
        batch = next(batches, [])
        while batch:
            encoding = thread.submit(_encode, chat, batch)
            following = next(batches, [])
            read = encoding.result()
            for drafted in batch:
                if isinstance(drafted, _SourceError):
                    raise drafted.error
                yield drafted, read
            batch = following


def _encode(chat: ChatTokenizer, batch: _Batch) -> Reader:
    return chat.together(draft for draft in batch if isinstance(draft, Draft))


def _batches(chat: ChatTokenizer, judgments: Iterable[Judgment]) -> Iterator[_Batch]:
    batch: _Batch = []
    characters = 0
    for drafted in _drafted(chat, judgments):
        batch.append(drafted)
        if isinstance(drafted, Draft):
            characters += sum(len(piece.text) for piece in drafted.wanted())
        if len(batch) >= _ROWS or characters >= _CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _drafted(chat: ChatTokenizer, judgments: Iterable[Judgment]) -> Iterator[Drafted | _SourceError]:
    rows = iter(judgments)
    while True:
        try:
            row = next(rows, None)
        except Exception as error:
            yield _SourceError(error)
            return
        if row is None:
            return
        try:
            yield chat.draft(row)
        except Exception as error:
            yield error
