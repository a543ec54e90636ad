"""Comparisons of three sources with their features, in small training sets; ratings, votes and repeats left out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import torch
from numpy.typing import NDArray
from studies.evidence.fitting import labels
from studies.evidence.folds import Features, Fold, Library
from studies.evidence.regimes import Parts, Regime, parts
from torch import Tensor

from vrm.data.load import load_judgments
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key, uniform_hash
from vrm.model.configuration_vrm import VRMConfig

SOURCES = ("hfngs_v1", "ukp_convarg2", "rmb")
SIZES = {"hfngs_v1": (300, 1000), "ukp_convarg2": (300, 1000, 3000), "rmb": (300, 1000)}
"""Comparisons that are trained on; hfngs_v1 has 1,692 in all."""

KEPT = {"rmb.train": 0.2, "rmb.dev": 0.3}
"""Share of a file's prompts that are read, by hash; of other files all."""

TOKENS = {"rmb": 160}
"""Limit of a row, lower where texts are long: the heads are compared, not the sources."""


class Material(Library):
    """The sources, as plain comparisons; a share of a pair's raters is its soft label.

    Args:
        data: directory with `preferences/` and `raters/`.
        cache: directory of features.
    """

    def _load(self, name: str) -> Fold:
        places = [self.data / folder / f"{name}.jsonl.gz" for folder in ("preferences", "raters")]
        path = next(place for place in places if place.exists())
        rows = [plain(row) for row in load_judgments(str(path), on_bad_rows="skip").judgments if row.is_comparison]
        self.model.config.max_input_tokens = TOKENS.get(name.partition(".")[0], 512)
        share = KEPT.get(name, 1.0)
        kept = [row for row in rows if uniform_hash(prompt_key(row), 0, "gaussian") < share]
        return Fold(name, kept, *self._rows(f"gaussian {name}", kept))

    def parts(self, source: str, size: int, seed: int) -> Parts:
        """Rows to fit, to choose by and to fit the temperature on, 80 : 10 : 10 by prompt."""
        return parts(Regime((source,), size=size), self, seed)


def plain(row: Judgment) -> Judgment:
    """The row as one comparison."""
    return replace(row, judgments=None, ratings=None, objective_votes=None, margin=0.0)


@dataclass(frozen=True)
class Rows:
    """A fold as `vrm.train.closed_form` takes a data set."""

    fold: Fold
    source: Features
    targets: dict[str, Tensor]

    @classmethod
    def of(cls, fold: Fold, features: Features, config: VRMConfig) -> Rows:
        """With the labels that a head of this configuration reads."""
        return cls(fold, features, labels(fold, config))

    def __len__(self) -> int:
        return len(self.fold)

    @property
    def table(self) -> SimpleNamespace:
        """Which completions some rows have, by `exists`."""
        return SimpleNamespace(exists=self._exist)

    def features(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Features of some rows: of prompts (rows, width), of completions (rows, completions, width)."""
        return self.source.of(self.fold, rows)

    def labels(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """Labels of some rows."""
        return {name: values[torch.from_numpy(rows)] for name, values in self.targets.items()}

    def _exist(self, rows: NDArray[np.int64]) -> Tensor:
        return self.targets["mask"][torch.from_numpy(rows)]

    def sample_features(self, limit: int, seed: int) -> tuple[Tensor, Tensor]:
        """Prompts and completions of some rows, each (rows, width)."""
        rows = np.sort(np.random.default_rng(seed).permutation(len(self))[:limit])
        prompts, completions = self.features(rows)
        return prompts, completions[self._exist(rows)]
