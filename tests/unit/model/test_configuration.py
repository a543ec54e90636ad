from __future__ import annotations

import pytest
from transformers import AutoConfig, BertConfig, GPT2Config, Qwen3Config

from vrm.choices import HEADS
from vrm.errors import ConfigError
from vrm.model import VRMConfig
from vrm.model.configuration_vrm import infer_backbone_kind

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"head": "tree"}, f"head must be one of {', '.join(HEADS)}; got 'tree'.*another version"),
        ({"backbone_kind": "both"}, "backbone_kind"),
        ({"reward_scale": "log"}, "reward_scale"),
        ({"loss": "dpo"}, "loss must be one of variational, marginal"),
        ({"poolings": ["mean", "last"]}, "^poolings must be one of mean, max, cls; got 'last'"),
        ({"decoder_poolings": ["cls"]}, "^decoder_poolings must be one of mean, max, last; got 'cls'"),
        ({"objectives": ["safety", "safety"]}, "distinct"),
        ({"objectives": ["free_1"], "num_free_objectives": 1}, "distinct"),
        ({"objectives": [], "num_free_objectives": 0}, "needs at least one"),
        ({"num_free_objectives": -1}, "num_free_objectives"),
        ({"num_features": 0}, "num_features must be > 0"),
        ({"hidden_size_head": 0}, "hidden_size_head"),
        ({"max_input_tokens": 0}, "max_input_tokens"),
        ({"prior_concentration": 0.0}, "prior_concentration"),
        ({"prior_concentration": float("nan")}, "prior_concentration"),
        ({"reward_std": 0.0}, "reward_std"),
        ({"head_dropout": 1.0}, "head_dropout"),
        ({"head_dropout": -0.1}, "head_dropout"),
        ({"num_labels": 2}, "num_labels must be 1"),
        ({"num_features": True}, "num_features must be int, finite where it is a number; got True"),
        ({"num_features": 10**9}, r"num_features must be in \[0, 65,536\], got 1000000000"),
        ({"reward_mean": "0.5"}, "reward_mean must be float"),
        ({"reward_mean": float("inf")}, "reward_mean must be float, finite"),
        ({"objectives": "safety"}, r"objectives must be list\[str\] | None"),
        ({"rating_mean": {"safety": None}}, r"rating_mean must be dict\[str, float\] | None"),
        ({"conversational": "yes"}, "conversational must be bool"),
        ({"feature_layers": [1.5]}, "feature_layers must be"),
        ({"reward_scal": "raw"}, "'reward_scal' is no field of the configuration; did you mean 'reward_scale'"),
        ({"backbone_config": {"hidden_size": 4}}, "model_type"),
        ({"backbone_config": {"model_type": ["qwen3"]}}, r"no architecture \['qwen3'\]"),
        ({"backbone_config": {"model_type": {}}}, r"no architecture {}"),
    ],
)
def test_values_that_are_not_allowed(fields, named):
    with pytest.raises(ConfigError, match=named):
        VRMConfig(**{"objectives": ["safety"], **fields})


def test_round_trip_through_a_directory_keeps_every_field(tmp_path):
    config = VRMConfig(
        backbone_config=BertConfig(vocab_size=20, pad_token_id=3, **SMALL),
        head="gated",
        objectives=["b", "a"],
        num_free_objectives=2,
        num_features=5,
        head_dropout=0.25,
        loss="marginal",
        feature_layers=[0, -1],
        poolings=["mean", "cls"],
        prompt_boundary_ids=[4, 5],
        conversational=False,
        reward_mean=0.5,
        reward_std=2.0,
        reward_scale="standardized",
        rating_mean={"a": 3.0},
        rating_std={"a": 1.5},
        objectives_with_votes=["b"],
        objectives_with_ratings=["a"],
    )
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is VRMConfig
    before, after = config.to_dict(), loaded.to_dict()
    for volatile in ("transformers_version", "_name_or_path"):
        before.pop(volatile, None), after.pop(volatile, None)
    for nested in (before["backbone_config"], after["backbone_config"]):
        nested.pop("transformers_version", None)
    assert before == after
    assert loaded.objective_names == ["b", "a", "free_1", "free_2"]
    assert (loaded.num_objectives, loaded.feature_size, loaded.num_labels, loaded.pad_token_id) == (4, 64, 1, 3)


def test_heads_without_objectives_have_one_reward():
    for head in ("bottleneck", "mlp", "bt"):
        config = VRMConfig(head=head, objectives=["a", "b"])
        assert config.objective_names == ["reward"]
        assert not config.models_objectives


@pytest.mark.parametrize(
    ("head", "weights", "features", "objectives"),
    [
        ("vrm", True, True, True),
        ("gated", False, False, True),
        ("bottleneck", False, True, False),
        ("mlp", False, False, False),
        ("bt", False, False, False),
    ],
)
def test_a_configuration_says_what_its_head_can_do(head, weights, features, objectives):
    config = VRMConfig(head=head, objectives=["a"])
    assert config.has_weight_uncertainty == weights
    assert config.has_feature_uncertainty == features
    assert config.has_reward_uncertainty == (weights or features)
    assert config.models_objectives == objectives


def test_the_kind_of_a_backbone_is_read_off_its_configuration():
    assert infer_backbone_kind(BertConfig(**SMALL)) == "encoder"
    assert infer_backbone_kind(BertConfig(is_decoder=True, **SMALL)) == "decoder"
    assert infer_backbone_kind(GPT2Config(n_embd=16, n_layer=1, n_head=2)) == "decoder"
    assert infer_backbone_kind(Qwen3Config(**SMALL)) == "decoder"
