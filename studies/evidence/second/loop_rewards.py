"""Reward models of the closed loop: heads of the package on frozen MiniLM features of a corpus's sentences.

A text's features are put together from those of its sentences, which are embedded once: mean and maximum over them,
beside the prompt's. So a head trains within seconds and judges a batch in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from studies.evidence.fitting import Settings, fit, new_head
from studies.evidence.folds import Features, Fold
from studies.evidence.second.loop_policy import World
from studies.evidence.shortcut import joint_offset, with_offset
from torch import Tensor, nn

from vrm.choices import EMBEDDED
from vrm.core.nuisance import NuisanceOffset
from vrm.core.posteriors import Posteriors
from vrm.core.predictive import completion_moments, exponential_reward, pessimistic_reward
from vrm.core.unfamiliarity import FamiliarTexts, TrainingTexts, familiar_texts
from vrm.data.planted import planted_corpus
from vrm.data.planted.text import DOMAINS, FLATTERY, OBJECTIVES, PADDING, Part
from vrm.data.schema import Judgment
from vrm.data.splits import uniform_hash
from vrm.data.statistics import objective_names
from vrm.model.configuration_vrm import VRMConfig
from vrm.model.embedded import resolve_backbone
from vrm.train.familiarity import COMPONENTS, HELD_OUT, MOST_ROWS

LAYERS = (1, 3, 6)
WIDTH = 384
BLOCKS = 3 * len(LAYERS)
DEFAULTS = Settings(learning_rate=1e-3, kl=0.001, votes=1.0)
"""Those of the package (docs/decisions/0006)."""

SPLITS = ("train", "dev", "test", "test_reversed")


class Sentences:
    """Features of the corpus's fragments and prompts, (texts, layers * width), computed once and kept in a file."""

    def __init__(self, kept: Path) -> None:
        pools = [*(level for objective in OBJECTIVES for level in objective.levels), FLATTERY, PADDING]
        parts: tuple[Part, ...] = ("train", "dev", "test")
        fragments = dict.fromkeys(text for pool in pools for part in parts for text in pool.texts(part))
        prompts = dict.fromkeys(text for domain in DOMAINS for test in (False, True) for text in domain.prompts(test))
        self.place = {text: number for number, text in enumerate([*fragments, *prompts])}
        self._by_start: dict[str, list[str]] = {}
        for text in sorted(fragments, key=len, reverse=True):
            self._by_start.setdefault(text.split(" ", 1)[0], []).append(text)
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            beside = kept.with_suffix(".part.npy")
            np.save(beside, _embedded(list(self.place)).numpy())
            beside.rename(kept)
        self.table = torch.from_numpy(np.load(kept))

    def numbers(self, text: str) -> list[int]:
        """The fragments that a completion of the corpus is made of."""
        found, rest = [], text
        while rest:
            fits = self._by_start[rest.split(" ", 1)[0]]
            fragment = next(one for one in fits if rest == one or rest.startswith(one + " "))
            found.append(self.place[fragment])
            rest = rest[len(fragment) + 1 :]
        return found

    def completion(self, prompt: int, fragments: Sequence[int]) -> Tensor:
        """Mean and maximum over fragments, and the prompt, (features,); zeros for a completion that says nothing."""
        said = self.table[list(fragments)] if fragments else torch.zeros(1, self.table.shape[1])
        return torch.cat([said.mean(0), said.amax(0), self.table[prompt]])

    def prompt(self, prompt: int) -> Tensor:
        """The prompt in the place of each of a completion's three parts, (features,)."""
        return self.table[prompt].repeat(3)


@torch.inference_mode()
def _embedded(texts: list[str]) -> Tensor:
    from transformers import AutoModel, AutoTokenizer

    directory = resolve_backbone(EMBEDDED)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModel.from_pretrained(directory).eval()
    table = torch.empty(len(texts), len(LAYERS) * WIDTH)
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    for begin in range(0, len(texts), 128):
        numbers = order[begin : begin + 128]
        batch = tokenizer([texts[number] for number in numbers], return_tensors="pt", padding=True)
        states = model(**batch, output_hidden_states=True).hidden_states
        mask = batch["attention_mask"].unsqueeze(-1)
        table[numbers] = torch.cat([(states[layer] * mask).sum(1) / mask.sum(1) for layer in LAYERS], 1)
    return table


