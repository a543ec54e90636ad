"""Pools of text fragments: what is written for training, for the dev fold and for the test splits is kept apart."""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass
from typing import Literal

Part = Literal["train", "dev", "test"]
"""Which fold a fragment was written for."""

_ALTERNATIVES = re.compile(r"\{([^{}]*)\}")


@functools.cache
def expand(pattern: str) -> tuple[str, ...]:
    """All texts of a pattern: `expand("a {big|small} risk")` is `("a big risk", "a small risk")`."""
    pieces = _ALTERNATIVES.split(pattern)
    choices = [piece.split("|") if index % 2 else [piece] for index, piece in enumerate(pieces)]
    return tuple("".join(choice) for choice in itertools.product(*choices))


def block(text: str) -> tuple[str, ...]:
    """The patterns of a block of text, one a line; empty lines are skipped."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


@dataclass(frozen=True, slots=True)
class Pool:
    """Patterns with one meaning, written apart for each fold.

    A pattern is drawn first and one of its alternatives second, so that a pattern with many alternatives is not
    drawn more often than others.
    """

    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]

    def patterns(self, part: Part) -> tuple[str, ...]:
        """The patterns of one fold."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[part]

    def texts(self, part: Part) -> tuple[str, ...]:
        """Every text that the patterns of one fold can give."""
        return tuple(text for pattern in self.patterns(part) for text in expand(pattern))


def pool(train: str, dev: str, test: str) -> Pool:
    """A `Pool` from three blocks of text."""
    return Pool(block(train), block(dev), block(test))


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective: what it is about, and a pool of fragments for each of the levels 0, 1 and 2."""

    name: str
    about: str
    levels: tuple[Pool, Pool, Pool]
