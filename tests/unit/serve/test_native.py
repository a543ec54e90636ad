"""The native API gives what the library gives: score, steering, probabilities and explanations."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from vrm.client import Client
from vrm.data.schema import Judgment
from vrm.inference.engine import RewardEngine
from vrm.inference.explain import explain
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.score import ScoreOptions, Scorer, ScoringRow
from vrm.inference.sentences import explain_with_sentences
from vrm.inference.steering import Steering

PROMPT, COMPLETIONS = "how do i plan a safe city", ["very good", "no", "it is short and safe"]
CHAT = [{"role": "user", "content": "how"}, {"role": "assistant", "content": "so"}, {"role": "user", "content": "why"}]
STEERINGS = [
    {},
    {"emphasis": {"safety": 5.0}},
    {"without": ["brevity"]},
    {"emphasis": {"safety": 5.0}, "without": ["brevity", "free_1"]},
]


def library(directory, steering) -> RewardEngine:
    found = Steering(steering.get("emphasis", {}), tuple(steering.get("without", ()))) if steering else None
    return RewardEngine.from_pretrained(directory, options=ExtractionOptions(precision="float32"), steering=found)


def close(value, tolerance=1e-4):
    """The same document with every number approximate."""
    if isinstance(value, dict):
        return {key: close(entry, tolerance) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [close(entry, tolerance) for entry in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return pytest.approx(value, abs=tolerance, rel=tolerance) if is_number else value


@pytest.mark.parametrize("steering", STEERINGS)
@pytest.mark.parametrize("scale", ["raw", "standardized"])
def test_score_is_vrm_score(client, tiny_model_dir, steering, scale):
    scorer = Scorer(library(tiny_model_dir, steering), ScoreOptions(scale, kappa=1.5))
    ((row,),) = scorer.stream([ScoringRow(1, {}, Judgment(PROMPT, COMPLETIONS))])
    body = {"prompt": PROMPT, "completions": COMPLETIONS, "kappa": 1.5, "reward_scale": scale, **steering}
    answer = client.post("/v1/score", json=body).json()
    del row["line"]
    assert {name: answer[name] for name in row} == close(row)
    assert (answer["model"], answer["reward_scale"], answer["kappa"]) == ("tiny", scale, 1.5)


@pytest.mark.parametrize("as_text", [True, False])
def test_messages_are_judged_as_messages(client, tiny_model_dir, as_text):
    turns = [[{"role": "assistant", "content": text}] for text in COMPLETIONS]
    ((row,),) = Scorer(library(tiny_model_dir, {})).stream([ScoringRow(1, {}, Judgment(CHAT, turns))])
    answer = client.post("/v1/score", json={"prompt": CHAT, "completions": COMPLETIONS if as_text else turns}).json()
    assert answer["rewards"] == close(row["rewards"])


def test_requests_with_different_steering_share_a_batch(serve, tiny_model_dir):
    rewards = []
    for steering in STEERINGS:
        ((row,),) = Scorer(library(tiny_model_dir, steering)).stream([ScoringRow(1, {}, Judgment(PROMPT, COMPLETIONS))])
        rewards.append(row["rewards"])
    assert len({tuple(values) for values in rewards}) == len(STEERINGS)
    with serve(tiny_model_dir, queue_delay=0.3) as server, Client(server.url) as asking, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda steering: asking.score(PROMPT, COMPLETIONS, **steering).rewards, STEERINGS))
        batches = server.service.metrics.registry.get_sample_value("vrm_batch_texts_count")
    assert found == close(rewards)
    assert batches == 1


@pytest.mark.parametrize("steering", STEERINGS)
def test_probabilities_are_those_of_explain(client, tiny_model_dir, steering):
    explanation = explain(library(tiny_model_dir, steering), Judgment(PROMPT, COMPLETIONS))
    answer = client.post("/v1/score", json={"prompt": PROMPT, "completions": COMPLETIONS, **steering}).json()
    matrix = answer["probabilities"]
    assert len(explanation.pairs) == 3
    for pair in explanation.pairs:
        first, second = "ABC".index(pair.first), "ABC".index(pair.second)
        assert matrix[first][second] == pytest.approx(pair.probability, abs=1e-4)
        assert matrix[first][second] + matrix[second][first] == pytest.approx(1, abs=1e-5)
    assert [matrix[index][index] for index in range(3)] == [0.5] * 3


@pytest.mark.parametrize("steering", STEERINGS)
def test_explain_is_vrm_explain(client, tiny_model_dir, steering):
    expected = explain(library(tiny_model_dir, steering), Judgment(PROMPT, COMPLETIONS)).to_dict()
    answer = client.post("/v1/explain", json={"prompt": PROMPT, "completions": COMPLETIONS, **steering}).json()
    assert (answer.pop("model"), answer.pop("posterior")) == ("tiny", None)
    assert answer == close(expected, 1e-3)


@pytest.mark.parametrize("steering", STEERINGS)
def test_sentences_are_those_of_vrm_explain(client, tiny_model_dir, steering):
    completions = ["Very good water. Is it safe? No.", "no"]
    expected = explain_with_sentences(library(tiny_model_dir, steering), Judgment(PROMPT, completions)).to_dict()
    answer = client.post(
        "/v1/explain", json={"prompt": PROMPT, "completions": completions, "sentences": True, **steering}
    ).json()
    assert answer["sentences"] == close(expected["sentences"], 1e-3)
    assert [len(entry["sentences"]) for entry in answer["sentences"]] == [3, 0]
    assert "".join(sentence["text"] for sentence in answer["sentences"][0]["sentences"]) == completions[0]
    assert {key: answer[key] for key in ("completions", "pairs")} == {
        key: close(expected[key], 1e-3) for key in ("completions", "pairs")
    }


def test_the_posterior_is_before_steering(client, tiny_model_dir):
    body = {"prompt": PROMPT, "completions": COMPLETIONS, "posterior": True}
    plain = client.post("/v1/explain", json=body).json()["posterior"]
    steered = client.post("/v1/explain", json={**body, "emphasis": {"safety": 5}, "without": ["brevity"]}).json()
    assert steered["posterior"] == close(plain, 1e-5)
    posteriors = library(tiny_model_dir, {}).judge([Judgment(PROMPT, COMPLETIONS)]).posteriors
    assert plain["concentration"] == close(posteriors.weights.concentration[0].tolist(), 1e-3)
    assert plain["loc"] == close(posteriors.features.loc[0].tolist(), 1e-3)


def test_too_many_sentences_are_refused_before_they_are_judged(make_client):
    body = {"prompt": PROMPT, "completions": ["Good. Bad. Ugly."], "sentences": True}
    answer = make_client(max_sentences=2).post("/v1/explain", json=body)
    assert answer.status_code == 422
    assert "3 sentences; at most 2" in answer.json()["error"]["message"]


def test_probabilities_can_be_left_out(client):
    body = {"prompt": PROMPT, "completions": COMPLETIONS, "probabilities": False}
    assert client.post("/v1/score", json=body).json()["probabilities"] is None


def test_effective_rewards_are_those_of_the_library_on_every_route(client, tiny_model_dir):
    scorer = Scorer(library(tiny_model_dir, {}), ScoreOptions(risk="exponential", beta=0.5))
    ((row,),) = scorer.stream([ScoringRow(1, {}, Judgment(PROMPT, COMPLETIONS))])
    body = {"prompt": PROMPT, "completions": COMPLETIONS, "risk": "exponential", "beta": 0.5}
    answer = client.post("/v1/score", json=body).json()
    assert answer["effective_rewards"] == close(row["effective_rewards"])
    assert (answer["beta"], answer["kappa"], answer["pessimistic_rewards"]) == (0.5, None, None)
    scored = client.post("/score?risk=exponential&beta=0.5", json={"text_1": PROMPT, "text_2": COMPLETIONS}).json()
    assert [entry["score"] for entry in scored["data"]] == close(row["effective_rewards"])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"risk": "exponential"}, "risk 'exponential' needs beta"),
        ({"beta": 1, "kappa": 1}, "leave one of them out"),
        ({"beta": 0}, "greater than or equal"),
        ({"risk": "averse", "beta": 1}, "pessimistic"),
    ],
)
def test_risks_that_cannot_be_are_named(client, asked, words):
    answer = client.post("/v1/score", json={"prompt": PROMPT, "completions": COMPLETIONS, **asked})
    assert answer.status_code == 422
    assert words in answer.json()["error"]["message"]


def test_the_votes_of_raters_are_those_of_explain(make_client, make_tiny_model):
    engine = library(make_tiny_model("vrm", learned_disagreement=True), {})
    explanation = explain(engine, Judgment(PROMPT, COMPLETIONS))
    answer = make_client(engine).post("/v1/score", json={"prompt": PROMPT, "completions": COMPLETIONS}).json()
    for pair in explanation.pairs:
        first, second = "ABC".index(pair.first), "ABC".index(pair.second)
        assert answer["disagreement"][first][second] == pytest.approx(pair.disagreement, abs=1e-4)
        assert answer["p_tie"][first][second] == pair.p_tie == 0.0


def test_the_votes_of_raters_are_null_where_nobody_judged_a_pair_twice(client):
    answer = client.post("/v1/score", json={"prompt": PROMPT, "completions": COMPLETIONS}).json()
    assert (answer["p_tie"], answer["disagreement"]) == (None, None)


def test_an_explanation_says_that_it_was_cut(client):
    answer = client.post("/v1/explain", json={"prompt": PROMPT, "completions": ["water " * 300]}).json()
    assert answer["notes"] == ["Cut to fit into 128 tokens: completions."]


def test_an_empty_completion_has_a_reward(client):
    answer = client.post("/v1/score", json={"prompt": PROMPT, "completions": ["", "good"]})
    assert answer.status_code == 200
    assert answer.json()["rewards"][0] != answer.json()["rewards"][1]


@pytest.mark.parametrize("head", ["bt", "mlp", "gated", "bottleneck"])
def test_every_head_is_served(make_client, make_tiny_model, head):
    client = make_client(library(make_tiny_model(head), {}))
    body = {"prompt": PROMPT, "completions": COMPLETIONS}
    answer = client.post("/v1/score", json=body).json()
    assert len(answer["rewards"]) == 3
    assert answer["total_concentration"] is None
    assert sum(answer["objective_weights"].values()) == pytest.approx(1, abs=1e-5)
    assert client.post("/v1/explain", json=body).json()["head"] == head
    uncertain = client.post("/v1/score", json={**body, "kappa": 1})
    assert uncertain.status_code == (200 if head == "bottleneck" else 422)
    emphasized = client.post("/v1/score", json={**body, "emphasis": {answer_name(answer): 1}})
    assert emphasized.status_code == 422
    assert "has no concentration" in emphasized.json()["error"]["message"]


def answer_name(answer: dict) -> str:
    return next(iter(answer["objective_weights"]))


def test_a_request_may_name_a_rater(make_client, known_raters, tiny_model_dir):
    known, exact = known_raters({"ann": {"safety": -2.0}, "bob": {}}), ExtractionOptions(precision="float32")
    own = RewardEngine.from_pretrained(tiny_model_dir, options=exact)
    steering = Steering({}, ("brevity",), "ann")
    asked = RewardEngine(own.model, own.tokenizer, exact, steering=steering, raters=known)
    client = make_client(RewardEngine(own.model, own.tokenizer, exact, raters=known))
    body = {"prompt": PROMPT, "completions": COMPLETIONS, "rater": "ann", "without": ["brevity"]}
    ((row,),) = Scorer(asked).stream([ScoringRow(1, {}, Judgment(PROMPT, COMPLETIONS))])
    answer = client.post("/v1/score", json=body).json()
    del row["line"]
    assert {name: answer[name] for name in row} == close(row)
    assert answer["rater_tilt"] == {"helpfulness": 0.0, "safety": -2.0, "free_1": 0.0}
    expected = explain(asked, Judgment(PROMPT, COMPLETIONS)).to_dict()
    answer = client.post("/v1/explain", json=body).json()
    assert answer["judged_as"] == close(expected["judged_as"])
    assert answer["pairs"] == close(expected["pairs"], 1e-3)
    assert answer["judged_as"]["statement"] == "ann weighs safety 2.00 less than the population."
    assert client.post("/v1/score", json={**body, "rater": None}).json()["rater_tilt"] is None


def test_a_rater_that_is_not_known_is_refused_with_the_nearest(make_client, client, known_raters, engine):
    known = RewardEngine(engine.model, engine.tokenizer, engine.options, raters=known_raters({"ann": {}, "bob": {}}))
    body = {"prompt": PROMPT, "completions": COMPLETIONS, "rater": "anne"}
    answer = make_client(known).post("/v1/score", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "rater")
    assert "did you mean 'ann'?" in answer.json()["error"]["message"]
    assert "the model knows no raters" in client.post("/v1/explain", json=body).json()["error"]["message"]
