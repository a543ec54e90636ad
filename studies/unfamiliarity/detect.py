"""How well each form tells foreign rows from familiar ones: a number for every row, and AUROC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from studies.evidence.fitting import Settings, fit, new_head, posteriors
from studies.evidence.folds import Features, Fold
from studies.unfamiliarity.forms import BLOCKS, COMPONENTS, Map, Score, Space, block_form, posterior, text_forms
from studies.unfamiliarity.material import Home, Material, Standard, Vectors
from torch import nn

from vrm.core.predictive import margin_moments
from vrm.metrics import auroc

SETTINGS = Settings(learning_rate=1e-3, epochs=20, batch_size=64, evals_per_epoch=1, patience=4, kl=0.0)
"""Of every head here; (6) and ratings play no part."""

Scores = dict[str, np.ndarray]


def trained(material: Material, features: Features, name: str, folds: tuple[Fold, Fold], seed: int) -> nn.Module:
    """A head fitted on the first fold and stopped by the second."""
    config = material.head_config(head=name, head_dropout=SETTINGS.dropout)
    head = new_head(name, config, seed)
    fit(head, config, features, folds, SETTINGS, seed)
    return head


@torch.inference_mode()
def margins(head: nn.Module, features: Features, fold: Fold) -> np.ndarray:
    """E[u], (n,)."""
    found = posteriors(head, features, fold)
    first, second = found.features.completion(0), found.features.completion(1)
    return margin_moments(found.weights, first, second, found.decoder).mean.double().numpy()


@torch.inference_mode()
def _hidden(head: nn.Module, features: Features, fold: Fold) -> np.ndarray:
    """What the last layer reads, the difference of the two completions, (n, width)."""
    inputs = head.completion_norm(features.of(fold)[1])
    hidden = head.features[:-1](inputs) if isinstance(head.features, nn.Sequential) else inputs
    return (hidden[:, 0] - hidden[:, 1]).double().numpy()


@dataclass(frozen=True)
class Familiar:
    """Every form fitted on one fold, with the heads whose p (1 - p) weighs the pairs."""

    features: Features
    standard: Standard
    prompts: Space
    texts: Space
    heads: dict[str, nn.Module]
    fitted: Fold
    fitted_vectors: Vectors

    @classmethod
    def of(cls, features: Features, fold: Fold, heads: dict[str, nn.Module]) -> Familiar:
        """Fit on the rows that the heads were fitted on."""
        standard = Standard.of(features, fold)
        vectors = standard(features, fold)
        _, first_rows = np.unique(fold.prompts, return_index=True)
        prompts = Space.of(vectors.prompts[np.sort(first_rows)])
        return cls(
            features, standard, prompts, Space.of(np.concatenate([vectors.first, vectors.second])), heads, fold, vectors
        )

    def forms(self) -> Forms:
        """Functions from folds to numbers."""
        vectors = self.fitted_vectors
        prompts, texts = np.unique(vectors.prompts, axis=0), np.concatenate([vectors.first, vectors.second])
        blocks = {name: (block_form(name, prompts), block_form(name, texts)) for name in BLOCKS}
        return Forms(self, text_forms(self.prompts), text_forms(self.texts), self._difference_forms(), blocks)

    def _difference_forms(self) -> dict[str, Any]:
        sides = [self.texts(side)[0] for side in (self.fitted_vectors.first, self.fitted_vectors.second)]
        chance = 1.0 / (1.0 + np.exp(-margins(self.heads["bt"], self.features, self.fitted)))
        curvature = chance * (1.0 - chance)
        forms: dict[str, Any] = {}
        for count in (64, COMPONENTS):
            forms[f"(17) components {count}"] = _pair_form(self.texts.whitened(count), sides, curvature)
        for scale in (0.5, 1.0, 2.0):
            forms[f"(17) fourier {scale:g}"] = _pair_form(self.texts.fourier(scale), sides, curvature)
        return forms


@dataclass(frozen=True)
class Blocks:
    """What blocks leave out, by itself: no head is needed."""

    features: Features
    standard: Standard
    forms: dict[str, tuple[Map, Map]]

    @classmethod
    def of(cls, features: Features, fold: Fold) -> Blocks:
        """Fitted on a fold."""
        standard = Standard.of(features, fold)
        vectors = standard(features, fold)
        texts = np.concatenate([vectors.first, vectors.second])
        forms = {name: (block_form(name, vectors.prompts), block_form(name, texts)) for name in BLOCKS}
        return cls(features, standard, forms)

    def __call__(self, fold: Fold) -> dict[str, np.ndarray]:
        """Of completions with and without their prompts, (2 n,)."""
        vectors = self.standard(self.features, fold)
        found = {}
        for name, (of_prompts, of_texts) in self.forms.items():
            texts = np.stack([of_texts(side) for side in (vectors.first, vectors.second)])
            found[name] = texts.flatten()
            found[f"{name}, with the prompt"] = (of_prompts(vectors.prompts) + texts).flatten()
        return found


def _pair_form(feature_map: Any, sides: list[np.ndarray], curvature: np.ndarray) -> Any:
    variance = posterior(feature_map(sides[0]) - feature_map(sides[1]), curvature, 1.0)
    return lambda first, second: variance(feature_map(first) - feature_map(second))


@dataclass(frozen=True)
class Forms:
    """Every form, ready to be asked."""

    familiar: Familiar
    prompts: dict[str, Score]
    texts: dict[str, Score]
    differences: dict[str, Any]
    blocks: dict[str, tuple[Map, Map]]

    def blocks_of(self, fold: Fold) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Of prompts, (n,), and of completions, (2, n), by blocks."""
        vectors = self.familiar.standard(self.familiar.features, fold)
        return {
            name: (of_prompts(vectors.prompts), np.stack([of_texts(side) for side in (vectors.first, vectors.second)]))
            for name, (of_prompts, of_texts) in self.blocks.items()
        }

    def texts_of(self, fold: Fold) -> Scores:
        """Of single completions, first sides and then second ones, (2 n,)."""
        vectors = self.familiar.standard(self.familiar.features, fold)
        places = [self.familiar.texts(side) for side in (vectors.first, vectors.second)]
        found = {name: np.concatenate([form(*place) for place in places]) for name, form in self.texts.items()}
        for name, (prompts, texts) in self.blocks_of(fold).items():
            found[f"{name}"] = texts.flatten()
            found[f"{name}, with the prompt"] = (prompts + texts).flatten()
        return found

    def prompts_of(self, fold: Fold) -> Scores:
        """Of prompts, (n,)."""
        vectors = self.familiar.standard(self.familiar.features, fold)
        place = self.familiar.prompts(vectors.prompts)
        return {name: form(*place) for name, form in self.prompts.items()}

    def pairs_of(self, fold: Fold) -> Scores:
        """Of pairs, (n,): prompts, the mean of both completions, and what is made of the difference."""
        familiar = self.familiar
        vectors = familiar.standard(familiar.features, fold)
        first, second = (familiar.texts(side)[0] for side in (vectors.first, vectors.second))
        found = {f"prompt, {name}": values for name, values in self.prompts_of(fold).items()}
        texts = self.texts_of(fold)
        for name in self.texts:
            found[f"completions, {name}"] = texts[name].reshape(2, -1).mean(0)
        for name, (of_prompts, of_texts) in self.blocks_of(fold).items():
            found |= {f"prompt, {name}": of_prompts, f"completions, {name}": of_texts.mean(0)}
        found |= {f"difference, {name}": form(first, second) for name, form in self.differences.items()}
        for name, head in familiar.heads.items():
            hidden = _hidden(head, familiar.features, familiar.fitted)
            chance = 1.0 / (1.0 + np.exp(-margins(head, familiar.features, familiar.fitted)))
            if hidden.shape[1] > 512:
                continue  # a linear head's last layer reads all features: (17) on their components is that
            variance = posterior(hidden, chance * (1.0 - chance), 1.0)
            found[f"difference, last layer of {name}"] = variance(_hidden(head, familiar.features, fold))
        return found


