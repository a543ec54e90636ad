"""The planted corpus: prompts, levels, texts, preferences and the shortcut are drawn, and given in memory or as JSONL.

Every number is drawn by `random.Random`, seeded by the corpus seed and the split's name, so that a seed gives the same
corpus on every platform and a split does not depend on the others. Prompts are shared out once, before the splits.
"""

from __future__ import annotations

import copy
import json
import math
import random
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from vrm.data.planted.raters import JUDGMENTS_A_PAIR, NAMES, RATERS, PlantedRater
from vrm.data.planted.text import DOMAINS, FLATTERY, OBJECTIVES, PADDING, Part, Pool, expand
from vrm.data.schema import Judgment, Message
from vrm.files import write_text
from vrm.labels.judgments import VOTES, RaterJudgment, mean_preference

NUM_LEVELS = 3
LEVEL_STD = math.sqrt(2 / 3)
"""Standard deviation of a level drawn uniformly from 0, 1, 2."""

TEMPERATURE = 0.2
"""Of a judgment's draw, in units of the weighted score of levels that are divided by `LEVEL_STD`."""

RATING_STD = 0.5
"""Standard deviation of the noise on a rating, in levels."""

VOTES_SHARE = 0.25
"""Share of the training and dev rows that carry votes."""

NUM_VOTES = 3
"""Votes on such a row: draws from the domain's true weights."""

PAIRS_PER_PROMPT = 3

TRUE_WEIGHTS = {
    domain: dict(zip(NAMES, weights))
    for domain, weights in {
        # in the order of NAMES:  safety, evidence, honesty, empathy, creativity, actionability
        "medical": (0.50, 0.24, 0.12, 0.08, 0.02, 0.04),
        "coding": (0.08, 0.30, 0.06, 0.02, 0.06, 0.48),
        "cooking": (0.12, 0.04, 0.02, 0.04, 0.38, 0.40),
        "travel": (0.40, 0.06, 0.06, 0.04, 0.14, 0.30),
        "legal": (0.06, 0.50, 0.28, 0.04, 0.02, 0.10),
        "relationships": (0.08, 0.04, 0.12, 0.60, 0.06, 0.10),
        "finance": (0.14, 0.26, 0.46, 0.02, 0.02, 0.10),
        "fiction": (0.02, 0.02, 0.04, 0.20, 0.68, 0.04),
    }.items()
}
"""What each domain's reader cares for: weights over the objectives, summing to 1."""

Levels = dict[str, int]


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """What distinguishes a split: its size, its texts, and how often the shortcut agrees with the label."""

    name: str
    prompts_per_domain: int
    part: Part
    shortcut_agrees: float
    with_votes: bool


PLANS = (
    SplitPlan("train", 100, "train", 0.8, True),
    SplitPlan("dev", 13, "dev", 0.8, True),
    SplitPlan("test", 21, "test", 0.8, False),
    SplitPlan("test_reversed", 21, "test", 0.2, False),
)


@dataclass(frozen=True, slots=True)
class PlantedSplit:
    """The rows of a split and, row by row, what was planted in them.

    Attributes:
        judgments: the rows, chosen completion first.
        levels: for each row, the true levels of the chosen and of the rejected completion.
        shortcut_on_chosen: for each row, whether flattery and padding stand on the chosen side (else the rejected).
    """

    judgments: list[Judgment]
    levels: list[tuple[Levels, Levels]]
    shortcut_on_chosen: list[bool]


def true_score(domain: str, levels: Levels) -> float:
    """The true weighted score w . level / `LEVEL_STD` of a completion."""
    weights = TRUE_WEIGHTS[domain]
    return sum(weights[name] * level / LEVEL_STD for name, level in levels.items())


def true_utilities(levels: tuple[Levels, Levels]) -> dict[str, float]:
    """By objective, what a weight of 1 adds to the log-odds that the first of two completions is preferred."""
    first, second = levels
    return {name: (first[name] - second[name]) / LEVEL_STD / TEMPERATURE for name in NAMES}


def share_out_prompts(seed: int) -> dict[str, list[tuple[str, str]]]:
    """For each split, its (domain, prompt) pairs; no prompt is given to two splits."""
    rng = random.Random(f"{seed}/prompts")
    shares: dict[str, list[tuple[str, str]]] = {plan.name: [] for plan in PLANS}
    for domain in DOMAINS:
        supplies = {test: rng.sample(texts, len(texts)) for test in (False, True) for texts in [domain.prompts(test)]}
        for plan in PLANS:
            supply = supplies[plan.part == "test"]
            taken = [supply.pop() for _ in range(plan.prompts_per_domain)]
            shares[plan.name] += [(domain.name, prompt) for prompt in taken]
    return shares


