"""Normalization of votes and the reading of ratings as votes."""

import pytest
import torch

from vrm.core.distributions import ObjectiveWeights
from vrm.core.likelihoods.votes import normalize_votes, ratings_as_votes
from vrm.errors import DataError, VrmError


def test_rows_reach_the_total_and_empty_rows_stay_empty() -> None:
    votes = normalize_votes(torch.tensor([[1.0, 3.0], [0.0, 0.0]]), total=2.0)
    assert votes.tolist() == [[0.5, 1.5], [0.0, 0.0]]


def test_ratings_are_shared_out_within_and_averaged_over_completions() -> None:
    nan = float("nan")
    ratings = torch.tensor([[[1.0, 3.0], [2.0, 2.0]], [[nan, 4.0], [nan, nan]], [[nan, nan], [nan, nan]]])
    expected = torch.tensor([[0.375, 0.625], [0.0, 1.0], [0.0, 0.0]])
    torch.testing.assert_close(ratings_as_votes(ratings), expected)


def test_negative_ratings_are_refused() -> None:
    with pytest.raises(DataError, match=r"-2\.0"):
        ratings_as_votes(torch.tensor([[[1.0, -2.0]]]))


def test_a_point_mass_has_no_distribution() -> None:
    with pytest.raises(VrmError, match="point mass"):
        _ = ObjectiveWeights(torch.tensor([0.5, 0.5])).distribution
