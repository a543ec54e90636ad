"""Reward models trained on the planted corpus, each with the quickstart's settings, and what they say of candidates."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from studies.evidence.fitting import Settings, fit, new_head
from studies.evidence.folds import Features, Fold
from studies.evidence.predictors import LastLayerLaplace
from torch import Tensor, nn

from vrm.cli.quickstart import quickstart_config
from vrm.config import RunConfig, parse_config
from vrm.core.posteriors import Posteriors
from vrm.core.predictive import completion_moments, exponential_reward
from vrm.data.chat import ChatTokenizer
from vrm.data.planted import planted_corpus
from vrm.data.schema import Judgment
from vrm.data.statistics import objective_names
from vrm.data.tokenized import JudgmentTokenizer
from vrm.inference.extraction import ExtractionOptions, FeatureExtractor
from vrm.inference.feature_table import FeatureTable
from vrm.model.checkpoint import load_model
from vrm.model.configuration_vrm import VRMConfig
from vrm.train.run import run_training
from vrm.train.setup import RunData, build_model

BETAS = (1.0, 0.3)
"""Of the exponential risk, in raw units of reward."""

MEMBERS = 5
OBJECTIVES_OF_PAIRS = 16
"""Free objectives where no rating or vote names one."""


@dataclass(frozen=True)
class Recipe:
    """What a model is trained with beside the quickstart's settings.

    Attributes:
        head: of the package; `bnrm` is the study's, and `laplace` is `mlp 0` with a posterior.
        labels: whether ratings and votes are trained on.
        changes: of the configuration, by section.
        member: number in the ensemble.
    """

    head: str
    labels: bool = False
    changes: dict[str, dict[str, Any]] | None = None
    member: int = 0


OFFSET = {"nuisance": {"measures": ["log_length"]}}
STAGED = {"loss": {"name": "staged"}}
RECIPES = {
    "bt": Recipe("bt"),
    "bayes": Recipe("bayes"),
    **{f"mlp {member}": Recipe("mlp", member=member) for member in range(MEMBERS)},
    "laplace": Recipe("laplace"),
    "bnrm": Recipe("bnrm"),
    "bottleneck": Recipe("bottleneck"),
    "gated": Recipe("gated"),
    "vrm (7)": Recipe("vrm"),
    "vrm (7')": Recipe("vrm", changes={"loss": {"name": "marginal"}}),
    "vrm staged": Recipe("vrm", changes=STAGED),
    "gated, labels": Recipe("gated", labels=True),
    "vrm (7), labels": Recipe("vrm", labels=True),
    "vrm staged, labels": Recipe("vrm", labels=True, changes=STAGED),
    "bt, offset": Recipe("bt", changes=OFFSET),
    "gated, offset": Recipe("gated", changes=OFFSET),
    "vrm (7), offset": Recipe("vrm", changes=OFFSET),
}

TELLS_UNFAMILIAR = "bt"
"""Whose V counts for every model of a seed: it tells texts, and is the same whatever the head."""


@dataclass(frozen=True)
class Judged:
    """What one model says of the candidates for some prompts; arrays are (prompts, candidates).

    Attributes:
        mean: E[r].
        sd: standard deviation; zeros where the model has none.
        effective: -beta log E exp(-r / beta) for each of `BETAS`, (betas, prompts, candidates); empty without variance.
        unfamiliarity: V; empty but for `TELLS_UNFAMILIAR`.
    """

    mean: np.ndarray
    sd: np.ndarray
    effective: np.ndarray
    unfamiliarity: np.ndarray


@dataclass(frozen=True)
class Corpus:
    """One seed's corpus: what models are trained on, and where they are put."""

    seed: int
    work: Path
    rows: int | None

    @cached_property
    def parts(self) -> tuple[list[Judgment], list[Judgment]]:
        """Training and dev rows, with ratings and votes."""
        corpus = planted_corpus(self.seed, raters=False)
        return corpus.train[: self.rows], corpus.dev[: self.rows]

    def data(self, labels: bool) -> RunData:
        """Rows of a run."""
        train, dev = self.parts
        if not labels:
            train, dev = ([replace(row, ratings=None, objective_votes=None) for row in rows] for rows in (train, dev))
        return RunData(train, dev, objective_names(train)[0], f"planted corpus of seed {self.seed}")

    def config(self, recipe: Recipe) -> RunConfig:
        """The quickstart's configuration with what the recipe changes."""
        values = quickstart_config(recipe.head, self.work, self.seed + 1000 * recipe.member).model_dump(mode="json")
        if not recipe.labels:
            values["model"]["num_free_objectives"] = OBJECTIVES_OF_PAIRS
        for section, changed in (recipe.changes or {}).items():
            values[section] |= changed
        values["features"]["cache"] = str(self.work / "features")
        values["output_dir"] = str(self.work / f"run-{self.seed}")
        return parse_config(values)


