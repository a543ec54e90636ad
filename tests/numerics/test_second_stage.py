"""The second stage of (19): what it computes, what it finds in simulated votes, and what it leaves out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from vrm.choices import StagePart
from vrm.core.disagreement import log_vote_probabilities, pair_votes
from vrm.core.distributions import LOG_TOTAL_RANGE, ObjectiveWeights, SemanticFeatures
from vrm.core.likelihoods.comparison import comparison_log_likelihood
from vrm.core.predictive import margin_moments
from vrm.core.second_stage import (
    NEEDS,
    OF_SEVERAL,
    HeldOutPairs,
    StageMeans,
    StageNumbers,
    StageTrial,
    fit_second_stage,
    pair_log_likelihood,
    spread_features,
    spread_weights,
)

AXES, OBJECTIVES, FEATURES = 2, 3, 3
OFF = torch.zeros((), dtype=torch.float64)


def some_pairs(count: int) -> HeldOutPairs:
    """Pairs of prompts of their own, two a prompt, without labels; margins with a standard deviation of about two."""
    real = {"dtype": torch.float64}
    return HeldOutPairs(
        weights=torch.randn(count, OBJECTIVES, **real).softmax(-1),
        first=torch.randn(count, FEATURES, **real),
        second=torch.randn(count, FEATURES, **real),
        prompt_axes=torch.randn(count, AXES, **real),
        first_axes=torch.randn(count, AXES, **real),
        second_axes=torch.randn(count, AXES, **real),
        counts=torch.zeros(count, 3, **real),
        preference=torch.full((count,), 0.5, **real),
        target_margin=torch.zeros(count, **real),
        prompts=torch.arange(count) // 2,
    )


def some_means(threshold: float | None = 0.4) -> StageMeans:
    decoder = 2.5 * torch.eye(OBJECTIVES, dtype=torch.float64) + 0.2 * torch.randn(3, 3, dtype=torch.float64)
    return StageMeans(decoder, torch.ones(3).double(), None if threshold is None else OFF + threshold)


def voted(pairs: HeldOutPairs, means: StageMeans, truth: StageNumbers, raters: int) -> HeldOutPairs:
    """The pairs with votes drawn as (15) has it under these numbers."""
    weights = ObjectiveWeights(pairs.weights)
    if truth.log_total is not None:
        weights = spread_weights(weights, pairs.prompt_axes, truth.log_total)
    sides = []
    for loc, axes in ((pairs.first, pairs.first_axes), (pairs.second, pairs.second_axes)):
        side = SemanticFeatures(loc, torch.zeros_like(loc))
        sides.append(
            side if truth.variance is None else spread_features(side, axes, truth.variance, means.feature_scale)
        )
    moments = margin_moments(weights, *sides, means.decoder * truth.log_scale.exp())
    shared = moments.feature_variance.sqrt() * torch.randn_like(moments.mean)
    own = (moments.weight_variance + moments.interaction_variance).sqrt().unsqueeze(-1)
    utility = (moments.mean + shared).unsqueeze(-1) + own * torch.randn(len(shared), raters, dtype=torch.float64)
    votes = Categorical(logits=log_vote_probabilities(utility, truth.tie_threshold)).sample()
    counts = torch.stack([(votes == outcome).sum(1) for outcome in range(3)], -1).double()
    return HeldOutPairs(**{**vars(pairs), "counts": counts})


def folds_of(pairs: HeldOutPairs) -> Tensor:
    return pairs.prompts % 5


def coefficients(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_spread_keeps_means_and_has_the_total_and_variance_of_its_axes() -> None:
    pairs = some_pairs(5)
    weights = spread_weights(ObjectiveWeights(pairs.weights), pairs.prompt_axes, coefficients(1.0, 0.5, -0.2))
    torch.testing.assert_close(weights.mean, pairs.weights)
    logs = 1.0 + 0.5 * pairs.prompt_axes[:, 0] - 0.2 * pairs.prompt_axes[:, 1]
    torch.testing.assert_close(weights.total, logs.exp())
    torch.testing.assert_close(ObjectiveWeights.from_concentration(weights.concentration).mean, pairs.weights)
    features = SemanticFeatures(pairs.first, torch.zeros_like(pairs.first))
    spread = spread_features(features, pairs.first_axes, coefficients(-1.0, 0.0, 0.3), coefficients(1.0, 4.0, 9.0))
    expected = (-1.0 + 0.3 * pairs.first_axes[:, 1]).exp().unsqueeze(-1) * coefficients(1.0, 4.0, 9.0)
    torch.testing.assert_close(spread.variance, expected)
    assert spread.loc is pairs.first


def test_the_total_stays_in_its_range_and_a_weight_of_zero_has_a_concentration() -> None:
    weights = ObjectiveWeights(coefficients(1.0, 0.0).expand(2, 2))
    spread = spread_weights(weights, torch.tensor([[1.0], [-1.0]]).double(), coefficients(0.0, 50.0))
    assert spread.total.tolist() == pytest.approx([math.exp(end) for end in reversed(LOG_TOTAL_RANGE)], rel=1e-3)
    assert float(spread.concentration.min()) > 0


def test_votes_have_the_likelihood_of_15_and_single_labels_that_of_4() -> None:
    pairs, means = some_pairs(6), some_means()
    numbers = StageNumbers(OFF + 0.3, OFF + 0.7, coefficients(-1.0, 0.2, 0.0), coefficients(1.5, 0.0, 0.4))
    counts = torch.tensor([[2, 1, 0], [0, 0, 3], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]).double()
    label = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.5, 0.2]).double()
    mixed = HeldOutPairs(**{**vars(pairs), "counts": counts, "preference": label, "target_margin": 0.1 * label})
    found = pair_log_likelihood(mixed, means, numbers)
    weights = spread_weights(ObjectiveWeights(pairs.weights), pairs.prompt_axes, numbers.log_total)
    sides = [
        spread_features(SemanticFeatures(loc, torch.zeros_like(loc)), axes, numbers.variance, means.feature_scale)
        for loc, axes in ((pairs.first, pairs.first_axes), (pairs.second, pairs.second_axes))
    ]
    decoder = means.decoder * math.exp(0.3)
    votes = pair_votes(weights, *sides, decoder, OFF + 0.7, mixed.target_margin)
    torch.testing.assert_close(found[:3], votes.log_likelihood(counts)[:3])
    share = pair_votes(weights, *sides, decoder, None, mixed.target_margin).share()
    expected = label * share[:, 0].log() + (1 - label) * share[:, 1].log()
    torch.testing.assert_close(found[3:], expected[3:])
    order = [5, 0, 3, 1, 2, 4]
    torch.testing.assert_close(pair_log_likelihood(mixed[order], means, numbers), found[order])


def test_without_spread_it_is_the_likelihood_of_the_means() -> None:
    pairs, means = some_pairs(8), some_means(None)
    labelled = HeldOutPairs(**{**vars(pairs), "preference": torch.rand(8).double()})
    margin = (pairs.weights * ((pairs.first - pairs.second) @ means.decoder.T)).sum(-1)
    expected = comparison_log_likelihood(margin, labelled.preference)
    torch.testing.assert_close(pair_log_likelihood(labelled, means, StageNumbers(OFF)), expected, atol=1e-7, rtol=1e-6)


def test_a_part_comes_after_what_it_rests_on() -> None:
    order = list(NEEDS)
    assert order == list(StagePart)
    assert all(order.index(need) < order.index(part) for part, needs in NEEDS.items() for need in needs)
    assert set(OF_SEVERAL) < set(NEEDS)


def test_it_finds_temperature_threshold_and_what_raters_share() -> None:
    """Means twice too large, a threshold half of the true one, a shared variance that votes of a pair agree by."""
    pairs, means = some_pairs(500), some_means(0.4)
    truth = StageNumbers(OFF - math.log(2.0), OFF + 0.8, coefficients(1.0, 0.0, 0.0))
    tried = (StagePart.TEMPERATURE, StagePart.TIES, StagePart.VARIANCE)
    labelled = voted(pairs, means, truth, 5)
    fit = fit_second_stage(labelled, means, folds_of(pairs), tried)
    assert fit.parts == tried
    gains = {trial.part: trial.gain for trial in fit.trials}
    assert min(gains[StagePart.TEMPERATURE], gains[StagePart.VARIANCE]) > 0.05
    assert float(fit.numbers.log_scale) == pytest.approx(-math.log(2.0), abs=0.2)
    assert float(fit.numbers.tie_threshold) == pytest.approx(0.8, rel=0.15)
    assert float(fit.numbers.variance[0]) == pytest.approx(1.0, abs=0.4)


@pytest.mark.slow
def test_it_finds_what_each_rater_brings_and_that_it_depends_on_the_prompt() -> None:
    pairs, means = some_pairs(2_500), some_means(0.4)
    truth = StageNumbers(OFF, OFF + 0.4, coefficients(0.0, 0.0, 0.0), coefficients(0.0, 1.0, 0.0))
    fit = fit_second_stage(voted(pairs, means, truth, 5), means, folds_of(pairs))
    assert StagePart.CONCENTRATION in fit.parts
    assert StagePart.CONCENTRATION_BY_PROMPT in fit.parts
    assert float(fit.numbers.log_total[0]) == pytest.approx(0.0, abs=0.6)
    assert float(fit.numbers.log_total[1]) == pytest.approx(1.0, abs=0.5)
    assert abs(float(fit.numbers.log_total[2])) < 0.4


@pytest.mark.parametrize("raters", [1, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_doubt_is_kept_where_raters_are_as_the_means_say(seed: int, raters: int) -> None:
    torch.manual_seed(seed)
    pairs, means = some_pairs(200), some_means(0.4)
    labelled = voted(pairs, means, StageNumbers(OFF, means.tie_threshold), raters)
    fit = fit_second_stage(labelled, means, folds_of(pairs))
    assert set(fit.parts) <= {StagePart.TEMPERATURE}
    assert float(fit.numbers.log_scale) == pytest.approx(0.0, abs=0.2)
    assert fit.numbers.variance is None
    assert fit.numbers.log_total is None
    assert [trial.part for trial in fit.trials] == list(StagePart)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_doubt_is_kept_on_one_soft_or_hard_label_a_pair(seed: int) -> None:
    torch.manual_seed(seed)
    pairs, means = some_pairs(300), some_means(None)
    margin = (pairs.weights * ((pairs.first - pairs.second) @ means.decoder.T)).sum(-1)
    labelled = HeldOutPairs(**{**vars(pairs), "preference": torch.bernoulli(margin.sigmoid())})
    fit = fit_second_stage(labelled, means, folds_of(pairs))
    assert set(fit.parts) <= {StagePart.TEMPERATURE}
    assert StagePart.TIES not in {trial.part for trial in fit.trials}


@pytest.mark.parametrize(
    ("part", "gain", "kept"),
    [
        (StagePart.TEMPERATURE, 0.01, True),
        (StagePart.TEMPERATURE, -0.01, False),
        (StagePart.TEMPERATURE, float("nan"), False),
        (StagePart.VARIANCE, 0.01, False),
        (StagePart.VARIANCE, 0.03, True),
    ],
)
def test_a_temperature_needs_a_gain_and_other_parts_more_than_its_error(
    part: StagePart, gain: float, kept: bool
) -> None:
    assert StageTrial(part, gain, standard_error=0.02).kept is kept
