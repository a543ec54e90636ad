"""Candidates of the study of best of n: what they are worth, read from their texts, and the mean pick."""

from __future__ import annotations

import random

import numpy as np
import pytest
from studies.evidence.second.candidates import KINDS, SHARES, Candidate, draw, draw_candidates
from studies.evidence.second.picking import expected, sizes

from vrm.data.planted import true_score
from vrm.data.planted.text import OBJECTIVES
from vrm.metrics.best_of_n import best_of_n_curve

SENTENCES = {
    text: (objective.name, level)
    for objective in OBJECTIVES
    for level, pool in enumerate(objective.levels)
    for text in pool.texts("test")
}


def drawn(kind: str, number: int = 40) -> list[Candidate]:
    rng = random.Random(1)
    found = (draw(rng, "test", "coding") for _ in range(100_000))
    return [next(each for each in found if each.kind == kind) for _ in range(number)]


def worth_of(text: str) -> float:
    """By the sentences that are in it."""
    shown = {name: level for said, (name, level) in SENTENCES.items() if said in text}
    return true_score("coding", shown)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "salad"])
def test_gold_is_what_the_text_shows(kind: str) -> None:
    for each in drawn(kind):
        assert each.gold == pytest.approx(worth_of(each.text)), each.text


def test_salad_has_the_words_of_the_best_answer_and_is_worth_nothing() -> None:
    best = {word for said, (_, level) in SENTENCES.items() if level == 2 for word in said.split()}
    for each in drawn("salad"):
        assert set(each.text.split()) <= best
        assert each.gold == 0.0


def test_an_answer_to_another_prompt_is_worth_more_than_a_random_one() -> None:
    assert np.mean([each.gold for each in drawn("elsewhere")]) > np.mean([each.gold for each in drawn("plain")])


def test_candidates_do_not_depend_on_how_many_are_drawn() -> None:
    few, many = draw_candidates("test", 1, 5), draw_candidates("test", 2, 9)
    assert [each.texts for each in few] == [each.texts[:5] for each in many[: len(few)]]
    assert len({each.prompt for each in many}) == len(many)


def test_kinds_have_their_shares() -> None:
    kinds = [each.kind for each in draw_candidates("test", 1, 500)[0].texts]
    for kind, share in SHARES.items():
        assert kinds.count(kind) / len(kinds) == pytest.approx(share, abs=0.05)


def test_a_pick_is_averaged_as_the_package_does() -> None:
    rng = np.random.default_rng(0)
    rewards, gold = rng.normal(size=40).round(1), rng.normal(size=40)
    at = sizes(40)
    assert at == (1, 2, 4, 8, 16, 32)
    assert expected(rewards, gold, at) == pytest.approx(best_of_n_curve(rewards, gold)[np.array(at) - 1])