class Reader:
    """Features of candidates and of corpora, by the frozen backbone, computed once."""

    def __init__(self, work: Path) -> None:
        corpus = Corpus(0, work, 1)
        config = corpus.config(RECIPES["bt"])
        self.model, self.tokenizer = build_model(config, corpus.data(False))
        options = ExtractionOptions(config.train.precision, config.features.token_budget, config.features.cache)
        self.extractor = FeatureExtractor(self.model, int(self.tokenizer.pad_token_id or 0), options)

    @property
    def config(self) -> VRMConfig:
        """Of a model on this backbone."""
        return self.model.config

    def table(self, rows: Sequence[Judgment]) -> FeatureTable:
        """Where the features of rows are."""
        tokenize = JudgmentTokenizer(
            ChatTokenizer(self.tokenizer, wrap_text=True), self.config.max_input_tokens, "error"
        )
        return self.extractor.table(list(tokenize.many(rows)))

    def fold(self, rows: list[Judgment]) -> tuple[Fold, Features]:
        """Rows as the study's own heads read them."""
        table = self.table(rows)
        known, places = np.unique(np.concatenate([table.prompts[:, None], table.completions], 1), return_inverse=True)
        places = places.reshape(len(rows), -1)
        features = Features(np.array(table.store.take(np.maximum(known, 0))), self.config.num_blocks)
        completions = np.where(table.completions < 0, -1, places[:, 1:])
        return Fold("planted", rows, places[:, 0], completions), features


def judge(head: nn.Module, table: FeatureTable) -> Judged:
    """What a head says, prompt by prompt."""
    with torch.inference_mode():
        found = [_said(head(*table.batch(slice(row, row + 1)))) for row in range(len(table))]
    mean, sd, effective, unfamiliar = (np.stack(column) for column in zip(*found, strict=True))
    return Judged(mean, sd, np.moveaxis(effective, 1, 0), unfamiliar)


def _said(found: Posteriors) -> tuple[np.ndarray, ...]:
    moments = completion_moments(found.double())
    mean, sd = moments.mean[0], moments.std[0]
    effective = [exponential_reward(found, beta)[0] for beta in BETAS] if sd.any() else []
    unfamiliar = mean[:0] if found.unfamiliarity is None else found.unfamiliarity.distance[0]
    lowered = torch.stack(effective) if effective else torch.zeros(0, len(mean))
    return tuple(_numbers(values) for values in (mean, sd, lowered, unfamiliar))


def _numbers(values: Tensor) -> np.ndarray:
    return values.float().numpy()


class _Normed(nn.Module):
    """A head of the study, which reads layer-normed blocks."""

    def __init__(self, head: nn.Module, num_blocks: int) -> None:
        super().__init__()
        self.head, self.num_blocks = head, num_blocks

    def forward(self, prompts: Tensor, completions: Tensor) -> Posteriors:
        """As the head."""
        blocks = completions.unflatten(-1, (self.num_blocks, -1))
        normed = nn.functional.layer_norm(blocks, blocks.shape[-1:]).flatten(-2)
        return self.head(prompts, normed)


