"""Rows of the study with their features: read, tokenized and encoded once, then sliced."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vrm.config import load_config
from vrm.data.chat import ChatTokenizer
from vrm.data.load import load_judgments
from vrm.data.parse import parse_scoring_row
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key, uniform_hash
from vrm.data.style import style_measures
from vrm.data.tokenized import JudgmentTokenizer
from vrm.inference.extraction import ExtractionOptions, FeatureExtractor
from vrm.model.configuration_vrm import VRMConfig
from vrm.train.setup import RunData, build_model

CONFIG = Path(__file__).parents[2] / "configs" / "preferences_minilm.yaml"
RM_BENCH = ("chat", "code", "safety-refuse", "safety-response")


@dataclass(frozen=True)
class Fold:
    """Judgments and where their features are.

    Attributes:
        name: of the file.
        judgments: rows.
        prompts: (n,) row of each prompt in the features.
        completions: (n, c) row of each completion, -1 where there is none.
        gold: (n, c) gold scores of a best-of-n fold, or None.
    """

    name: str
    judgments: list[Judgment]
    prompts: np.ndarray
    completions: np.ndarray
    gold: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.judgments)

    def take(self, rows: Sequence[int] | np.ndarray) -> Fold:
        """Some of the rows, in this order."""
        index = np.asarray(rows, dtype=np.int64)
        gold = None if self.gold is None else self.gold[index]
        kept = [self.judgments[row] for row in index]
        return Fold(self.name, kept, self.prompts[index], self.completions[index], gold)

    def sample(self, count: int, seed: int) -> Fold:
        """So many rows, or all, drawn by seed and in their order here."""
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))

    def where(self, condition: Callable[[Judgment], bool]) -> Fold:
        """The rows that satisfy a condition."""
        return self.take([row for row, judgment in enumerate(self.judgments) if condition(judgment)])

    def relabelled(self, judgments: list[Judgment]) -> Fold:
        """The same rows with other labels."""
        return replace(self, judgments=judgments)

    @cached_property
    def groups(self) -> list[str]:
        """Prompt keys."""
        return [prompt_key(row) for row in self.judgments]

    @cached_property
    def style(self) -> np.ndarray:
        """Style measures, (n, c, measures), zero where there is no completion."""
        width = self.completions.shape[1]
        table = np.zeros((len(self), width, 4))
        for row, judgment in enumerate(self.judgments):
            for position, text in enumerate(judgment.completions):
                table[row, position] = style_measures(text)
        return table

    @property
    def longer_first(self) -> np.ndarray:
        """(n,) log length of the first completion minus that of the second."""
        return self.style[:, 0, 0] - self.style[:, 1, 0]


def joined(folds: Sequence[Fold]) -> Fold:
    """Folds one after the other."""
    width = max(fold.completions.shape[1] for fold in folds)
    padded = [np.pad(f.completions, ((0, 0), (0, width - f.completions.shape[1])), constant_values=-1) for f in folds]
    rows = [row for fold in folds for row in fold.judgments]
    return Fold(
        "+".join(f.name for f in folds), rows, np.concatenate([f.prompts for f in folds]), np.concatenate(padded)
    )


class Library:
    """All folds of a data directory over one feature cache.

    Args:
        data: directory with `preferences/`, `raters/` and `benchmarks/`.
        cache: the feature cache of `vrm train`.
        shares: of the prompts of some files that are read, {fold: share}; of the others all are.
        limits: tokens of a row at most, {source: limit}; of the others those of the configuration.
        settings: overrides of that configuration, as `vrm train --set` takes them: another backbone, say.
    """

    def __init__(
        self,
        data: Path,
        cache: Path,
        shares: Mapping[str, float] | None = None,
        limits: Mapping[str, int] | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        self.data, self.shares, self.limits = data, shares or {}, limits or {}
        self.config = load_config(CONFIG, ['data.train=["none"]', f"features.cache={cache}", *settings])
        anything = [Judgment("", ["", ""], 1.0)]
        conversational = replace(anything[0], prompt=[{"role": "user", "content": ""}])
        self.model, self.tokenizer = build_model(self.config, RunData([conversational], [], [], ""))
        options = ExtractionOptions(self.config.train.precision, self.config.features.token_budget, str(cache))
        self.extractor = FeatureExtractor(self.model, int(self.tokenizer.pad_token_id or 0), options)
        self._folds: dict[str, Fold] = {}
        self._features: Features | None = None

    def fold(self, name: str) -> Fold:
        """`NAME.train`, `NAME.dev` (of `preferences/` or `raters/`), `bon` or `rm-bench-DOMAIN`."""
        if name not in self._folds:
            self._folds[name] = self._load(name)
        return self._folds[name]

    def features(self) -> Features:
        """Every feature of the cache; call it once the folds are loaded."""
        store = self.extractor.store
        if self._features is None or len(self._features.raw) < len(store):
            self._features = Features(store.take(np.arange(len(store))), self.model.config.num_blocks)
        return self._features

    def head_config(self, **fields: Any) -> VRMConfig:
        """Configuration of a head on this backbone."""
        return VRMConfig(**{**self.model.config.to_dict(), **fields})

    def _load(self, name: str) -> Fold:
        gold = None
        if name == "bon":
            rows = _lines(self.data / "benchmarks" / "rmb-bon.dev.jsonl.gz")
            judgments = [parse_scoring_row({k: row[k] for k in ("prompt", "completions")}) for row in rows]
            gold = _padded([row["gold"] for row in rows])
        elif name.startswith("rm-bench-"):
            domain = name.removeprefix("rm-bench-")
            with gzip.open(self.data / "benchmarks" / "rm-bench" / f"{domain}_filtered.json.gz") as file:
                rows = json.load(file)
            judgments = [
                parse_scoring_row({"prompt": row["prompt"], "completions": [*row["chosen"], *row["rejected"]]})
                for row in rows
            ]
        else:
            found = (self.data / place / f"{name}.jsonl.gz" for place in ("preferences", "raters"))
            path = next(path for path in found if path.exists())
            judgments = load_judgments(str(path), on_bad_rows="skip").judgments
            if share := self.shares.get(name):
                judgments = [row for row in judgments if uniform_hash(prompt_key(row), 0, "gaussian") < share]
        return Fold(name, judgments, *self._rows(name, judgments), gold)

    def _rows(self, name: str, judgments: list[Judgment]) -> tuple[np.ndarray, np.ndarray]:
        assert self.extractor.store.directory is not None
        source = name.partition(".")[0]
        limit = self.limits.get(source, self.model.config.max_input_tokens)
        limited = f" {limit}" if source in self.limits else ""
        digest = hashlib.sha256(f"{name} {len(judgments)}{limited}".encode()).hexdigest()[:12]
        kept = self.extractor.store.directory / f"rows-{digest}.npz"
        if kept.exists():
            with np.load(kept) as found:
                return found["prompts"], found["completions"]
        chat = ChatTokenizer(self.tokenizer, wrap_text=True)
        tokenize = JudgmentTokenizer(chat, limit, "truncate")
        table = self.extractor.table(list(tokenize.many(judgments)))
        assert len(table) == len(judgments)
        np.savez(kept, prompts=table.prompts, completions=table.completions)
        return table.prompts, table.completions


@dataclass(frozen=True)
class Features:
    """Pooled hidden states, each block layer-normed once, since they never change."""

    raw: np.ndarray
    num_blocks: int

    @cached_property
    def normed(self) -> Tensor:
        """(rows, width) float32; takes the place of `raw` in memory."""
        result = torch.from_numpy(self.raw)
        for start in range(0, len(self.raw), 4096):
            blocks = result[start : start + 4096].unflatten(-1, (self.num_blocks, -1))
            result[start : start + 4096] = torch.nn.functional.layer_norm(blocks, blocks.shape[-1:]).flatten(-2)
        return result

    def some(self, blocks: Sequence[int]) -> Features:
        """These blocks alone, in this order. They are normed once more, which changes nothing."""
        chosen = self.normed.unflatten(-1, (self.num_blocks, -1))[:, list(blocks)]
        return Features(chosen.flatten(-2).numpy(), len(blocks))

    def of(self, fold: Fold, rows: np.ndarray | slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Features of prompts (batch, width) and completions (batch, c, width)."""
        completions = torch.from_numpy(np.maximum(fold.completions[rows], 0))
        return self.normed[torch.from_numpy(fold.prompts[rows])], self.normed[completions]


def _lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path) as file:
        return [json.loads(line) for line in file]


def _padded(rows: list[list[float]]) -> np.ndarray:
    table = np.full((len(rows), max(map(len, rows))), np.nan)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    return table
