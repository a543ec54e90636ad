"""The two kinds of backbone, and how each turns rows of token ids into the head's two inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vrm.errors import ConfigError
from vrm.model.configuration_vrm import VRMConfig
from vrm.model.pooling import masked_pool, take_token


def _hidden_states(backbone: nn.Module, input_ids: Tensor, mask: Tensor, layers: list[int]) -> list[Tensor]:
    only_last = layers == [-1]
    outputs = backbone(
        input_ids=input_ids, attention_mask=mask.long(), output_hidden_states=not only_last, return_dict=True
    )
    if only_last:
        return [outputs.last_hidden_state]
    available = len(outputs.hidden_states)
    for layer in layers:
        if not -available <= layer < available:
            raise ConfigError(f"feature_layers holds {layer}, but the backbone has hidden states 0 to {available - 1}")
    return [outputs.hidden_states[layer] for layer in layers]


def pad_rows(rows: list[Tensor], like: Tensor) -> tuple[Tensor, Tensor]:
    """Right-pad rows of ids with id 0; ids and bool mask (rows, longest), on the device of `like`."""
    longest = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long, device=like.device)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool, device=like.device)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = True
    return ids, mask


def encode_prompts(backbone: nn.Module, config: VRMConfig, input_ids: Tensor, mask: Tensor) -> Tensor:
    """Head input of prompts alone, (rows, feature_size); rows are right-padded prompts."""
    states = _hidden_states(backbone, input_ids, mask, config.feature_layers)
    if config.backbone_kind == "decoder":
        return torch.cat([take_token(state, mask.sum(1) - 1) for state in states], -1)
    return torch.cat([masked_pool(state, mask, pooling) for state in states for pooling in config.poolings], -1)


def encode_completions(
    backbone: nn.Module, config: VRMConfig, input_ids: Tensor, mask: Tensor, start: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Head input of completions in context, and of their prompts where the same pass gives it (decoders).

    Args:
        backbone: the backbone.
        config: layers and poolings.
        input_ids: (rows, length), right-padded prompt and completion.
        mask: (rows, length) bool.
        start: (rows,) index of the first completion token. An empty completion reads the last token of the row.

    Returns:
        (rows, feature_size), and the same for prompts or None.
    """
    states = _hidden_states(backbone, input_ids, mask, config.feature_layers)
    last = mask.sum(1) - 1
    if config.backbone_kind == "decoder":
        prompts = torch.cat([take_token(state, (start - 1).clamp_min(0)) for state in states], -1)
        return torch.cat([take_token(state, last) for state in states], -1), prompts
    positions = torch.arange(input_ids.shape[1], device=input_ids.device)
    completion = mask & (positions >= torch.minimum(start, last).unsqueeze(1))
    return torch.cat(
        [masked_pool(state, completion, pooling) for state in states for pooling in config.poolings], -1
    ), None


def encode_rows(
    backbone: nn.Module, config: VRMConfig, input_ids: Tensor, mask: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """Both inputs of the head for every row, each (rows, feature_size); equal prompts are encoded once (encoders)."""
    completions, prompts = encode_completions(backbone, config, input_ids, mask, start)
    if prompts is not None:
        return prompts, completions
    keys = [tuple(row[:stop]) for row, stop in zip(input_ids.tolist(), start.tolist(), strict=True)]
    unique = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    rows = [torch.tensor(key, dtype=torch.long, device=input_ids.device) for key in unique]
    encoded = encode_prompts(backbone, config, *pad_rows(rows, input_ids))
    return encoded[torch.tensor([unique[key] for key in keys], device=input_ids.device)], completions