def trained(name: str, corpus: Corpus, reader: Reader) -> nn.Module:
    """A head, trained once and kept on the disk."""
    path = corpus.work / f"heads-{corpus.seed}" / f"{name}.pt"
    if not path.exists():
        head = _trained(name, corpus, reader)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(head, path)
        print(f"trained {name} on corpus {corpus.seed}", flush=True)
    return torch.load(path, weights_only=False).eval()


def _trained(name: str, corpus: Corpus, reader: Reader) -> nn.Module:
    recipe = RECIPES[name]
    if recipe.head == "bnrm":
        return _Normed(_trained_factors(corpus, reader), reader.config.num_blocks)
    config = corpus.config(recipe)
    with (corpus.work / "training.log").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        result = run_training(config, data=corpus.data(recipe.labels), overwrite=True)
        head = load_model(result.model_dir)[0].score
    shutil.rmtree(config.output_dir)
    if name != TELLS_UNFAMILIAR:
        head.familiarity = None
    return head


def judged(name: str, corpus: Corpus, reader: Reader, pools: Sequence[FeatureTable]) -> list[Judged]:
    """What a model says of each pool of candidates."""
    if name == "laplace":
        fold, features = reader.fold(corpus.data(False).train)
        posterior = LastLayerLaplace(trained("mlp 0", corpus, reader), features, fold)
        return [_laplace(posterior, pool, reader) for pool in pools]
    head = trained(name, corpus, reader)
    return [judge(head, pool) for pool in pools]


def _trained_factors(corpus: Corpus, reader: Reader) -> nn.Module:
    data = corpus.data(False)
    rows, features = reader.fold([*data.train, *data.eval])
    config = VRMConfig(**{**reader.config.to_dict(), "head": "bottleneck", "head_dropout": 0.1})
    head = new_head("bnrm", config, corpus.seed)
    folds = (rows.take(range(len(data.train))), rows.take(range(len(data.train), len(rows))))
    settings = Settings(learning_rate=1e-3, weight_decay=0.01, dropout=0.1, kl=0.003, batch_size=128)
    fit(head, config, features, folds, settings, corpus.seed)
    return head


def _laplace(posterior: LastLayerLaplace, pool: FeatureTable, reader: Reader) -> Judged:
    """Prompt by prompt, since one holds thousands of candidates."""
    said = []
    for row in range(len(pool)):
        known = np.concatenate([pool.prompts[row : row + 1], pool.completions[row]])
        posterior.features = Features(np.array(pool.store.take(known)), reader.config.num_blocks)
        places = np.arange(1, len(known))[None]
        said.append(posterior.say(Fold("candidates", [Judgment("", [""], 0.5)], np.zeros(1, dtype=np.int64), places)))
    mean, sd = (np.concatenate([getattr(each, field) for each in said]) for field in ("rewards", "spreads"))
    effective = np.stack([mean - sd**2 / (2 * beta) for beta in BETAS])
    return Judged(mean, sd, effective, np.zeros((len(mean), 0)))


def ensemble(members: Sequence[Judged]) -> tuple[Judged, Judged]:
    """The mean of the members with their spread, and the worst of them; each is known up to a constant a prompt."""
    rewards = np.stack([each.mean - each.mean.mean(1, keepdims=True) for each in members])
    mean, sd = rewards.mean(0), rewards.std(0, ddof=1)
    effective = np.stack([-beta * np.log(np.exp(-(rewards - mean) / beta).mean(0)) + mean for beta in BETAS])
    worst = Judged(rewards.min(0), np.zeros_like(sd), effective[:0], members[0].unfamiliarity)
    return Judged(mean, sd, effective, members[0].unfamiliarity), worst
