"""Reward functions apart from any trainer: values, names, logs, and what is computed how often."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from vrm.data.schema import Judgment
from vrm.errors import CheckpointError, ConfigError, DataError, NumericsError
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.steering import Steering
from vrm.integrations.trl import objective_functions, reward_function
from vrm.model import load_model

EXACT = ExtractionOptions(precision="float32")
PROMPTS = ["how do you help", "how do you help", "why is the city safe", "how do you help"]
COMPLETIONS = ["very good", "no", "the doctor help", "very good plan"]


def messages(role, texts):
    return [[{"role": role, "content": text}] for text in texts]


@pytest.fixture(params=["text", "messages"])
def batch(request):
    if request.param == "text":
        return {"prompts": PROMPTS, "completions": COMPLETIONS}
    return {"prompts": messages("user", PROMPTS), "completions": messages("assistant", COMPLETIONS)}


@pytest.fixture(scope="module")
def engine(tiny_model_dir):
    return RewardEngine.from_pretrained(tiny_model_dir, options=EXACT)


def judged(engine, **options):
    rows = [Judgment(prompt, [text]) for prompt, text in zip(PROMPTS, COMPLETIONS, strict=True)]
    return RewardEngine(engine.model, engine.tokenizer, EXACT, **options).judge(rows).moments


def close(values, expected):
    return torch.allclose(torch.tensor(values), expected, atol=1e-5)


def test_mean_and_pessimistic_rewards(engine, batch):
    moments = judged(engine)
    mean, std = moments.mean[:, 0], moments.std[:, 0]
    assert close(reward_function(engine)(**batch), mean)
    assert close(reward_function(engine, kappa=0.5)(**batch), mean - 0.5 * std)
    standardized = reward_function(engine, kappa=0.5, reward_scale="standardized")(**batch)
    assert close(standardized, (mean - 0.5 * std - 0.25) / 1.5)


@pytest.mark.parametrize("steering", [{"emphasis": {"safety": 50.0}}, {"without": ["helpfulness", "brevity"]}])
def test_steered_rewards(engine, batch, steering):
    expected = judged(engine, steering=Steering(steering.get("emphasis", {}), tuple(steering.get("without", ()))))
    rewards = reward_function(engine, **steering)(**batch)
    assert close(rewards, expected.mean[:, 0])
    assert not close(rewards, judged(engine).mean[:, 0])


def test_a_model_may_be_a_path_an_engine_or_a_model(tiny_model_dir, engine, batch):
    expected = torch.tensor(reward_function(engine)(**batch))
    for model in (tiny_model_dir, str(tiny_model_dir), load_model(tiny_model_dir)[0]):
        assert close(reward_function(model)(**batch), expected)
    with pytest.raises(CheckpointError, match="no such directory"):
        reward_function("./nowhere")
    model = load_model(tiny_model_dir)[0]
    model.config._name_or_path = ""
    with pytest.raises(ConfigError, match=r"RewardEngine\(model, tokenizer\)"):
        reward_function(model)


def test_options_that_the_model_cannot_follow(engine, make_tiny_model):
    with pytest.raises(ConfigError, match="honesty"):
        reward_function(engine, emphasis={"honesty": 1})
    with pytest.raises(ConfigError, match="kappa"):
        reward_function(engine, kappa=-1)
    with pytest.raises(ConfigError, match="kappa would change nothing"):
        reward_function(make_tiny_model("bt"), kappa=1)
    steering = RewardEngine(engine.model, engine.tokenizer, EXACT, steering=Steering({"safety": 1.0}))
    with pytest.raises(ConfigError, match="steers already"):
        reward_function(steering, without=["safety"])
    assert reward_function(steering)(["how"], ["good"]) != reward_function(engine)(["how"], ["good"])


def test_objectives_add_up_to_the_reward(engine, batch):
    total = judged(engine).mean[:, 0]
    functions = objective_functions(engine, weighted=True)
    assert [function.__name__ for function in functions] == ["helpfulness", "safety", "brevity", "free_1"]
    assert close(torch.tensor([function(**batch) for function in functions]).sum(0).tolist(), total)
    plain = torch.tensor([function(**batch) for function in objective_functions(engine)])
    weights = reward_function(engine).judge(**batch, columns={}).rewards.weights
    assert close((weights.T * plain).sum(0).tolist(), total)
    scaled = [f(**batch) for f in objective_functions(engine, weighted=True, reward_scale="standardized")]
    assert close(torch.tensor(scaled).sum(0).tolist(), (total - 0.25) / 1.5)


@pytest.fixture
def forwards(engine, monkeypatch):
    calls = []
    original = RewardEngine.judge_tokenized

    def counted(self, tokenized, *args):
        calls.append(sum(len(item.completions) for item in tokenized))
        return original(self, tokenized, *args)

    monkeypatch.setattr(RewardEngine, "judge_tokenized", counted)
    return calls


def test_all_objectives_read_one_forward(engine, forwards):
    functions = objective_functions(engine)
    for prompts in (PROMPTS, PROMPTS[::-1]):
        for function in functions:
            function(prompts=list(prompts), completions=COMPLETIONS)
    assert forwards == [4, 4]


def test_a_batch_that_was_changed_in_place_is_judged_anew(engine, forwards):
    prompts, completions = messages("user", PROMPTS), messages("assistant", COMPLETIONS)
    function = reward_function(engine)
    before = function(prompts, completions)
    completions[0][0]["content"] = "no no no"
    after = function(prompts, completions)
    assert before[0] != after[0]
    assert before[1:] == pytest.approx(after[1:], abs=1e-5)
    assert len(forwards) == 2


def test_equal_prompts_are_computed_once(engine):
    read = []
    handle = engine.model.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    rewards = reward_function(engine)(PROMPTS, COMPLETIONS)
    in_rows = sum(read)
    read.clear()
    engine.judge(
        [Judgment(PROMPTS[0], [COMPLETIONS[row] for row in (0, 1, 3)]), Judgment(PROMPTS[2], COMPLETIONS[2:3])]
    )
    handle.remove()
    assert in_rows == sum(read)
    assert len(rewards) == 4


def test_rewards_do_not_depend_on_the_batch(engine):
    """Each row is cut to the limit apart, whatever the longest completion of its prompt."""
    prompts, completions = ["how " * 200] * 3, ["good", "no " * 60, "safe " * 300]
    function = reward_function(engine)
    together = function(prompts, completions)
    apart = [function([prompt], [text])[0] for prompt, text in zip(prompts, completions, strict=True)]
    assert together == pytest.approx(apart, abs=1e-5)


def test_what_is_logged(engine):
    metrics, columns = {}, {}
    prompts = [*PROMPTS, "how"]
    function = reward_function(engine, name="judge")
    function(prompts, [*COMPLETIONS, "good " * 300], log_metric=metrics.__setitem__, log_extra=columns.__setitem__)
    rewards = function.judge(prompts, [*COMPLETIONS, "good " * 300], {}).rewards
    std, weight_variance = rewards.moments.std[:, 0], rewards.moments.weight_variance[:, 0]
    assert metrics["judge/reward_std"] == pytest.approx(float(std.mean()))
    assert metrics["judge/reward_std_weights"] == pytest.approx(float(weight_variance.sqrt().mean()))
    assert metrics["judge/total_concentration"] == pytest.approx(float(rewards.total_concentration.mean()))
    assert metrics["judge/weight/safety"] == pytest.approx(float(rewards.weights[:, 1].mean()))
    assert metrics["judge/truncated"] == pytest.approx(0.2)
    assert metrics["judge/dropped"] == 0
    assert columns == {"judge_reward_std": pytest.approx(std.tolist())}


def test_heads_without_uncertainty_log_no_concentration(make_tiny_model):
    metrics = {}
    reward_function(make_tiny_model("gated"))(PROMPTS, COMPLETIONS, log_metric=metrics.__setitem__)
    assert "vrm/total_concentration" not in metrics
    assert metrics["vrm/reward_std_weights"] == 0


def test_only_the_first_objective_logs(engine):
    logged = []
    for function in objective_functions(engine):
        function(PROMPTS, COMPLETIONS, log_metric=lambda name, value: logged.append(name))
    assert len(logged) == len(set(logged))
    assert "vrm/weight/safety" in logged


def test_dropped_rows_have_no_reward_and_are_counted(engine):
    dropping = RewardEngine(engine.model, engine.tokenizer, EXACT, on_overlong="drop")
    function = reward_function(dropping)
    metrics = {}
    rewards = function(["how"] * 3, ["good", "good " * 300, "no"], log_metric=metrics.__setitem__)
    assert [reward is None for reward in rewards] == [False, True, False]
    assert metrics["vrm/dropped"] == pytest.approx(1 / 3)
    metrics.clear()
    assert function(["how"], ["good " * 300], log_metric=metrics.__setitem__) == [None]
    assert metrics == {"vrm/truncated": 0, "vrm/dropped": 1}
    assert objective_functions(dropping)[0](["how"], ["good " * 300]) == [None]


def test_empty_completions_have_a_reward(engine):
    assert all(math.isfinite(reward) for reward in reward_function(engine)(["how"] * 2, ["", "\n"]))


def test_mixed_formats_and_rewards_that_are_not_finite_are_errors(engine, make_tiny_model):
    with pytest.raises(DataError, match="must not mix"):
        reward_function(make_tiny_model(conversational=False))(["how"], messages("assistant", ["good"]))
    with torch.no_grad():
        broken = load_model(engine.model.config._name_or_path)[0]
        broken.score.decoder.fill_(float("nan"))
    with pytest.raises(NumericsError, match="not finite"):
        reward_function(broken)(["how"], ["good"])


def test_tools_and_template_arguments_reach_the_template(tiny_decoder_dir):
    engine = RewardEngine.from_pretrained(tiny_decoder_dir, options=EXACT)
    engine.tokenizer.chat_template += "{{ tools | length if tools }}{{ loud }}"
    function = reward_function(engine)
    prompts, completions = messages("user", ["how"]), messages("assistant", ["good"])
    tools = [[{"type": "function", "function": {"name": "look"}}]]
    plain = function(prompts, completions, topic=["x"])
    assert function(prompts, completions, topic=["y"], tools=[None]) == plain
    with_tools = function(prompts, completions, tools=tools)
    assert with_tools != plain
    # As JSON text too, the form of columnar files.
    assert function(prompts, completions, tools=[json.dumps(tools[0])]) == with_tools
    with pytest.raises(DataError, match="tools: not the JSON text"):
        function(prompts, completions, tools=["look"])
    assert function(prompts, completions, chat_template_kwargs=[{"loud": "!"}]) != plain


def test_threads_take_turns(engine):
    function = reward_function(engine)
    batches = [([prompt] * 2, [text, "no"]) for prompt in PROMPTS for text in COMPLETIONS]
    expected = [function(*batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda batch: function(*batch), batches))
    assert all(a == pytest.approx(b, abs=1e-5) for a, b in zip(found, expected, strict=True))


def test_rewards_of_a_rater(known_raters, engine, batch):
    known = known_raters({"ann": {"safety": -2.0}})
    rated = RewardEngine(engine.model, engine.tokenizer, EXACT, raters=known)
    reward = reward_function(rated, rater="ann")
    moments = judged(engine, raters=known, steering=Steering({}, rater="ann"))
    assert close(reward(**batch), moments.mean[:, 0])
    assert not close(reward(**batch), judged(engine).mean[:, 0])
    asked = RewardEngine(engine.model, engine.tokenizer, EXACT, raters=known, steering=Steering({}, rater="ann"))
    parts = [function(**batch) for function in objective_functions(asked, weighted=True)]
    assert close([sum(values) for values in zip(*parts, strict=True)], moments.mean[:, 0])
    with pytest.raises(ConfigError, match="no rater 'anna' among its 1; did you mean 'ann'"):
        reward_function(rated, rater="anna")
    with pytest.raises(ConfigError, match="the model knows no raters"):
        reward_function(engine, rater="ann")
