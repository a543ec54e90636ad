"""Unfamiliarity, after (17), against dense references in numpy, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vrm.core.unfamiliarity import TrainingTexts, familiar_texts, principal_subspaces

WIDTH = 24


def draws(count, seed=0, shift=0.0, blocks=1, width=WIDTH):
    """Correlated vectors of some blocks whose spectra fall, float64."""
    mixing = np.random.default_rng(7).standard_normal((blocks, width, width)) * 0.8 ** np.arange(width)
    given = np.random.default_rng(seed).standard_normal((count, blocks, width))
    return torch.from_numpy(np.einsum("nbw,bvw->nbv", given, mixing).reshape(count, -1) + 3.0 + shift)


def sample(completions, prompts, held_out=None, categories=None):
    count = len(completions)
    out = torch.arange(count) % 2 == 0 if held_out is None else held_out
    return TrainingTexts(prompts, completions, out, torch.full((count,), -1) if categories is None else categories)


def test_components_are_those_of_a_whole_decomposition():
    vectors = draws(300, blocks=2)
    found = principal_subspaces(vectors, 2, 6)
    whitened, log_left_out = found(vectors)
    logs = []
    for block in range(2):
        values = vectors.numpy()[:, WIDTH * block : WIDTH * (block + 1)]
        centred = values - values.mean(0)
        _, spread, rows = np.linalg.svd(centred, full_matrices=False)
        np.testing.assert_allclose(found.spread[block], spread[:6] / np.sqrt(300), rtol=1e-6)
        np.testing.assert_allclose(np.abs(found.basis[block].numpy().T @ rows[:6].T), np.eye(6), atol=1e-3)
        own = whitened[:, 6 * block : 6 * (block + 1)].numpy()
        np.testing.assert_allclose(np.cov(own.T, bias=True), np.eye(6), atol=1e-6)
        logs.append(np.log(((centred - centred @ rows[:6].T @ rows[:6]) ** 2).sum(1)))
    np.testing.assert_allclose(log_left_out, np.mean(logs, 0), rtol=1e-5)


def test_it_is_the_limit_of_17_for_a_small_lambda():
    """Training vectors of rank 5: what (17) keeps of a query is its squared length outside their span."""
    span = torch.from_numpy(np.random.default_rng(1).standard_normal((5, WIDTH)))
    training = torch.from_numpy(np.random.default_rng(2).standard_normal((200, 5))) @ span
    training = training - training.mean(0)
    queries = draws(20, seed=3)
    ridge, curvature = 1e-6, 0.21
    precision = ridge * torch.eye(WIDTH, dtype=torch.float64) + curvature * training.T @ training
    variance = ridge * (queries * torch.linalg.solve(precision, queries.T).T).sum(-1)
    _, log_left_out = principal_subspaces(training, 1, 5)(queries)
    np.testing.assert_allclose(variance, log_left_out.exp(), rtol=1e-5)


def test_with_whitened_components_17_is_a_mahalanobis_distance():
    vectors, others = draws(400), draws(50, seed=1, shift=0.5)
    found = principal_subspaces(vectors, 1, 8)
    training, queries = found(vectors)[0].numpy(), found(others)[0].numpy()
    ridge, curvature = 3.0, 0.21
    precision = ridge * np.eye(8) + curvature * training.T @ training
    variance = ridge * np.einsum("ni,ij,nj->n", queries, np.linalg.inv(precision), queries)
    factor = ridge / (ridge + curvature * len(training))
    np.testing.assert_allclose(variance, factor * (queries**2).sum(1), rtol=1e-6)


def test_one_familiar_text_in_twenty_is_above_one_and_a_foreign_one_far_above():
    known = familiar_texts(sample(draws(4000, blocks=2), draws(4000, seed=9, blocks=2)), 2, 8)
    fresh = known.unfamiliarity(draws(4000, seed=8, blocks=2), draws(4000, seed=1, blocks=2).unsqueeze(1)).distance
    assert fresh.shape == (4000, 1)
    share = float((fresh > 1.0).double().mean())
    assert abs(share - 0.05) < 4 * np.sqrt(0.05 * 0.95 * (1 / 4000 + 1 / 2000))
    foreign = known.unfamiliarity(draws(100, blocks=2), draws(100, seed=2, shift=9.0, blocks=2).unsqueeze(1))
    assert float(foreign.distance.min()) > 1.0
    assert foreign.by_category.shape == (100, 1, 0)


def test_the_distance_is_a_ratio_of_lengths():
    """Vectors twice as far out, of prompt and completion, are twice as far from the border."""
    vectors, prompts = draws(200, blocks=2), draws(200, seed=1, blocks=2)
    known = familiar_texts(sample(vectors, prompts), 2, 4)

    def farther(values, space):
        return space.loc.flatten() + 2.0 * (values - space.loc.flatten())

    near = known.unfamiliarity(prompts, vectors.unsqueeze(1)).distance
    far = known.unfamiliarity(farther(prompts, known.prompts), farther(vectors, known.completions).unsqueeze(1))
    np.testing.assert_allclose(far.distance, 2.0 * near, rtol=1e-6)


def test_texts_are_nearest_to_their_own_category():
    vectors = torch.cat([draws(200), draws(200, seed=1, shift=4.0)])
    categories = torch.arange(2).repeat_interleave(200)
    known = familiar_texts(sample(vectors, vectors, torch.arange(400) % 5 == 0, categories), 1, 8)
    by_category = known.unfamiliarity(vectors, vectors.unsqueeze(1)).by_category[:, 0]
    whitened, _ = known.completions(vectors)
    reference = (whitened - whitened[categories == 1].mean(0)).norm(dim=-1) / np.sqrt(8)
    np.testing.assert_allclose(by_category[:, 1], reference, rtol=1e-6)
    assert float((by_category.argmin(-1) == categories).double().mean()) > 0.9


def test_float32_is_enough():
    given = [draws(500, seed=seed, blocks=3, width=64) for seed in (0, 1)]
    asked = [draws(100, seed=seed, shift=1.0, blocks=3, width=64) for seed in (2, 3)]
    exact, rounded = (
        familiar_texts(sample(*(values.to(dtype) for values in given)), 3, 16)
        .unfamiliarity(asked[0].to(dtype), asked[1].to(dtype).unsqueeze(1))
        .distance
        for dtype in (torch.float64, torch.float32)
    )
    np.testing.assert_allclose(rounded, exact, rtol=1e-3)


def test_a_component_has_one_sign_however_the_rows_are_ordered():
    vectors = draws(300, blocks=2)
    first, second = (principal_subspaces(rows, 2, 6) for rows in (vectors, vectors.flip(0)))
    np.testing.assert_allclose(first.basis, second.basis, atol=1e-6)
    assert bool((first.basis.amax(1) >= -first.basis.amin(1)).all())


def test_torchs_generator_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    principal_subspaces(draws(50), 1, 4)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("poolings", "kind", "blocks"),
    [
        (["mean", "max", "cls"], "encoder", [0, 3]),
        (["max", "cls"], "encoder", [0, 1, 2, 3]),
        (["last"], "decoder", [0, 1]),
        (["last", "mean"], "decoder", [1, 3]),
    ],
)
def test_the_means_of_a_text_are_compared(poolings, kind, blocks):
    from vrm import VRMConfig

    key = "poolings" if kind == "encoder" else "decoder_poolings"
    config = VRMConfig(feature_layers=[1, 3], backbone_kind=kind, **{key: poolings})
    assert config.familiar_blocks == blocks