def draw_split(plan: SplitPlan, prompts: list[tuple[str, str]], seed: int, raters: bool) -> PlantedSplit:
    """Draw the rows of a split, in random order, each judged by several raters or by one reader."""
    rng = random.Random(f"{seed}/{plan.name}")
    # Of their own, so that the corpus of one reader stays as it was.
    votes = random.Random(f"{seed}/{plan.name}/raters") if raters else None
    rows = [row for row in prompts for _ in range(PAIRS_PER_PROMPT)]
    rng.shuffle(rows)
    agrees = [index < round(plan.shortcut_agrees * len(rows)) for index in range(len(rows))]
    rng.shuffle(agrees)
    drawn = [_draw_row(rng, votes, plan, *row, on_chosen) for row, on_chosen in zip(rows, agrees)]
    return PlantedSplit([judgment for judgment, _ in drawn], [levels for _, levels in drawn], agrees)


def _draw_row(
    rng: random.Random, votes: random.Random | None, plan: SplitPlan, domain: str, prompt: str, on_chosen: bool
) -> tuple[Judgment, tuple[Levels, Levels]]:
    levels = (_draw_levels(rng), _draw_levels(rng))
    first_chosen = _first_preferred(rng, domain, levels)
    judgments = None if votes is None else _judge(votes, domain, levels)
    if judgments is not None and mean_preference(judgments) != 0.5:
        first_chosen = mean_preference(judgments) > 0.5
    chosen, rejected = levels if first_chosen else levels[::-1]
    if judgments is not None and not first_chosen:
        judgments = [RaterJudgment(judgment.annotator, 1.0 - judgment.preference) for judgment in judgments]
    texts = [_write(rng, plan.part, chosen), _write(rng, plan.part, rejected)]
    side = 0 if on_chosen else 1
    texts[side] = _attach_shortcut(rng, plan.part, texts[side])
    judgment = Judgment(
        prompt=[_message("user", prompt)],
        completions=[[_message("assistant", text)] for text in texts],
        preference=1.0 if judgments is None else mean_preference(judgments),
        ratings=[_rate(rng, chosen), _rate(rng, rejected)],
        objective_votes=_vote(rng, domain) if plan.with_votes and rng.random() < VOTES_SHARE else None,
        source="planted",
        category=domain,
        judgments=judgments,
    )
    return judgment, (chosen, rejected)


def _judge(rng: random.Random, domain: str, levels: tuple[Levels, Levels]) -> list[RaterJudgment]:
    """What raters say, each drawn once at most; the first of the two levels is the first completion's."""
    utilities = true_utilities(levels)
    return [
        RaterJudgment(name, rng.choices(VOTES, RATERS[name].vote_probabilities(utilities, TRUE_WEIGHTS[domain]))[0])
        for name in rng.sample(tuple(RATERS), JUDGMENTS_A_PAIR)
    ]


def _message(role: str, text: str) -> Message:
    return {"role": role, "content": text}


def _draw_levels(rng: random.Random) -> Levels:
    return {name: rng.randrange(NUM_LEVELS) for name in NAMES}


def _first_preferred(rng: random.Random, domain: str, levels: tuple[Levels, Levels]) -> bool:
    margin = true_score(domain, levels[0]) - true_score(domain, levels[1])
    return rng.random() < 1 / (1 + math.exp(-margin / TEMPERATURE))


def _draw_text(rng: random.Random, pool: Pool, part: Part) -> str:
    return rng.choice(expand(rng.choice(pool.patterns(part))))


def _write(rng: random.Random, part: Part, levels: Levels) -> str:
    """A completion: one fragment an objective, in random order."""
    fragments = [_draw_text(rng, objective.levels[levels[objective.name]], part) for objective in OBJECTIVES]
    rng.shuffle(fragments)
    return " ".join(fragments)


def _attach_shortcut(rng: random.Random, part: Part, text: str) -> str:
    return f"{_draw_text(rng, FLATTERY, part)} {text} {_draw_text(rng, PADDING, part)}"


def _rate(rng: random.Random, levels: Levels) -> dict[str, float]:
    return {name: round(level + rng.gauss(0, RATING_STD), 2) for name, level in levels.items()}


def _vote(rng: random.Random, domain: str) -> dict[str, float]:
    weights = TRUE_WEIGHTS[domain]
    votes = rng.choices(NAMES, [weights[name] for name in NAMES], k=NUM_VOTES)
    return {name: float(votes.count(name)) for name in NAMES if name in votes}


