"""No weight of a pretrained backbone is drawn first, and yet a seed's head is what it was when all of them were."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vrm.model.configuration_vrm import VRMConfig, backbone_loader, read_backbone_config
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.train import initial_draws
from vrm.train.initial_draws import draw_as_random_backbone
from vrm.train.setup import build_model


@pytest.fixture(params=["tiny_encoder_backbone", "tiny_decoder_backbone"])
def backbone(request):
    return str(request.getfixturevalue(request.param))


class CountedDraws(TorchDispatchMode):
    """How many numbers are drawn for weights that are in memory, and how many bytes are asked for at once."""

    numbers, largest = 0, 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if not isinstance(result, torch.Tensor) or result.is_meta:
            return result
        self.largest = max(self.largest, result.untyped_storage().nbytes())
        if torch.Tag.nondeterministic_seeded in operation.tags:
            self.numbers += result.numel()
        return result


def test_the_generator_moves_on_as_if_a_random_backbone_were_made(backbone):
    torch.manual_seed(5)
    config = read_backbone_config(backbone)
    backbone_loader(config).from_config(config, dtype=torch.float32)
    expected = torch.rand(3)
    torch.manual_seed(5)
    draw_as_random_backbone(read_backbone_config(backbone))
    assert torch.equal(torch.rand(3), expected)


def test_of_the_draws_nothing_is_kept_but_the_largest_weight(backbone):
    weights = VRMForSequenceClassification.from_backbone(backbone, head="bt").backbone.parameters()
    with CountedDraws() as counted:
        draw_as_random_backbone(read_backbone_config(backbone))
    assert counted.numbers > 0
    assert counted.largest == 4 * max(weight.numel() for weight in weights)


def test_draws_for_a_large_backbone_end(backbone, monkeypatch):
    with CountedDraws() as all_draws:
        draw_as_random_backbone(read_backbone_config(backbone))
    monkeypatch.setattr(initial_draws, "MOST_DRAWS", all_draws.numbers // 2)
    with CountedDraws() as counted:
        draw_as_random_backbone(read_backbone_config(backbone))
    assert 0 < counted.numbers <= all_draws.numbers // 2


def test_loading_draws_for_the_head_alone(backbone):
    with CountedDraws() as counted:
        model = VRMForSequenceClassification.from_backbone(backbone, head="vrm")
    head = sum(parameter.numel() for parameter in model.score.parameters())
    pooler = model.config.backbone_hidden_size**2  # the tiny encoder's files lack one, and it is not kept
    # Three times: layers fill themselves, `transformers` fills them, and the head itself does.
    assert 0 < counted.numbers <= 3 * head + pooler


def test_the_head_of_a_seed_is_the_one_after_a_random_backbone(make_config, rows, run_data, backbone):
    config = make_config({"model.backbone": backbone, "seed": 3})
    model, _ = build_model(config, run_data(rows(20)))
    torch.manual_seed(3)
    # As it was: the pretrained one, which fills what its files lack, then a whole model at random, then its head anew.
    loader = backbone_loader(model.config.backbone_config)
    loader.from_pretrained(backbone, dtype=torch.float32)
    before = VRMForSequenceClassification(VRMConfig.from_dict(model.config.to_dict()))
    before.score.reset_parameters()
    for name, value in before.score.state_dict().items():
        assert torch.equal(value, model.score.state_dict()[name]), name
    assert not any(
        torch.equal(one, other)
        for one, other in zip(before.backbone.parameters(), model.backbone.parameters(), strict=True)
        if one.std() > 0
    )