@dataclass(frozen=True)
class Corpus:
    """A seed's corpus with features: four folds over one table."""

    seed: int
    folds: Mapping[str, Fold]
    features: Features
    sentences: Sentences

    @cached_property
    def offset(self) -> NuisanceOffset:
        """(14) on log length, from comparisons alone, beside a linear reward of the means of the last layer."""
        means = self.features.normed[:, (len(LAYERS) - 1) * WIDTH : len(LAYERS) * WIDTH]
        return joint_offset(self.folds["train"], Features(means.numpy(), 1), self.seed)


def corpus(seed: int, sentences: Sentences, rows: int | None = None) -> Corpus:
    """The corpus of one reader, as the example has it; `rows` of its training and test rows, None for all."""
    planted = planted_corpus(seed, raters=False)
    table: list[Tensor] = []

    def put(vector: Tensor) -> int:
        table.append(vector)
        return len(table) - 1

    folds = {}
    for name in SPLITS:
        judgments = getattr(planted, name)[:rows]
        numbers = [sentences.place[row.prompt[0]["content"]] for row in judgments]
        prompts = [put(sentences.prompt(number)) for number in numbers]
        completions = [
            [put(sentences.completion(number, sentences.numbers(text[0]["content"]))) for text in row.completions]
            for number, row in zip(numbers, judgments, strict=True)
        ]
        folds[name] = Fold(name, judgments, np.array(prompts), np.array(completions))
    return Corpus(seed, folds, Features(torch.stack(table).numpy(), BLOCKS), sentences)


def labelled(fold: Fold, ratings: bool, votes: bool) -> Fold:
    """Rows with the labels asked for, beside the comparisons."""

    def kept(row: Judgment) -> Judgment:
        return replace(
            row, ratings=row.ratings if ratings else None, objective_votes=row.objective_votes if votes else None
        )

    return fold.relabelled([kept(row) for row in fold.judgments])


def config_of(head: str, fold: Fold, dropout: float) -> VRMConfig:
    """Configuration of a head for these rows, as `vrm train` would make it; where any objective is named, no others."""
    from transformers import AutoConfig

    rated, voted = objective_names(fold.judgments) if head in ("vrm", "gated") else ([], [])
    objectives = list(dict.fromkeys([*rated, *voted]))
    values = {
        name: [float(one[name]) for row in fold.judgments for one in row.ratings or [] if name in one] for name in rated
    }
    return VRMConfig(
        backbone_config=AutoConfig.from_pretrained(resolve_backbone(EMBEDDED)),
        feature_layers=list(LAYERS),
        poolings=["mean", "max", "cls"],  # for their number: the third part is the prompt
        head="bottleneck" if head == "bnrm" else head,
        head_dropout=dropout,
        objectives=objectives,
        num_free_objectives=0 if objectives else 16,
        objectives_with_ratings=list(rated),
        objectives_with_votes=list(voted),
        rating_mean={name: float(np.mean(entries)) for name, entries in values.items()},
        rating_std={name: float(np.std(entries)) for name, entries in values.items()},
    )


@dataclass(frozen=True)
class Recipe:
    """How a reward model is trained.

    Attributes:
        head: of the package, or `bnrm`.
        loss: `variational` (7) or `marginal` (7'), for heads with latents.
        ratings: whether they are given.
        votes: whether they are given.
        offset: whether the nuisance offset (14) on log length takes part.
        members: heads of different starts.
    """

    head: str
    loss: str = "variational"
    ratings: bool = False
    votes: bool = False
    offset: bool = False
    members: int = 1


@dataclass(frozen=True)
class Trained:
    """Heads of one recipe, and how well they do."""

    heads: list[nn.Module]
    accuracy: dict[str, float]


def train(recipe: Recipe, data: Corpus, seed: int) -> Trained:
    """Heads on the training fold, stopped early on the dev fold."""
    settings = replace(DEFAULTS, loss=recipe.loss)
    rows = labelled(data.folds["train"], recipe.ratings, recipe.votes)
    held = labelled(data.folds["dev"], False, False)
    if recipe.offset:
        rows, held = (with_offset(fold, data.offset, 1.0) for fold in (rows, held))
    config = config_of(recipe.head, rows, settings.dropout)
    heads = []
    for member in range(recipe.members):
        start = seed if recipe.members == 1 else 1000 * (member + 1) + seed
        head = new_head(recipe.head, config, start)
        fit(head, config, data.features, (rows, held), settings, start)
        heads.append(head.eval())
    accuracy = {name: _accuracy(heads, data, name) for name in SPLITS[1:]}
    return Trained(heads, accuracy)