@dataclass(frozen=True, slots=True)
class PlantedCorpus:
    """Four splits of comparisons and everything that was planted in them.

    Attributes:
        splits: `train`, `dev`, `test` and `test_reversed`, each with its rows, true levels and the shortcut's side.
        objectives: names of the objectives.
        true_weights: for each domain, the weights that its preferences were drawn by, over `objectives`, summing to 1.
            Every level has the same spread, so these are weights in units of an objective's standard deviation.
        raters: who judged, by name; empty where one reader judged each pair.
    """

    splits: dict[str, PlantedSplit]
    objectives: tuple[str, ...]
    true_weights: dict[str, dict[str, float]]
    raters: dict[str, PlantedRater]

    @property
    def train(self) -> list[Judgment]:
        """Training comparisons; the shortcut agrees with the label in four of five."""
        return self.splits["train"].judgments

    @property
    def dev(self) -> list[Judgment]:
        """Comparisons to choose settings by: other prompts and other fragments, the same shortcut."""
        return self.splits["dev"].judgments

    @property
    def test(self) -> list[Judgment]:
        """Comparisons with prompts and fragments that neither `train` nor `dev` has, the same shortcut."""
        return self.splits["test"].judgments

    @property
    def test_reversed(self) -> list[Judgment]:
        """As `test`, with other prompts, and the shortcut agrees with the label in one of five."""
        return self.splits["test_reversed"].judgments

    def write(self, directory: str | PathLike[str]) -> dict[str, Path]:
        """Write the four splits as `<split>.jsonl`, one row of the schema a line, overwriting files of these names.

        Beside them `truth.json` holds what was planted: the true weights, and each rater's tilt and tie threshold.

        Args:
            directory: where to write; made if it is absent.

        Returns:
            For each split the path of its file.

        Raises:
            OutputError: the directory cannot be made or written to.
        """
        folder = Path(directory)
        paths = {}
        for name, split in self.splits.items():
            paths[name] = folder / f"{name}.jsonl"
            lines = [json.dumps(_row(judgment), ensure_ascii=False) for judgment in split.judgments]
            write_text(paths[name], "\n".join(lines) + "\n")
        truth = {"true_weights": self.true_weights, "raters": {name: asdict(who) for name, who in self.raters.items()}}
        write_text(folder / "truth.json", json.dumps(truth, indent=2) + "\n")
        return paths


def planted_corpus(seed: int = 0, raters: bool = True) -> PlantedCorpus:
    """Draw the quickstart corpus; the same seed gives the same corpus.

    Args:
        seed: any integer. It decides prompts, levels, texts, labels, ratings, votes and the shortcut's sides; texts
            to draw from, weights, raters and sizes are fixed.
        raters: whether three raters of sixteen judge each pair, or by False one reader with the domain's weights and
            without ties, as the corpus had it first.

    Returns:
        2,400 training, 312 dev and twice 504 test comparisons in the conversational format, with ratings of both
        completions on all objectives (level 0, 1 or 2 plus Gaussian noise), the domain as `category`, and votes on a
        quarter of the training and dev rows. The completion that more raters prefer is the chosen one, and `judgments`
        holds what each rater said; by `raters=False` it is the reader's, with `preference` 1.0.
    """
    prompts = share_out_prompts(seed)
    splits = {plan.name: draw_split(plan, prompts[plan.name], seed, raters) for plan in PLANS}
    return PlantedCorpus(splits, NAMES, copy.deepcopy(TRUE_WEIGHTS), copy.deepcopy(RATERS) if raters else {})


def write_planted(directory: str | PathLike[str], seed: int = 0, raters: bool = True) -> dict[str, Path]:
    """Draw the corpus and write it, as `PlantedCorpus.write`; the other arguments are those of `planted_corpus`."""
    return planted_corpus(seed, raters).write(directory)


def _row(judgment: Judgment) -> dict[str, Any]:
    chosen, rejected = judgment.completions
    chosen_ratings, rejected_ratings = judgment.ratings or [{}, {}]
    votes = [{"annotator": who.annotator, "preference": who.preference} for who in judgment.judgments or []]
    row = {
        "prompt": judgment.prompt,
        "chosen": chosen,
        "rejected": rejected,
        "preference": None if votes else judgment.preference,
        "judgments": votes or None,
        "chosen_ratings": chosen_ratings,
        "rejected_ratings": rejected_ratings,
        "objective_votes": judgment.objective_votes,
        "source": judgment.source,
        "category": judgment.category,
    }
    return {key: value for key, value in row.items() if value is not None}
