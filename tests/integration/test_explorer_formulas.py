"""What the page `/explore` computes in the browser is what the package computes, to 1e-6."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from scipy import stats

from vrm.core.predictive import log_probabilities, margin_moments, objective_scores, reward_moments
from vrm.data.schema import Judgment
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.judged import JudgedBatch
from vrm.inference.posterior import posterior_of
from vrm.inference.steering import Steering
from vrm.serve.explorer import draws_for

ROW = Judgment("how do i plan a safe city", ["very good water", "no thanks", "it is short and safe", ""])
STEERINGS = {
    "none": Steering({}),
    "counts": Steering({"safety": 7.5, "free_1": 0.25}),
    "without": Steering({}, ("brevity",)),
    "one alone": Steering({}, ("brevity", "safety", "free_1")),
    "both": Steering({"helpfulness": 120.0}, ("free_1", "brevity")),
}
EVALUATE = """async ([posterior, emphasis, without, draws]) => {
    const { evaluate } = await import("/explore/formulas.js");
    return evaluate(posterior, { emphasis, without }, draws, 0.9);
}"""

Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def page(serve, tiny_model_dir, browser) -> Iterator[Any]:
    with serve(tiny_model_dir) as server:
        page = browser.new_page()
        page.goto(f"{server.url}/explore/look.css")  # of the same origin, with no script of its own
        yield page


@pytest.fixture(scope="module")
def evaluated(page) -> Evaluate:
    """evaluated(batch, config, steering): what the page's own module makes of a row's posterior."""

    def evaluated(batch: JudgedBatch, config: Any, steering: Steering) -> dict[str, Any]:
        posterior = asdict(posterior_of(batch, config))
        count = len(steering.remaining(posterior["objectives"]))
        draws = draws_for(count).model_dump()
        return page.evaluate(EVALUATE, [posterior, steering.emphasis, list(steering.without), draws])

    return evaluated


def judged(directory: Any, raters: Any = None) -> tuple[JudgedBatch, Any]:
    engine = RewardEngine.from_pretrained(directory, options=ExtractionOptions(precision="float32"))
    engine.raters = raters
    return engine.judge([ROW]), engine.model.config


def doubting(batch: JudgedBatch) -> JudgedBatch:
    doubt = torch.randn(1, len(ROW.completions), 5, generator=torch.Generator().manual_seed(3))
    features = replace(batch.posteriors.features, doubt=doubt)
    return replace(batch, posteriors=replace(batch.posteriors, features=features))


def agree(view: dict[str, Any], batch: JudgedBatch, config: Any) -> None:
    """Every number of the page against the package's own, in float64."""
    exact = batch.posteriors.double()
    weights, features, decoder = exact.weights, exact.features, exact.decoder
    factors = weights.mean[0] if weights.tilt is None else weights.mean[0] + weights.tilt.loc
    assert view["weights"]["names"] == list(batch.objectives)
    near = {"rel": 1e-6, "abs": 1e-6}
    assert view["weights"]["mean"] == pytest.approx(weights.mean[0].tolist(), **near)
    assert view["factors"] == pytest.approx(factors.tolist(), **near)

    def same_moments(found: dict[str, Any], moments: Any, scores: Any) -> None:
        assert found["mean"] == pytest.approx(float(moments.mean), **near)
        assert found["variance"] == pytest.approx(float(moments.variance), **near)
        names = {"features": "feature", "weights": "weight", "interaction": "interaction", "parameters": "parameter"}
        parts = {name: float(getattr(moments, f"{part}_variance")) for name, part in names.items()}
        assert found["parts"] == pytest.approx(parts, **near)
        assert found["contributions"] == pytest.approx((factors * scores[0]).tolist(), **near)

    sides = [features.completion(place) for place in range(len(ROW.completions))]
    for found, side in zip(view["completions"], sides, strict=True):
        same_moments(found, reward_moments(weights, side, decoder), objective_scores(side.loc, decoder))
    for i, one in enumerate(sides):
        for j in range(i + 1, len(sides)):
            pair, other = view["pairs"][i][j], sides[j]
            same_moments(
                pair, margin_moments(weights, one, other, decoder), objective_scores(one.loc - other.loc, decoder)
            )
            first, _ = log_probabilities(weights, one, other, decoder)
            assert pair["probability"] == pytest.approx(float(first.exp()), **near)
            same_votes(pair, replace(batch, posteriors=exact), config, i, j)


def same_votes(pair: dict[str, Any], batch: JudgedBatch, config: Any, i: int, j: int) -> None:
    votes = batch.votes(torch.tensor([0]), torch.tensor([i]), torch.tensor([j]))
    if not config.knows_ties:
        assert (pair["tie"], pair["disagreement"]) == (None, None)
        return
    assert pair["tie"] == pytest.approx(float(votes.share()[0, 2]), abs=1e-6)
    differ = float(votes.disagreement()) if config.learned_disagreement else None
    assert pair["disagreement"] == (None if differ is None else pytest.approx(differ, abs=1e-6))