@torch.inference_mode()
def _accuracy(heads: list[nn.Module], data: Corpus, name: str) -> float:
    said = [completion_moments(head(*data.features.of(data.folds[name]))).mean for head in heads]
    mean = torch.stack(said).mean(0)
    return float((mean[:, 0] > mean[:, 1]).float().mean())


@dataclass(frozen=True)
class Risk:
    """How rewards are read.

    Attributes:
        kind: `mean`; `pessimistic` by the total spread; `exponential`; `unfamiliar`, less the unfamiliarity; or `worst`
            of the members.
        amount: kappa, beta, or the price of a unit of unfamiliarity, in standard deviations of the rewards on dev rows.
    """

    kind: str = "mean"
    amount: float = 0.0


def familiar(data: Corpus, seed: int) -> FamiliarTexts:
    """What `vrm train` keeps of the training texts, from the means over sentences and the prompts."""
    fold = data.folds["train"]
    chosen = fold.sample(MOST_ROWS, seed)
    prompts, completions = data.features.of(chosen)
    width = len(LAYERS) * WIDTH
    owners = np.repeat(np.arange(len(chosen)), completions.shape[1])
    held_out = [uniform_hash(chosen.groups[owner], seed, "familiar") < HELD_OUT for owner in owners]
    texts = TrainingTexts(
        prompts[torch.from_numpy(owners), :width],
        completions.flatten(0, 1)[:, :width],
        torch.tensor(held_out),
        torch.full((len(owners),), -1),
    )
    return familiar_texts(texts, len(LAYERS), min(COMPONENTS, len(set(chosen.groups)) // 4))


class Judge:
    """Rewards of the policy's completions by trained heads, read under a risk.

    Args:
        trained: the heads.
        risk: how their rewards are read.
        data: the corpus they were trained on.
        world: the policy's prompts and sentences.
        known: the training texts, for `unfamiliar`.
    """

    def __init__(
        self, trained: Trained, risk: Risk, data: Corpus, world: World, known: FamiliarTexts | None = None
    ) -> None:
        self.heads, self.risk, self.known, self.sentences = trained.heads, risk, known, data.sentences
        self.prompts = [data.sentences.place[row["prompt"][0]["content"]] for row in world.rows]
        self.fragments = [data.sentences.place[sentence.text] for sentence in world.sentences]
        with torch.inference_mode():
            dev = data.features.of(data.folds["dev"])
            self.spread = float(completion_moments(self.heads[0](*dev)).mean.std())

    @torch.inference_mode()
    def __call__(self, prompts: list[int], completions: list[list[list[int]]]) -> Tensor:
        """(prompts, completions)."""
        first = torch.stack([self.sentences.prompt(self.prompts[prompt]) for prompt in prompts])
        second = torch.stack(
            [
                torch.stack([self._completion(prompt, said) for said in group])
                for prompt, group in zip(prompts, completions, strict=True)
            ]
        )
        inputs = [_normed(part) for part in (first, second)]
        members = torch.stack([self._read(head(*inputs)) for head in self.heads])
        # Each member's rewards are known up to a constant a prompt.
        members = members - members.mean(2, keepdim=True) if len(members) > 1 else members
        rewards = members.amin(0) if self.risk.kind == "worst" else members.mean(0)
        if self.risk.kind == "unfamiliar":
            assert self.known is not None
            width = len(LAYERS) * WIDTH
            distance = self.known.unfamiliarity(inputs[0][:, :width], inputs[1][..., :width]).distance
            rewards = rewards - self.risk.amount * self.spread * distance
        return rewards.clone()

    def _completion(self, prompt: int, said: list[int]) -> Tensor:
        return self.sentences.completion(self.prompts[prompt], [self.fragments[number] for number in said])

    def _read(self, found: Posteriors) -> Tensor:
        if self.risk.kind == "pessimistic":
            return pessimistic_reward(completion_moments(found), self.risk.amount)
        if self.risk.kind == "exponential":
            return exponential_reward(found, self.risk.amount)
        return completion_moments(found).mean


def _normed(vectors: Tensor) -> Tensor:
    blocks = vectors.unflatten(-1, (BLOCKS, WIDTH))
    return nn.functional.layer_norm(blocks, (WIDTH,)).flatten(-2)
