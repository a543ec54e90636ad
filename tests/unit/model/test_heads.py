from __future__ import annotations

import pytest
import torch
from transformers import Trainer, TrainingArguments

from vrm.choices import HEADS
from vrm.core.predictive import completion_moments, objective_scores, reward, reward_moments
from vrm.errors import ConfigError
from vrm.model import VRMForSequenceClassification, VRMOutput, load_model
from vrm.model.heads.base import JudgmentHead

BATCH, COMPLETIONS = 3, 2

SHAPES = {  # objectives, features
    "vrm": (4, 6),
    "gated": (4, 6),
    "bottleneck": (1, 6),
    "mlp": (1, 1),
    "bt": (1, 1),
    "bayes": (1, 1),
}
"""Of the heads of the package; a further head says by its class what it has."""


@pytest.fixture(params=HEADS)
def judged(request, make_tiny_model):
    model, _ = load_model(make_tiny_model(request.param))
    generator = torch.Generator().manual_seed(3)
    prompts = torch.randn(BATCH, 32, generator=generator)
    completions = torch.randn(BATCH, COMPLETIONS, 32, generator=generator)
    return request.param, model, model(prompt_features=prompts, completion_features=completions)


def test_every_head_gives_the_same_fields_in_the_documented_shapes(judged):
    head, model, output = judged
    objectives, features = 4 if model.score.models_objectives else 1, 1 if model.score.is_scalar else 6
    assert SHAPES.get(head, (objectives, features)) == (objectives, features)
    assert isinstance(output, VRMOutput)
    posteriors = output.posteriors
    assert {name: tuple(value.shape) for name, value in output.items() if name != "posteriors"} == {
        "logits": (BATCH, COMPLETIONS),
        "reward_variance": (BATCH, COMPLETIONS),
        "objective_scores": (BATCH, COMPLETIONS, objectives),
    }
    concentration = [] if posteriors.weights.is_point_mass else [(BATCH, objectives)]
    assert [tuple(value.shape) for value in posteriors.weights.tensors()] == [(BATCH, objectives), *concentration]
    doubt = [(BATCH, COMPLETIONS, model.score.factor.shape[1])] if model.score.has_parameter_uncertainty else []
    shapes = [tuple(value.shape) for value in posteriors.features.tensors()]
    assert shapes == [*2 * [(BATCH, COMPLETIONS, features)], *doubt]
    assert tuple(posteriors.decoder.shape) == (objectives, features)
    assert [tuple(value.shape) for value in posteriors.rating_model.tensors()] == [(), (objectives,), (objectives,)]
    assert {value.dtype for value in (output.logits, output.reward_variance, *posteriors.tensors())} == {torch.float32}
    assert torch.allclose(output.weights.sum(-1), torch.ones(BATCH))


def test_what_is_uncertain_and_what_is_not(judged):
    head, model, output = judged
    can = model.score
    if head in SHAPES:
        # The weight of a single objective is 1, so only `vrm` has weights to be uncertain about.
        assert (can.has_feature_uncertainty, can.has_weight_uncertainty) == (
            head in ("vrm", "bottleneck"),
            head == "vrm",
        )
    variance = output.posteriors.features.variance
    assert bool((variance > 0).all()) == can.has_feature_uncertainty
    assert bool((variance == 0).all()) != can.has_feature_uncertainty
    assert output.posteriors.weights.is_point_mass != can.has_weight_uncertainty
    assert (output.posteriors.weights.total_concentration is None) != can.has_weight_uncertainty
    assert can.has_parameter_uncertainty == (head == "bayes")
    assert bool((output.reward_variance > 0).all()) == model.config.has_reward_uncertainty
    uncertain = can.has_weight_uncertainty, can.has_feature_uncertainty, can.has_parameter_uncertainty
    assert model.config.has_reward_uncertainty == any(uncertain)


def test_logits_are_the_expected_reward_of_the_core(judged):
    _, _, output = judged
    posteriors = output.posteriors
    expected = reward(output.weights.unsqueeze(1), objective_scores(posteriors.features.loc, posteriors.decoder))
    assert torch.allclose(output.logits, expected, atol=1e-6)
    assert output.logits.abs().max() > 1e-3
    for row in range(BATCH):
        moments = reward_moments(posteriors.weights[row], posteriors.features[row], posteriors.decoder)
        assert torch.allclose(output.logits[row], moments.mean, atol=1e-6)
        assert torch.allclose(output.reward_variance[row], moments.variance, rtol=1e-5, atol=1e-7)
    assert torch.equal(completion_moments(posteriors).mean, output.logits)


def test_the_mean_weight_follows_the_concentration(make_tiny_model):
    model, _ = load_model(make_tiny_model("vrm"))
    output = model(prompt_features=torch.randn(2, 32), completion_features=torch.randn(2, 1, 32))
    concentration = output.posteriors.weights.concentration
    assert torch.allclose(output.weights, concentration / concentration.sum(-1, keepdim=True))


def test_weights_come_from_the_prompt_alone_and_features_from_the_completion(make_tiny_model):
    model, _ = load_model(make_tiny_model("vrm"))
    prompts, completions = torch.randn(2, 32), torch.randn(2, 2, 32)
    one = model(prompt_features=prompts, completion_features=completions)
    other_completions = model(prompt_features=prompts, completion_features=torch.randn(2, 2, 32))
    other_prompts = model(prompt_features=torch.randn(2, 32), completion_features=completions)
    assert torch.equal(one.weights, other_completions.weights)
    assert torch.equal(one.posteriors.features.loc, other_prompts.posteriors.features.loc)
    assert not torch.allclose(one.weights, other_prompts.weights, atol=1e-3)