def with_both(inside: Scores, held: Scores) -> Scores:
    """Scores, and for each form that prompts and completions share their mean in units of the held-out rows."""
    result = dict(inside)
    for name in [name.removeprefix("prompt, ") for name in inside if name.startswith("prompt, ")]:
        parts = []
        for of in ("prompt", "completions"):
            known = held[f"{of}, {name}"]
            parts.append((inside[f"{of}, {name}"] - np.median(known)) / max(float(known.std()), 1e-9))
        result[f"both, {name}"] = np.mean(parts, axis=0)
    return result


def table(forms: Forms, home: Home, dev: bool = False) -> dict[str, dict[str, dict[str, float]]]:
    """AUROC {pairs or texts: {form: {foreign source: value}}}."""
    inside, outside = (home.inside_dev, home.outside_dev) if dev else (home.inside, home.outside)
    held = forms.pairs_of(home.held)
    familiar = {"pairs": with_both(forms.pairs_of(inside), held), "texts": forms.texts_of(inside)}
    result: dict[str, dict[str, dict[str, float]]] = {"pairs": {}, "texts": {}}
    for source, fold in outside.items():
        foreign = {"pairs": with_both(forms.pairs_of(fold), held), "texts": forms.texts_of(fold)}
        for kind, scores in foreign.items():
            for name, values in scores.items():
                known = familiar[kind][name]
                place = np.concatenate([np.zeros(len(known)), np.ones(len(values))])
                result[kind].setdefault(name, {})[source] = auroc(np.concatenate([known, values]), place)
    return result
