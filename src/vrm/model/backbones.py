"""The two kinds of backbone, and how each turns rows of token ids into the head's two inputs."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from vrm.choices import BackboneKind, Pooling
from vrm.errors import ConfigError, in_one_line
from vrm.model.attention import PACKED_ATTENTION
from vrm.model.configuration_vrm import VRMConfig
from vrm.model.packing import Tree, pack_trees, trees_of
from vrm.model.padding import pad_right
from vrm.model.segments import Segments


def embedding_rows(model: Any) -> int | None:
    """Rows of a model's table of token embeddings; None where it has no such table."""
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError):
        return None


def layers_of(backbone: Any) -> nn.ModuleList:
    """The list of a backbone's layers.

    Raises:
        ConfigError: it has none of as many as its configuration says.
    """
    count = backbone.config.get_text_config().num_hidden_layers
    lists = [module for module in backbone.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    if not lists:
        raise ConfigError(f"{type(backbone).__name__} has no list of its {count} layers, which are treated one by one")
    return lists[0]


def _hidden_states(
    backbone: nn.Module, input_ids: Tensor, mask: Tensor, layers: list[int], **packed: Any
) -> list[Tensor]:
    if mask.dim() == input_ids.dim():
        # A special token for padding may be beyond the table; it is never read, but it is looked up.
        rows = embedding_rows(backbone)
        input_ids = input_ids if rows is None else input_ids.masked_fill((input_ids >= rows) & (mask == 0), 0)
    only_last = layers == [-1]
    # Keys and values are kept for generation alone, and some caches of hybrid models cannot be made here at all.
    if "use_cache" in signature(backbone.forward).parameters:
        packed = {"use_cache": False, **packed}
    outputs = backbone(
        input_ids=input_ids, attention_mask=mask, output_hidden_states=not only_last, return_dict=True, **packed
    )
    if only_last:
        return [outputs.last_hidden_state]
    available = len(outputs.hidden_states)
    for layer in layers:
        if not -available <= layer < available:
            raise ConfigError(f"feature_layers holds {layer}, but the backbone has hidden states 0 to {available - 1}")
    return [outputs.hidden_states[layer] for layer in layers]


def _over(states: list[Tensor], mask: Tensor, poolings: list[str]) -> Tensor:
    return torch.cat([masked_pool(state, mask, pooling) for state in states for pooling in poolings], -1)


def encode_prompts(backbone: nn.Module, config: VRMConfig, input_ids: Tensor, mask: Tensor) -> Tensor:
    """Head input of prompts alone, (rows, feature_size); rows are right-padded prompts."""
    states = _hidden_states(backbone, input_ids, mask.long(), config.feature_layers)
    return _over(states, mask, config.kind_poolings)


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
    states = _hidden_states(backbone, input_ids, mask.long(), config.feature_layers)
    last = mask.sum(1) - 1
    positions = torch.arange(input_ids.shape[1], device=input_ids.device)
    completions = _over(states, mask & (positions >= torch.minimum(start, last).unsqueeze(1)), config.kind_poolings)
    if config.backbone_kind == BackboneKind.ENCODER:
        return completions, None
    return completions, _over(states, mask & (positions < start.clamp_min(1).unsqueeze(1)), config.kind_poolings)


def encode_padded_rows(
    backbone: nn.Module, config: VRMConfig, input_ids: Tensor, mask: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """Both inputs of the head for every row, each (rows, feature_size); equal prompts are encoded once (encoders).

    The reference that `encode_packed` must equal, and the route of backbones that cannot read packed rows.
    """
    completions, prompts = encode_completions(backbone, config, input_ids, mask, start)
    if prompts is not None:
        return prompts, completions
    rows = zip(input_ids.tolist(), start.tolist(), strict=True)
    trees, places = trees_of((row[:stop], ()) for row, stop in rows)
    ids, mask = (tensor.to(input_ids.device) for tensor in pad_right([tree.prompt for tree in trees]))
    encoded = encode_prompts(backbone, config, ids, mask)
    return encoded[torch.tensor([tree for tree, _ in places], device=input_ids.device)], completions


def encode_packed(backbone: nn.Module, config: VRMConfig, packed: Mapping[str, Tensor]) -> Tensor:
    """Head inputs of a packed row, (reads, feature_size), in the order of its `reads`.

    Args:
        backbone: one that `packing_problem` has nothing against.
        config: layers and poolings.
        packed: what `vrm.model.packing.pack_trees` gives.
    """
    segments = Segments.of(packed["parts"], causal=config.backbone_kind == BackboneKind.DECODER)
    # A mask of four dimensions is taken as it is, so that none is made; `packed_attention` reads the segments alone.
    unused = torch.empty(1, 1, 1, 1, device=packed["input_ids"].device)
    states = _hidden_states(
        backbone,
        packed["input_ids"],
        unused,
        config.feature_layers,
        position_ids=packed["position_ids"],
        segments=segments,
    )
    if segments.calls == 0:
        raise ConfigError("the backbone's attention does not go through transformers' interface: rows cannot be packed")
    reads = packed["reads"]
    return torch.cat([pool_reads(state[0], reads, name) for state in states for name in config.kind_poolings], -1)


def first_position(backbone: Any) -> int:
    """Position of a row's first token: 0, or the one after the padding's (RoBERTa and its kin)."""
    table = getattr(getattr(backbone, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def sees_ahead(backbone: Any) -> bool:
    """Whether a token's state changes with the tokens behind it: a few are read twice, with another end.

    The configuration's name does not tell: embedding models of a decoder's architecture attend to both sides.
    """
    return _sees_the_end(backbone, masked=False)


def sees_padding(backbone: Any) -> bool:
    """Whether a token's state changes with what stands behind the end of its row, in padding."""
    return _sees_the_end(backbone, masked=True)


@torch.no_grad()
def _sees_the_end(backbone: Any, masked: bool) -> bool:
    weights, was_training = next(backbone.parameters()), backbone.training
    if weights.is_meta:
        return False
    vocabulary = int(backbone.config.get_text_config().vocab_size)
    ids = torch.tensor([[(10 + 7 * index) % vocabulary for index in range(24)]], device=weights.device)
    begin, end, other = ids.split(8, 1)
    mask = torch.cat([torch.ones_like(begin), torch.full_like(end, 0 if masked else 1)], 1)
    backbone.eval()
    try:
        one, another = (
            _hidden_states(backbone, row, mask, [-1])[0][0, : begin.shape[1]].float()
            for row in (torch.cat([begin, end], 1), torch.cat([begin, other], 1))
        )
    finally:
        backbone.train(was_training)
    difference = ((one - another).norm(dim=-1) / one.norm(dim=-1).clamp_min(1e-6)).max()
    return bool(difference > (1e-4 if weights.dtype == torch.float32 else 1e-2))


def packing_problem(backbone: Any, config: VRMConfig) -> str | None:
    """Why this backbone cannot read packed rows exactly; None if it can.

    Beside what its configuration tells, a small packed row is compared with the same rows padded.
    """
    text = config.backbone_config.get_text_config()
    implementation = getattr(backbone.config, "_attn_implementation", None)
    if not backbone._supports_sdpa:
        return f"transformers has no sdpa attention for {backbone.config.model_type}"
    if implementation == "sdpa":
        return f"transformers computes {backbone.config.model_type} with an sdpa attention of its own"
    if implementation != PACKED_ATTENTION:
        return f"its attention implementation is {implementation!r}, not sdpa"
    kinds = set(getattr(text, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if kinds:
        return f"it has layers of {', '.join(sorted(kinds))}"
    was_training = backbone.training
    backbone.eval()
    try:
        error = _packing_error(backbone, config)
    except Exception as failure:  # code that was not written for such rows fails in any way
        return str(failure).splitlines()[0] if isinstance(failure, ConfigError) else in_one_line(failure)
    finally:
        backbone.train(was_training)
    low = next(backbone.parameters()).dtype != torch.float32
    return None if error <= (5e-2 if low else 1e-3) else f"packed rows differ from padded ones by {error:.1e}"


@torch.no_grad()
def _packing_error(backbone: Any, config: VRMConfig) -> float:
    """Largest difference of a text's head inputs between packed and padded rows, over their length."""
    device = next(backbone.parameters()).device
    vocabulary = int(config.backbone_config.get_text_config().vocab_size)
    ids = [10 + (7 * index) % max(vocabulary - 10, 1) for index in range(24)]
    trees = [Tree(ids[:6], [ids[6:9], ids[9:14]]), Tree(ids[14:17], [ids[17:24]])]
    packed = pack_trees(trees, config.backbone_kind, first_position(backbone))
    features = encode_packed(backbone, config, {name: value.to(device) for name, value in packed.items()})
    padded, mask = pad_right([[*tree.prompt, *completion] for tree in trees for completion in tree.completions])
    rows = (tensor.to(device) for tensor in (padded, mask, torch.tensor([6, 6, 3])))
    prompts, completions = encode_padded_rows(backbone, config, *rows)
    expected = torch.stack([prompts[0], completions[0], completions[1], prompts[2], completions[2]])
    return float(((features - expected).norm(dim=-1) / expected.norm(dim=-1).clamp_min(1e-6)).max())


# Pooling


def masked_pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Pool hidden states (rows, length, width) over a mask (rows, length) to (rows, width), in float32.

    Args:
        hidden: hidden states.
        mask: bool; at least one token of every row.
        pooling: `mean`, `max`, `last`, or `cls` (the first token of the row, whatever the mask).
    """
    if pooling == Pooling.LAST:
        positions = torch.arange(mask.shape[1], device=mask.device)
        return hidden[torch.arange(len(mask), device=mask.device), (positions * mask).amax(1)].float()
    hidden = hidden.float()
    if pooling == Pooling.CLS:
        return hidden[:, 0]
    if pooling == Pooling.MAX:
        return hidden.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(1)
    weights = mask.to(hidden.dtype)
    return torch.einsum("rlw,rl->rw", hidden, weights) / weights.sum(1, keepdim=True)


def pool_reads(hidden: Tensor, reads: Tensor, pooling: str) -> Tensor:
    """Pool ranges of one packed row: (tokens, width) and (reads, 3) to (reads, width), in float32.

    Args:
        hidden: hidden states.
        reads: of each, the first token of its row, and the first and the one after the last token that are pooled.
        pooling: `mean`, `max`, `last`, or `cls` (the first token of the row).
    """
    rows, starts, stops = reads.unbind(1)
    if pooling == Pooling.LAST:
        return hidden[stops - 1].float()
    if pooling == Pooling.CLS:
        return hidden[rows].float()
    lengths = stops - starts
    which = torch.repeat_interleave(torch.arange(len(reads), device=reads.device), lengths)
    before = torch.cumsum(lengths, 0) - lengths
    tokens = hidden[torch.arange(len(which), device=reads.device) - before[which] + starts[which]].float()
    index = which.unsqueeze(1).expand_as(tokens)
    empty = tokens.new_zeros(len(reads), hidden.shape[1])
    if pooling == Pooling.MAX:
        return empty.scatter_reduce(0, index, tokens, "amax", include_self=False)
    return empty.index_add(0, which, tokens) / lengths.unsqueeze(1)
