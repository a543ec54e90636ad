"""One view of rewards: what it computes and refuses, and that everything which gives rewards out agrees with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vrm.benchmarks.base import BenchmarkExample
from vrm.benchmarks.scoring import score_examples
from vrm.core.predictive import exponential_reward, log_probabilities
from vrm.data.schema import Judgment
from vrm.errors import CannotFollowError, ConfigError, NumericsError
from vrm.evaluate.collect import collect
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.reward_choice import RewardChoice
from vrm.inference.rewards import RewardView
from vrm.inference.score import ScoreOptions, Scorer, ScoringRow
from vrm.inference.steering import Steering
from vrm.integrations.trl import objective_functions, reward_function
from vrm.serve.service import Service

EXACT = ExtractionOptions(precision="float32")
ROWS = [
    Judgment("how do i plan", ["good", "no no"], file="rows", line=1),
    Judgment("help", ["a safe story", "short", "yes please"], file="rows", line=2),
    Judgment("why", ["the water is good"], file="rows", line=3),
]
STEERINGS = [None, Steering({"safety": 4.0}), Steering({"helpfulness": 2.0}, ("brevity", "free_1"))]


@pytest.fixture(scope="module")
def engine(tiny_model_dir):
    return RewardEngine.from_pretrained(tiny_model_dir, options=EXACT)


@pytest.mark.parametrize("steering", STEERINGS)
@pytest.mark.parametrize("kappa", [None, 0.0, 1.5])
@pytest.mark.parametrize("scale", ["raw", "standardized", None])
def test_a_view_is_the_closed_form_in_its_units(engine, scale, kappa, steering):
    rewards = RewardView(engine.model.config, RewardChoice(scale, kappa), steering)(engine.judge(ROWS))
    moments = RewardEngine(engine.model, engine.tokenizer, EXACT, steering=steering).judge(ROWS).moments
    loc, unit = (0.25, 1.5) if scale == "standardized" else (0.0, 1.0)
    torch.testing.assert_close(rewards.mean, (moments.mean - loc) / unit)
    torch.testing.assert_close(rewards.std, moments.std / unit)
    if kappa is None:
        assert rewards.pessimistic is None
        assert rewards.chosen is rewards.mean
    else:
        assert rewards.chosen is rewards.pessimistic
        torch.testing.assert_close(rewards.chosen, (moments.mean - kappa * moments.std - loc) / unit)
    torch.testing.assert_close((rewards.weights.unsqueeze(1) * rewards.scores).sum(-1), rewards.mean)


@pytest.mark.parametrize("scale", ["raw", "standardized"])
def test_the_models_own_scale_is_that_of_its_logits(make_tiny_model, scale):
    engine = RewardEngine.from_pretrained(make_tiny_model(reward_scale=scale), options=EXACT)
    rewards = RewardView(engine.model.config)(engine.judge(ROWS[2:]))
    text = f"[CLS] {ROWS[2].prompt} [SEP] {ROWS[2].completions[0]} [SEP]"
    with torch.no_grad():
        output = engine.model(**engine.tokenizer([text], return_tensors="pt", add_special_tokens=False))
    assert float(rewards.mean[0, 0]) == pytest.approx(float(output.logits), abs=1e-5)
    assert float(rewards.std[0, 0]) ** 2 == pytest.approx(float(output.reward_variance), abs=1e-5)


@pytest.mark.parametrize("steering", STEERINGS)
@pytest.mark.parametrize("scale", ["raw", "standardized"])
def test_files_trainers_benchmarks_and_the_view_agree(engine, scale, steering):
    choice = RewardChoice(scale, 0.5)
    rows = list(RewardView(engine.model.config, choice, steering)(engine.judge(ROWS)).rows())
    steered = RewardEngine(engine.model, engine.tokenizer, EXACT, steering=steering)
    lines = [ScoringRow(row.line, {}, row) for row in ROWS]
    (written,) = Scorer(steered, ScoreOptions(scale, 0.5)).stream(lines)
    prompts = [row.prompt for row in ROWS for _ in row.completions]
    completions = [text for row in ROWS for text in row.completions]
    how = {"emphasis": steering.emphasis, "without": steering.without} if steering else {}
    trained = reward_function(engine, kappa=0.5, reward_scale=scale, **how)(prompts, completions)
    for row, output in zip(rows, written, strict=True):
        for name, value in row.to_dict().items():
            if name not in ("objective_scores", "objective_weights"):
                assert output[name] == pytest.approx(value, abs=1e-5)
    assert trained == pytest.approx([value for row in rows for value in row.chosen], abs=1e-5)
    parts = [function(prompts, completions) for function in objective_functions(steered, reward_scale=scale)]
    scores = [list(values.values()) for row in rows for values in row.to_dict()["objective_scores"]]
    torch.testing.assert_close(torch.tensor(parts).T, torch.tensor(scores), atol=1e-5, rtol=1e-4)
    if scale == "raw":
        examples = [BenchmarkExample(str(row.line), row, {}) for row in ROWS]
        for row, example in zip(rows, score_examples(steered, examples), strict=True):
            assert (example.mean, example.std) == (pytest.approx(row.mean, abs=1e-5), pytest.approx(row.std, abs=1e-5))


@pytest.mark.parametrize("steering", STEERINGS)
@pytest.mark.parametrize("scale", ["raw", "standardized"])
def test_the_effective_reward_is_the_cores_in_the_views_units(engine, scale, steering):
    """Files, trainers and the view agree; beta is in the units that are given out."""
    beta = 0.7
    batch = engine.judge(ROWS).steered(steering)
    units = engine.model.config.reward_units(scale)
    expected = units.of(exponential_reward(batch.posteriors, beta * units.scale))
    view = RewardView(engine.model.config, RewardChoice(scale, risk="exponential", beta=beta), steering)
    rows = list(view(engine.judge(ROWS)).rows())
    steered = RewardEngine(engine.model, engine.tokenizer, EXACT, steering=steering)
    lines = [ScoringRow(row.line, {}, row) for row in ROWS]
    (written,) = Scorer(steered, ScoreOptions(scale, beta=beta)).stream(lines)
    for index, (row, output) in enumerate(zip(rows, written, strict=True)):
        assert row.chosen == row.effective == pytest.approx(expected[index][batch.mask[index]].tolist(), abs=1e-5)
        assert row.pessimistic is None
        assert output["effective_rewards"] == pytest.approx(row.effective, abs=1e-5)
        assert all(lowered < mean for lowered, mean in zip(row.effective, row.mean, strict=True))
    prompts = [row.prompt for row in ROWS for _ in row.completions]
    completions = [text for row in ROWS for text in row.completions]
    how = {"emphasis": steering.emphasis, "without": steering.without} if steering else {}
    trained = reward_function(engine, risk="exponential", beta=beta, reward_scale=scale, **how)(prompts, completions)
    assert trained == pytest.approx([value for row in rows for value in row.effective], abs=1e-5)


def test_probabilities_are_those_of_the_core_under_the_same_weights(engine):
    batch = engine.judge(ROWS)
    matrix = list(RewardView(engine.model.config)(batch).rows())[1].preference_matrix()
    posteriors = batch.row(1).posteriors
    for first, second in ((0, 1), (0, 2), (1, 2)):
        sides = (posteriors.features.completion(place) for place in (first, second))
        log_first, log_second = log_probabilities(posteriors.weights, *sides, posteriors.decoder)
        assert matrix[first][second] == pytest.approx(float(log_first.exp()), abs=1e-5)
        assert matrix[second][first] == pytest.approx(float(log_second.exp()), abs=1e-5)
    assert [matrix[place][place] for place in range(3)] == [0.5] * 3


@pytest.mark.parametrize(
    ("head", "choice", "steering", "option", "words"),
    [
        ("gated", RewardChoice(kappa=1.0), None, "kappa", "has no uncertainty, so kappa would change nothing"),
        ("gated", RewardChoice(beta=1.0), None, "risk", "has no uncertainty, so risk would change nothing"),
        ("gated", None, Steering({"safety": 1.0}), "emphasis", "has no concentration"),
        ("vrm", None, Steering({"speed": 1.0}), "emphasis", "steering names speed"),
        ("vrm", None, Steering({"safety": 1.0}, ("speed",)), "without", "steering names speed"),
        ("bt", None, Steering({}, ("reward",)), "without", "at least one objective must remain"),
    ],
)
def test_what_a_model_cannot_follow_is_one_error_that_names_the_option(
    make_tiny_model, head, choice, steering, option, words
):
    engine = RewardEngine.from_pretrained(make_tiny_model(head), options=EXACT)
    with pytest.raises(CannotFollowError, match=words) as raised:
        RewardView(engine.model.config, choice, steering)
    assert raised.value.option == option
    assert isinstance(raised.value, ConfigError)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"reward_scale": "log"}, "reward_scale must be one of raw, standardized"),
        ({"kappa": -1.0}, "kappa must be finite and >= 0, got -1.0"),
        ({"kappa": float("nan")}, "kappa must be finite"),
        ({"kappa": float("inf")}, "kappa must be finite"),
        ({"beta": 0.0}, "beta must be finite and > 0, got 0.0"),
        ({"beta": float("nan")}, "beta must be finite"),
        ({"risk": "exponential"}, "risk 'exponential' needs beta"),
        ({"risk": "pessimistic"}, "risk 'pessimistic' needs kappa"),
        ({"risk": "exponential", "kappa": 1.0}, "kappa is of risk 'pessimistic', and risk is 'exponential'"),
        (
            {"risk": "pessimistic", "kappa": 1.0, "beta": 1.0},
            "beta is of risk 'exponential', and risk is 'pessimistic'",
        ),
        ({"kappa": 1.0, "beta": 1.0}, "kappa is of risk 'pessimistic', and risk is 'exponential'"),
        ({"risk": "averse", "beta": 1.0}, "risk must be one of pessimistic, exponential"),
    ],
)
def test_choices_that_no_model_could_follow(fields, words):
    with pytest.raises(ConfigError, match=words):
        RewardChoice(**fields)


def test_steering_is_applied_once(engine):
    steered = engine.judge(ROWS).steered(Steering({"safety": 1.0}))
    with pytest.raises(ConfigError, match="steered already"):
        RewardView(engine.model.config, steering=Steering({"safety": 1.0}))(steered)


def test_padding_may_be_anything_but_a_reward_must_be_finite(engine):
    batch = engine.judge(ROWS)
    view = RewardView(engine.model.config)
    loc = batch.posteriors.features.loc.clone()
    loc[2, 1:] = float("nan")
    features = replace(batch.posteriors.features, loc=loc)
    rewards = view(replace(batch, posteriors=replace(batch.posteriors, features=features)))
    assert len(list(rewards.rows())) == 3
    loc[1, 2] = float("nan")
    with pytest.raises(NumericsError, match=r"rows:2: the model gives \[.*nan\], which is not finite"):
        view(replace(batch, posteriors=replace(batch.posteriors, features=replace(features, loc=loc))))


def test_evaluation_names_the_row_whose_reward_is_not_finite(tiny_model_dir):
    broken = RewardEngine.from_pretrained(tiny_model_dir, options=EXACT)
    with torch.no_grad():
        broken.model.score.decoder.fill_(float("nan"))
    with pytest.raises(NumericsError, match="rows:1: the model gives"):
        collect(broken, [replace(ROWS[0], preference=1.0)])


def test_what_was_cut_stands_on_the_row_and_the_report_counts_rows(engine):
    engine.reset_report()
    long = [Judgment("the water " * 100, ["yes"]), Judgment("how", ["good " * 200, "no"]), ROWS[0]]
    first, second, third = engine.judge(long).tokenized
    assert (first.prompt_cut > 0, first.completions_cut) == (True, ())
    whole = engine.tokenize.whole(long[1])
    assert (second.prompt_cut, second.completions) != (0, whole.completions)
    assert second.completions_cut == (len(whole.completions[0]) - len(second.completions[0]), 0)
    assert [row.truncated for row in (first, second, third)] == [True, True, False]
    report = engine.report
    assert (report.total, report.prompt_truncated, report.completion_truncated) == (3, 1, 1)


def test_no_engine_is_built_to_steer_or_to_serve(engine, monkeypatch):
    service = Service(engine)
    batch = engine.judge(ROWS)
    monkeypatch.setattr(RewardEngine, "__init__", lambda *_, **__: pytest.fail("an engine was built"))
    view = service.view(RewardChoice("standardized", 1.0), {"safety": 3.0}, ["brevity"])
    assert len(view(batch.row(1)).chosen[0]) == 3
    function = reward_function(engine, emphasis={"safety": 3.0})
    assert function(["how"], ["good"]) != reward_function(engine)(["how"], ["good"])
