"""The raters of the quickstart corpus judge as its documentation says was planted."""

import dataclasses
import itertools
import math
import statistics
from collections import Counter

import pytest
from studies.corpus_counts import summarize, vote_nll

from vrm.data.planted import planted_corpus, population_vote, true_utilities
from vrm.data.planted.raters import JUDGMENTS_A_PAIR, NAMES, RATERS
from vrm.labels.judgments import VOTES


@pytest.fixture(scope="module")
def by_raters():
    return planted_corpus()


def rows(corpus):
    for split in corpus.splits.values():
        yield from zip(split.judgments, split.levels, strict=True)


def test_each_pair_has_judgments_of_different_raters_and_the_chosen_side_has_more(by_raters):
    for judgment, _ in rows(by_raters):
        names = [vote.annotator for vote in judgment.judgments]
        assert len(set(names)) == len(names) == JUDGMENTS_A_PAIR
        assert set(names) <= set(by_raters.raters)
        assert sum(vote.preference - 0.5 for vote in judgment.judgments) >= 0
    counts = Counter(vote.annotator for row, _ in rows(by_raters) for vote in row.judgments)
    assert min(counts.values()) > 0.85 * max(counts.values())


def test_tilts_cancel_over_the_raters():
    for name in NAMES:
        assert sum(who.tilt[name] for who in RATERS.values()) == pytest.approx(0, abs=1e-12)
    assert all(who.tie_threshold > 0 for who in RATERS.values())


def test_who_judges_changes_no_prompt(by_raters):
    by_one_reader = planted_corpus(raters=False)
    assert by_one_reader.raters == {}
    for name, split in by_raters.splits.items():
        assert [row.prompt for row in split.judgments] == [row.prompt for row in by_one_reader.splits[name].judgments]


def test_judgments_follow_the_planted_raters(by_raters):
    """Expected and drawn votes agree within their standard errors, by rater and by whether the pair is close."""
    expected, drawn = Counter(), Counter()
    for row, levels in rows(by_raters):
        utilities, weights = true_utilities(levels), by_raters.true_weights[row.category]
        close = abs(sum(weights[name] * utilities[name] for name in NAMES)) < 2
        for vote in row.judgments:
            # The sides follow from the votes, which a tie's share does not see.
            tie = by_raters.raters[vote.annotator].vote_probabilities(utilities, weights)[2]
            expected[vote.annotator, close] += tie
            expected[vote.annotator, close, "variance"] += tie * (1 - tie)
            drawn[vote.annotator, close] += vote.preference == 0.5
    for key in itertools.product(RATERS, (True, False)):
        assert drawn[key] == pytest.approx(expected[key], abs=4 * math.sqrt(expected[(*key, "variance")]))


def test_tilts_can_be_found_again_in_the_judgments(by_raters):
    """The likelihood of each rater's judgments is highest near the planted tilt, by a step along any objective."""
    judged = {name: [] for name in RATERS}
    for row, levels in rows(by_raters):
        for vote in row.judgments:
            judged[vote.annotator].append((true_utilities(levels), by_raters.true_weights[row.category], vote))
    gains = []
    for name, votes in judged.items():
        for objective, step in itertools.product(NAMES, (-0.1, 0.1)):
            who = dataclasses.replace(
                RATERS[name], tilt={**RATERS[name].tilt, objective: RATERS[name].tilt[objective] + step}
            )
            gains.append(_log_likelihood(RATERS[name], votes) - _log_likelihood(who, votes))
    assert min(gains) > -4
    assert statistics.mean(gain > 0 for gain in gains) > 0.97


def _log_likelihood(rater, votes):
    return sum(
        math.log(rater.vote_probabilities(utilities, weights)[VOTES.index(vote.preference)])
        for utilities, weights, vote in votes
    )


def test_the_vote_of_a_rater_at_random_is_the_mean_of_all():
    utilities, weights = dict.fromkeys(NAMES, 0.7), dict.fromkeys(NAMES, 1 / 6)
    shares = population_vote(utilities, weights)
    assert sum(shares) == pytest.approx(1)
    each = [who.vote_probabilities(utilities, weights) for who in RATERS.values()]
    assert shares == pytest.approx([statistics.mean(values) for values in zip(*each, strict=True)])
    assert all(sum(values) == pytest.approx(1) and min(values) > 0 for values in each)


def test_to_know_who_judges_is_worth_something(by_raters):
    unknown, known = vote_nll(by_raters, by_raters.splits["train"])
    assert known < unknown - 0.1
    summary = summarize(by_raters.splits["train"])
    assert 0.35 < summary.raters_differ < 0.55
    assert 0.1 < summary.ties < 0.2
