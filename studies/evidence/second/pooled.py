"""Two frozen backbones over the same rows, and the layers and poolings that a head may be given of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from studies.evidence.fitting import pairs_of
from studies.evidence.folds import Features, Fold, Library
from studies.gaussian.material import plain

from vrm.choices import EMBEDDED, EMBEDDED_DECODER
from vrm.model.configuration_vrm import VRMConfig


@dataclass(frozen=True)
class Backbone:
    """A backbone, what is read of it, and what of that a head may be given.

    Attributes:
        name: as `model.backbone` has it.
        layers: whose features are computed.
        poolings: of them; a decoder's features are those of the last token.
        choices: {name: (layers, poolings)}, each some of those.
    """

    name: str
    layers: tuple[int, ...]
    poolings: tuple[str, ...]
    choices: Mapping[str, tuple[tuple[int, ...], tuple[str, ...]]]

    @property
    def settings(self) -> list[str]:
        """Of a configuration, as `vrm train --set` takes them."""
        return settings(self.name, self.layers, self.poolings)


def settings(name: str, layers: Sequence[int], poolings: Sequence[str]) -> list[str]:
    """A backbone and what a head is given of it, as `vrm train --set` takes them."""
    given = [f"model.backbone={name}", f"model.feature_layers={list(layers)}"]
    return [*given, f"model.poolings=[{', '.join(poolings)}]"] if poolings else given


ALL = ("mean", "max", "cls")
MINILM = Backbone(
    EMBEDDED,
    (1, 3, 6),
    ALL,
    {
        "last layer, mean": ((6,), ("mean",)),
        "last layer, three poolings": ((6,), ALL),
        "1, 3, 6, mean": ((1, 3, 6), ("mean",)),
        "1, 3, 6, three poolings": ((1, 3, 6), ALL),
    },
)
SMOLLM2 = Backbone(
    EMBEDDED_DECODER,
    (5, 10, 15, 20, 25, 30),
    (),
    {
        "last layer": ((30,), ()),
        "middle layer": ((15,), ()),
        "10, 20, 30": ((10, 20, 30), ()),
        "all six": ((5, 10, 15, 20, 25, 30), ()),
    },
)
BACKBONES = {"MiniLM": MINILM, "SmolLM2": SMOLLM2}


@dataclass
class Pooled:
    """Some blocks of a library's features; what `Rivals` asks a library for."""

    library: Library
    backbone: Backbone
    choice: str
    _made: dict[int, Features] = field(default_factory=dict)

    @cached_property
    def blocks(self) -> list[int]:
        """Numbers of the blocks, layer by layer."""
        layers, poolings = self.backbone.choices[self.choice]
        width = max(1, len(self.backbone.poolings))
        places = [self.backbone.poolings.index(pooling) for pooling in poolings] or [0]
        return [self.backbone.layers.index(layer) * width + place for layer in layers for place in places]

    def features(self) -> Features:
        """These blocks of every feature of the cache."""
        whole = self.library.features()
        if len(whole.raw) not in self._made:
            self._made = {len(whole.raw): whole.some(self.blocks)}
        return self._made[len(whole.raw)]

    def head_config(self, **fields: Any) -> VRMConfig:
        """Configuration of a head on them."""
        layers, poolings = self.backbone.choices[self.choice]
        read = {"feature_layers": list(layers), "poolings": list(poolings) or ["mean"]}
        return self.library.head_config(**read, **fields)


class Plain(Library):
    """Comparisons alone: no ratings, no votes, a share of a pair's raters as its soft label."""

    def __init__(
        self, backbone: Backbone, data: Path, cache: Path, shares: Mapping[str, float], limits: Mapping[str, int]
    ) -> None:
        super().__init__(data, cache, shares, limits, backbone.settings)

    def _load(self, name: str) -> Fold:
        fold = pairs_of(super()._load(name))
        return fold.relabelled([plain(row) for row in fold.judgments])
