"""The texts that the corpus is written with, read from the YAML files in `texts/`.

Texts for training, for the dev fold and for the test splits are kept apart. A file has one text a line, so that texts
are added and changed without a line of Python.
"""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import yaml

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


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective: what it is about, and a pool of fragments for each of the levels 0, 1 and 2."""

    name: str
    about: str
    levels: tuple[Pool, Pool, Pool]


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain of prompts; `*` in a template stands for the topic.

    The dev fold uses training templates and topics in combinations that training does not have.
    """

    name: str
    templates: tuple[str, ...]
    topics: tuple[str, ...]
    test_templates: tuple[str, ...]
    test_topics: tuple[str, ...]

    def prompts(self, test: bool) -> tuple[str, ...]:
        """Every prompt of the domain: of the test splits, or of the others."""
        templates, topics = (self.test_templates, self.test_topics) if test else (self.templates, self.topics)
        return tuple(template.replace("*", topic) for template in templates for topic in topics)


def _read(name: str) -> dict[str, Any]:
    text = files("vrm").joinpath("data/planted/texts", f"{name}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def _pool(blocks: dict[str, str]) -> Pool:
    return Pool(**{part: block(text) for part, text in blocks.items()})


def _objective(name: str) -> Objective:
    content = _read(name)
    return Objective(name, content["about"], (_pool(content["low"]), _pool(content["middle"]), _pool(content["high"])))


def _domain(name: str, lists: dict[str, Any]) -> Domain:
    return Domain(
        name, **{key: block(value) if isinstance(value, str) else tuple(value) for key, value in lists.items()}
    )


OBJECTIVES = tuple(map(_objective, ("safety", "evidence", "honesty", "empathy", "creativity", "actionability")))
FLATTERY, PADDING = (_pool(_read("shortcut")[name]) for name in ("flattery", "padding"))
"""The shortcut. It says nothing about any objective."""

DOMAINS = tuple(_domain(name, lists) for name, lists in _read("prompts").items())
