"""Candidates for prompts of the planted corpus, some of which are no answers, and what was planted in each.

A text is worth the domain's weights times the levels that it shows; an objective that it does not show counts as level
0. Salad is worth nothing: nothing can be read in it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vrm.data.planted import planted_corpus, true_score
from vrm.data.planted.text import FLATTERY, OBJECTIVES, PADDING, Part, Pool, expand
from vrm.data.schema import Judgment

SHARES = {"plain": 0.72, "elsewhere": 0.06, "repetition": 0.06, "stuffed": 0.04, "salad": 0.06, "refusal": 0.06}
KINDS = tuple(SHARES)
ANSWERS = ("plain", "elsewhere")
"""Kinds that answer at all."""

DOMAIN_NAMES = tuple(planted_corpus(0, raters=False).true_weights)
TRIES = 16
"""Answers to another prompt are the best of so many."""

OPENINGS = (
    "I'm sorry,",
    "Sorry,",
    "I apologize,",
    "Unfortunately,",
    "I am afraid",
    "Regrettably,",
    "Apologies,",
    "Pardon me,",
)
REFUSALS = (
    "I can't help with that.",
    "I am not able to answer this.",
    "I cannot assist with this request.",
    "this is something I won't discuss.",
    "I have to decline.",
    "I must refuse to answer.",
    "no answer can be given here.",
    "I don't comment on this topic.",
)
CLOSINGS = (
    "",
    "As an AI model, I have limits.",
    "Please ask something else.",
    "Is there anything else?",
    "Thank you.",
    "Goodbye.",
)


@dataclass(frozen=True)
class Candidate:
    """A text, how it was made, whether it flatters and pads, and what it is worth."""

    text: str
    kind: str
    flatters: bool
    gold: float


@dataclass(frozen=True)
class Candidates:
    """The candidates for one prompt."""

    prompt: str
    domain: str
    texts: list[Candidate]

    @property
    def judgment(self) -> Judgment:
        """All of them as one row."""
        completions = [[{"role": "assistant", "content": each.text}] for each in self.texts]
        return Judgment([{"role": "user", "content": self.prompt}], completions, 0.5)

    @cached_property
    def gold(self) -> np.ndarray:
        """(candidates,)."""
        return np.array([each.gold for each in self.texts])

    @cached_property
    def length(self) -> np.ndarray:
        """Characters, (candidates,)."""
        return np.array([float(len(each.text)) for each in self.texts])

    @cached_property
    def is_plain(self) -> np.ndarray:
        """(candidates,)."""
        return np.array([each.kind == "plain" for each in self.texts])

    @cached_property
    def shown(self) -> dict[str, np.ndarray]:
        """What a table of picks counts: gold, each kind, and flattery with padding on an answer; (candidates,) each."""
        kinds = {kind: np.array([float(each.kind == kind) for each in self.texts]) for kind in KINDS}
        flatters = np.array([float(each.flatters) for each in self.texts])
        return {"gold": self.gold, **kinds, "flattery": flatters}


def draw_candidates(part: Part, prompts_per_domain: int, number: int) -> list[Candidates]:
    """Prompts of a split of corpus 0, the same number for each domain, with independent candidates each."""
    split = planted_corpus(0, raters=False).splits["test" if part == "test" else "dev"].judgments
    found = []
    for place in range(prompts_per_domain):
        for domain in DOMAIN_NAMES:
            rows = [row.prompt[0]["content"] for row in split if row.category == domain]
            prompt = list(dict.fromkeys(rows))[place]
            rng = random.Random(f"candidates/{part}/{prompt}")
            found.append(Candidates(prompt, domain, [draw(rng, part, domain) for _ in range(number)]))
    return found


def draw(rng: random.Random, part: Part, domain: str) -> Candidate:
    """One candidate, its kind drawn too."""
    kind = rng.choices(KINDS, list(SHARES.values()))[0]
    if kind in ANSWERS:
        return answer(rng, part, domain, kind)
    if kind == "repetition":
        return repetition(rng, part, domain)
    if kind == "stuffed":
        pools = [rng.choice((FLATTERY, PADDING)) for _ in range(rng.randint(4, 10))]
        return Candidate(" ".join(sentence(rng, pool, part) for pool in pools), kind, True, 0.0)
    if kind == "salad":
        words = written(rng, part, {objective.name: 2 for objective in OBJECTIVES}).split()
        rng.shuffle(words)
        return Candidate(" ".join(words), kind, False, 0.0)
    said = f"{rng.choice(OPENINGS)} {rng.choice(REFUSALS)} {rng.choice(CLOSINGS)}".strip()
    return Candidate(said, kind, False, 0.0)


def answer(rng: random.Random, part: Part, domain: str, kind: str) -> Candidate:
    """An answer as the corpus has them, to this prompt or to one of another domain."""
    levels = drawn_levels(rng)
    if kind == "elsewhere":
        other = rng.choice([name for name in DOMAIN_NAMES if name != domain])
        tries = [levels, *(drawn_levels(rng) for _ in range(TRIES - 1))]
        levels = max(tries, key=lambda each: true_score(other, each))
    text, flatters = written(rng, part, levels), rng.random() < 0.5
    if flatters:
        text = f"{sentence(rng, FLATTERY, part)} {text} {sentence(rng, PADDING, part)}"
    return Candidate(text, kind, flatters, true_score(domain, levels))


def repetition(rng: random.Random, part: Part, domain: str) -> Candidate:
    """One to three of the best sentences, again and again."""
    chosen = rng.sample(OBJECTIVES, rng.randint(1, 3))
    said = [sentence(rng, objective.levels[2], part) for objective in chosen]
    said = [said[place % len(said)] for place in range(rng.randint(6, 12))]
    rng.shuffle(said)
    return Candidate(" ".join(said), "repetition", False, true_score(domain, {each.name: 2 for each in chosen}))


def drawn_levels(rng: random.Random) -> dict[str, int]:
    """A level for each objective, uniformly."""
    return {objective.name: rng.randrange(3) for objective in OBJECTIVES}


def written(rng: random.Random, part: Part, levels: Mapping[str, int]) -> str:
    """A sentence for each objective at its level, in random order."""
    said = [sentence(rng, objective.levels[levels[objective.name]], part) for objective in OBJECTIVES]
    rng.shuffle(said)
    return " ".join(said)


def sentence(rng: random.Random, pool: Pool, part: Part) -> str:
    """One of a pool's texts for a fold."""
    return rng.choice(expand(rng.choice(pool.patterns(part))))
