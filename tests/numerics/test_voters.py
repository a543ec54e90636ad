"""What the study attaches to a head's moments finds what was planted, and measures are those of (15)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from studies.evidence.second.voters import AFTER, ANEW, INDEPENDENT, Attached, measures, pair_votes_of

from vrm.core.disagreement import log_vote_probabilities
from vrm.core.raters import RaterVotes

THRESHOLD, SHARED = torch.tensor(0.5, dtype=torch.float64), 1.5


def planted(pairs: int = 4_000, raters: int = 5) -> RaterVotes:
    """Votes of raters who share a variance of 1.5, by margins that are twice as large as they should be."""
    generator = torch.Generator().manual_seed(0)
    margin = torch.randn(pairs, generator=generator, dtype=torch.float64)
    utility = margin + SHARED**0.5 * torch.randn(pairs, generator=generator, dtype=torch.float64)
    outcome = torch.multinomial(log_vote_probabilities(utility, THRESHOLD).exp(), raters, True, generator=generator)
    counts = torch.nn.functional.one_hot(outcome, 3).sum(1).double()
    nothing = torch.zeros(pairs, dtype=torch.float64)
    return RaterVotes(nothing.long(), 2.0 * margin, nothing, nothing, 2.0 * margin[:, None], counts)


def test_a_constant_shared_variance_is_found_with_scale_and_threshold() -> None:
    found = Attached.fitted(planted(), AFTER, ties=True)
    assert found.shared_variance == pytest.approx(SHARED, rel=0.1)
    assert found.temperature == pytest.approx(2.0, rel=0.1)
    assert float(found.tie_threshold) == pytest.approx(0.5, rel=0.1)


def test_independent_votes_are_less_likely_and_their_next_vote_is_the_share() -> None:
    said = planted()
    nll = {}
    for way in (INDEPENDENT, AFTER):
        attached = Attached.fitted(said, way, ties=True)
        values = measures(attached.moved(said), attached.tie_threshold)
        nll[way] = {name: values[name].sum() / float(said.counts.sum()) for name in ("joint", "share", "next")}
    alone, together = nll[INDEPENDENT], nll[AFTER]
    assert alone["joint"] == pytest.approx(alone["share"]) == pytest.approx(alone["next"])
    assert together["next"] < together["joint"] < alone["joint"] - 0.02


def test_a_variance_anew_replaces_the_one_that_was_learned() -> None:
    said = planted()
    wrong = replace(said, shared_variance=torch.full_like(said.mean, 40.0))
    expected, found = (Attached.fitted(said, AFTER, ties=True), Attached.fitted(wrong, ANEW, ties=True))
    assert found.shared_variance == pytest.approx(expected.shared_variance, rel=1e-3)
    np.testing.assert_allclose(found.moved(wrong).shared_variance, found.shared_variance)


def test_one_node_is_enough_where_there_is_no_variance() -> None:
    said = planted(50)
    few, many = (
        pair_votes_of(said, THRESHOLD),
        pair_votes_of(replace(said, own_variance=said.own_variance + 1e-12), THRESHOLD),
    )
    torch.testing.assert_close(few.log_likelihood(said.counts), many.log_likelihood(said.counts), atol=1e-4, rtol=1e-4)
