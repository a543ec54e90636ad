"""Two other routes of training a decoder on pairs, as references for the packed one.

`padded`: one row a completion, padded to the longest, every prompt computed with each of its completions.
`cache`: the prompts of a batch once, their keys and values repeated for the completions, gradients through them.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from studies.speed.inputs import Rows, reward_model
from studies.speed.tables import quiet
from torch import Tensor
from transformers import DynamicCache

from vrm.choices import Pooling
from vrm.data.collate import TargetEncoder
from vrm.model import VRMForSequenceClassification
from vrm.model.backbones import masked_pool
from vrm.model.packing import Tree, trees_of
from vrm.model.padding import align_left, pad_right
from vrm.train.passes import JudgmentCollator, PassCollator


class CacheRoute(VRMForSequenceClassification):
    """The model with a prompt pass and a completion pass; needs completions of at least one token."""

    def _encode(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, start: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        assert input_ids is not None
        assert attention_mask is not None
        assert start is not None
        ids, mask, _ = align_left(input_ids, attention_mask)
        rows = [row[:length] for row, length in zip(ids.tolist(), mask.sum(1).tolist(), strict=True)]
        starts = start.tolist()
        trees, places = trees_of((row[:stop], ()) for row, stop in zip(rows, starts, strict=True))
        which = torch.tensor([tree for tree, _ in places], device=ids.device)
        prompt_ids, prompt_mask = (part.to(ids.device) for part in pad_right([tree.prompt for tree in trees]))
        first = self.backbone(
            input_ids=prompt_ids, attention_mask=prompt_mask.long(), use_cache=True, past_key_values=DynamicCache()
        )
        cache = first.past_key_values
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys[which], layer.values[which]
        ends = [row[stop:] for row, stop in zip(rows, starts, strict=True)]
        completion_ids, completion_mask = (part.to(ids.device) for part in pad_right(ends))
        second = self.backbone(
            input_ids=completion_ids,
            attention_mask=torch.cat([prompt_mask[which], completion_mask], 1).long(),
            position_ids=start.unsqueeze(1) + torch.arange(completion_ids.shape[1], device=ids.device),
            past_key_values=cache,
            use_cache=True,
        )
        prompt_states = masked_pool(first.last_hidden_state, prompt_mask, Pooling.LAST)[which]
        return prompt_states, masked_pool(second.last_hidden_state, completion_mask, Pooling.LAST)


def take_route(model: VRMForSequenceClassification, route: str) -> None:
    """Let a model compute rows by `padded`, the library's route of backbones that cannot be packed, or by `cache`."""
    if route == "cache":
        model.__class__ = CacheRoute
    else:
        model.packing_problem = "the padded route is measured"


def gradient_differences(files: Path, rows: Rows, limit: int) -> dict[str, float]:
    """Largest difference of any gradient of the backbone to that of the padded route, over the largest of those."""
    quiet()
    model = reward_model(files, "bt", limit).eval()
    padded, packed = _batches(model, rows)
    differences = {}
    reference = _gradients(model, "padded", padded)
    largest = max(float(gradient.abs().max()) for gradient in reference)
    for name, batch in (("cache", padded), ("packed", packed)):
        pairs = zip(_gradients(model, name, batch), reference, strict=True)
        differences[name] = max(float((gradient - expected).abs().max()) for gradient, expected in pairs) / largest
    return differences


def _batches(model: VRMForSequenceClassification, rows: Rows) -> tuple[dict, dict]:
    (packed,) = PassCollator.of(model, TargetEncoder(), 0, 1 << 30)(rows.tokenized)["passes"]
    return JudgmentCollator(TargetEncoder(), 0)(rows.tokenized), packed


def _gradients(model: VRMForSequenceClassification, route: str, batch: dict) -> list[Tensor]:
    one = copy.deepcopy(model)
    if route != "packed":
        take_route(one, route)
    rewards = one(**batch).logits
    torch.nn.functional.softplus(rewards[:, 1] - rewards[:, 0]).mean().backward()
    return [parameter.grad for parameter in one.backbone.parameters() if parameter.grad is not None]


def tokens_packed(rows: Rows) -> int:
    """Positions of the rows packed one by one: what the packed route must compute, counted from the ids."""
    trees = [Tree(item.prompt, item.completions) for item in rows.tokenized]
    return sum(tree.positions("decoder") for tree in trees)