def test_a_fresh_head_starts_near_indifference(tiny_encoder_backbone):
    torch.manual_seed(0)
    model = VRMForSequenceClassification.from_backbone(
        str(tiny_encoder_backbone), objectives=["a", "b"], num_free_objectives=2
    )
    output = model(prompt_features=torch.randn(50, 32), completion_features=torch.randn(50, 2, 32))
    assert output.logits.abs().max() < 1.0
    assert (output.weights - 0.25).abs().max() < 0.2
    assert (output.posteriors.weights.total - 4.0).abs().max() < 2.0
    assert torch.allclose(output.posteriors.features.variance.log(), torch.tensor(-2.0), atol=1.0)


def test_kernel_parameters_are_the_matrices_of_the_networks(make_tiny_model):
    model, _ = load_model(make_tiny_model("vrm"))
    kernels = {id(parameter) for parameter in model.score.kernel_parameters()}
    names = {name for name, parameter in model.score.named_parameters() if id(parameter) in kernels}
    assert names == {"features.0.weight", "features.3.weight", "weights.0.weight", "weights.3.weight"}


def test_feature_layers_and_poolings_are_concatenated(make_tiny_model):
    directory = make_tiny_model("vrm", feature_layers=[0, 1, -1], poolings=["mean", "max", "cls"])
    model, tokenizer = load_model(directory)
    assert model.config.feature_size == 32 * 9
    batch = tokenizer(["[CLS] how do you [SEP] very good [SEP]"], add_special_tokens=False, return_tensors="pt")
    with torch.no_grad():
        output = model(**batch)
        states = model.backbone(**batch, output_hidden_states=True).hidden_states
        layer = states[1][0]
    start = batch["input_ids"][0].tolist().index(tokenizer.sep_token_id) + 1
    _, completions = model._encode(batch["input_ids"], batch["attention_mask"], None)
    blocks = completions[0].view(3, 3, 32)[1]
    assert torch.allclose(blocks[0], layer[start:].mean(0), atol=1e-5)
    assert torch.allclose(blocks[1], layer[start:].amax(0), atol=1e-5)
    assert torch.allclose(blocks[2], layer[0], atol=1e-5)
    assert output.logits.isfinite().all()


def test_a_layer_that_the_backbone_does_not_have(tiny_encoder_backbone):
    model = VRMForSequenceClassification.from_backbone(str(tiny_encoder_backbone), feature_layers=[1, 5])
    with pytest.raises(ConfigError, match="feature_layers holds 5, but the backbone has hidden states 0 to 2"):
        model(input_ids=torch.tensor([[2, 9, 3, 9, 3]]), completion_start=torch.tensor([3]))


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_gradient_checkpointing_gives_the_same_gradients(make_tiny_model, kind):
    def gradients(checkpointing):
        model, _ = load_model(make_tiny_model("vrm", kind))
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert model.is_gradient_checkpointing
        ids = torch.randint(10, 40, (3, 12), generator=torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        # Dropout off: the comparison is of the same function.
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model(input_ids=ids, completion_start=torch.tensor([4, 5, 6])).logits.sum().backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    plain, recomputed = gradients(False), gradients(True)
    assert plain.keys() == recomputed.keys()
    assert any(name.startswith("backbone.") for name in plain)
    for name in plain:
        assert torch.allclose(plain[name], recomputed[name], atol=1e-6), name


def test_a_plain_trainer_gathers_what_are_tensors(make_tiny_model, tmp_path):
    model, _ = load_model(make_tiny_model("vrm"))
    rows = [{"input_ids": torch.tensor([2, 9, 3, 9, 3]), "completion_start": torch.tensor(3)} for _ in range(3)]
    arguments = TrainingArguments(str(tmp_path), report_to=[], per_device_eval_batch_size=2, use_cpu=True)
    rewards, variance, scores = Trainer(model, arguments).predict(rows).predictions
    assert rewards.shape == variance.shape == (3, 1)
    assert scores.shape == (3, 1, 4)


@pytest.mark.parametrize("head", HEADS)
def test_a_linear_end_gives_the_same_rewards_up_to_a_constant(head, make_tiny_model):
    model, _ = load_model(make_tiny_model(head))
    generator = torch.Generator().manual_seed(3)
    prompts, completions = (torch.randn(*shape, 32, generator=generator) for shape in ((BATCH,), (BATCH, COMPLETIONS)))
    with torch.no_grad():
        usual, linear = model.score(prompts, completions), model.score.with_linear_end(prompts, completions)
    assert linear.decoder.shape == (model.score.num_objectives, linear.features.loc.shape[-1])
    if model.score.is_scalar and type(model.score).with_linear_end is JudgmentHead.with_linear_end:
        assert linear.decoder.numel() > 1
    difference = completion_moments(linear).mean - completion_moments(usual).mean
    torch.testing.assert_close(difference, difference[0, 0].expand_as(difference))
    torch.testing.assert_close(completion_moments(linear).variance, completion_moments(usual).variance)