@pytest.mark.parametrize("steering", STEERINGS.values(), ids=STEERINGS)
@pytest.mark.parametrize("voters", ["anybody", "raters", "ties"])
def test_every_number_under_every_steering(evaluated, make_tiny_model, steering, voters):
    fields = {"anybody": [], "raters": ["learned_disagreement"], "ties": ["learned_disagreement", "models_ties"]}
    batch, config = judged(make_tiny_model(**dict.fromkeys(fields[voters], True)))
    batch = doubting(batch) if voters == "raters" else batch
    agree(evaluated(batch, config, steering), batch.steered(steering), config)


@pytest.mark.parametrize("name", [None, "ana"])
def test_a_rater_s_tilt(evaluated, make_tiny_model, known_raters, name):
    raters = known_raters({"ana": {"safety": 0.8, "brevity": -0.3}, "ben": {"safety": -0.2}})
    batch, config = judged(make_tiny_model(learned_disagreement=True), raters)
    steering = Steering({"safety": 3.0}, ("free_1",), name)
    asked = batch.steered(Steering({}, rater=name)) if name else batch
    agree(evaluated(asked, config, steering), batch.steered(steering), config)


@pytest.mark.parametrize("head", ["gated", "bt"])
def test_heads_without_uncertainty(evaluated, make_tiny_model, head):
    batch, config = judged(make_tiny_model(head=head))
    assert posterior_of(batch, config).concentration is None
    agree(evaluated(batch, config, Steering({})), batch.steered(Steering({})), config)


def test_quantiles_of_a_weight_are_those_of_its_beta(page):
    shapes = [(0.01, 0.5), (0.3, 40.0), (5.0, 5.0), (90.0, 3.0), (2.0, 9000.0), (1e4, 1e4)]
    found = page.evaluate(
        """async (shapes) => {
            const { betaQuantile } = await import("/explore/formulas.js");
            return shapes.map(([a, b]) => [0.05, 0.5, 0.95].map((p) => betaQuantile(p, a, b)));
        }""",
        shapes,
    )
    for (a, b), quantiles in zip(shapes, found, strict=True):
        assert quantiles == pytest.approx(stats.beta.ppf([0.05, 0.5, 0.95], a, b).tolist(), abs=1e-9)
        assert all(low < high for low, high in pairwise(quantiles)) or a < 0.1


def test_forty_objectives_and_four_completions_take_less_than_100_ms(page):
    posterior = {
        "objectives": [f"o{k}" for k in range(40)],
        "weights": [1 / 40] * 40,
        "concentration": [2.0] * 40,
        "decoder": torch.randn(40, 8).tolist(),
        "loc": torch.randn(4, 8).tolist(),
        "variance": torch.rand(4, 8).tolist(),
        "doubt": None,
        "tilt": None,
        "voter_tilt": None,
        "tie_threshold": 0.4,
        "knows_ties": True,
        "knows_disagreement": True,
    }
    milliseconds = page.evaluate(
        """async ([posterior, draws]) => {
            const { evaluate } = await import("/explore/formulas.js");
            const times = [1, 2, 3, 4, 5].map((count) => {
                const start = performance.now();
                evaluate(posterior, { emphasis: { o1: count } }, draws, 0.9);
                return performance.now() - start;
            });
            return Math.min(...times);
        }""",
        [posterior, draws_for(40).model_dump()],
    )
    assert milliseconds < 100


@pytest.mark.parametrize("name", [None, "ana"])
def test_turning_points_are_where_a_margin_is_zero(page, make_tiny_model, known_raters, name):
    raters = known_raters({"ana": {"safety": 0.3, "brevity": -0.2}})
    batch, config = judged(make_tiny_model(learned_disagreement=True), raters)
    asked = batch.steered(Steering({}, rater=name)) if name else batch
    posterior = asdict(posterior_of(asked, config))
    turning = page.evaluate(
        """async (posterior) => {
            const { evaluate, turningPoints } = await import("/explore/formulas.js");
            const view = evaluate(posterior, {}, null, 0.9);
            return view.pairs.flat().filter((pair) => pair).map((pair) => turningPoints(view, pair, 1e9));
        }""",
        posterior,
    )
    places = [(i, j) for i in range(len(ROW.completions)) for j in range(i + 1, len(ROW.completions))]

    def margin(i: int, j: int, steering: Steering) -> float:
        mean = batch.steered(steering).posteriors.double()
        sides = [mean.features.completion(place) for place in (i, j)]
        return float(margin_moments(mean.weights, *sides, mean.decoder).mean)

    tried = 0
    for (i, j), found in zip(places, turning, strict=True):
        now = margin(i, j, Steering({}, rater=name))
        for objective, count in found["counts"]:
            assert margin(i, j, Steering({objective: count}, rater=name)) == pytest.approx(0, abs=1e-5)
            tried += 1
        for objective in batch.objectives:
            turned = margin(i, j, Steering({}, (objective,), name)) * now < 0
            assert turned == (objective in found["without"])
            tried += turned
    assert tried > 3
