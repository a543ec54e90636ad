"""The certificate (18) of `vrm`'s decoder beside that of `bt`: halves, a quarter fitted, and a prior around zero."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from studies.evidence.fitting import Settings, posteriors
from studies.evidence.folds import Fold
from studies.evidence.regimes import Parts, places
from studies.evidence.savings import interval_text
from studies.evidence.second.study import Question, Study
from studies.evidence.study import Study as Heads
from studies.evidence.study import train_head
from studies.evidence.tables import markdown
from torch import Tensor, nn

from vrm.core.certificate import (
    PRIOR_SCALES,
    GaussianDecoder,
    RankedPairs,
    decoder_kl,
    decoder_posteriors,
    drawn_pairs,
    gibbs_error,
    held_out_bound,
    mean_pairs,
    pac_bayes_bound,
)
from vrm.core.distributions import ObjectiveWeights, SemanticFeatures

HEADS = {"bt": ("bt", "variational"), "gated": ("gated", "variational"), "vrm": ("vrm", "variational"),
         "vrm (7')": ("vrm", "marginal")}  # fmt: skip
"""The package's head and loss of each."""
DEFAULTS = Settings(learning_rate=1e-3, kl=1e-3)
"""Those of the package (docs/decisions/0006)."""
DELTA = 0.05
RESAMPLES = 1000
STOPPING = 0.1
"""Of the fitted prompts, which stop training."""


@dataclass(frozen=True)
class Protocol:
    """How prompts are divided, and where the prior stands.

    Attributes:
        fitted: share of the prompts that the head is fitted to; the others give the bound.
        around_zero: whether the prior's mean is zero in place of the refitted A.
        seeds: of split and start, by source.
    """

    fitted: float
    around_zero: bool
    seeds: dict[str, int]


PROTOCOLS = {
    "halves": Protocol(0.5, False, {"rmb": 5, "hh_harmless": 4}),
    "quarter": Protocol(0.25, False, {"hh_harmless": 3}),
    "zero": Protocol(0.5, True, {"hh_harmless": 3}),
}


@dataclass(frozen=True)
class Linear:
    """Decided pairs as a head that is linear in its decoder reads them; `prompts` are numbers of the whole file's."""

    weights: ObjectiveWeights
    difference: SemanticFeatures
    prompts: Tensor
    decoder: Tensor

    def of(self, latents: str) -> RankedPairs:
        """With w and z at their `mean`, or `drawn`."""
        make = mean_pairs if latents == "mean" else drawn_pairs
        return make(self.weights, self.difference, self.prompts)


@torch.no_grad()
def linear(head: Any, heads: Heads, fold: Fold, numbers: dict[str, int]) -> Linear:
    """A fold's decided pairs."""
    decided = fold.where(lambda row: row.is_comparison and row.preference != 0.5)
    found = posteriors(_LinearEnd(head), heads.features, decided)
    sign = torch.tensor([1.0 if row.preference > 0.5 else -1.0 for row in decided.judgments])
    first, second = found.features.completion(0), found.features.completion(1)
    difference = SemanticFeatures(sign[:, None] * (first.loc - second.loc), first.variance + second.variance)
    prompts = torch.tensor([numbers.setdefault(group, len(numbers)) for group in decided.groups])
    return Linear(found.weights, difference, prompts, found.decoder)


class _LinearEnd(nn.Module):
    """A head whose output has all that is linear at its end in the decoder."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.head = head

    def forward(self, prompts: Tensor, completions: Tensor) -> Any:
        """Posteriors."""
        return self.head.with_linear_end(prompts, completions)


def measured(pairs: Linear, dev: Linear, latents: str, around_zero: bool, counts: Tensor) -> dict[str, Any]:
    """Both bounds with the latents at their means or drawn, the errors on the dev file, and resampled bounds."""
    ranked, unseen = pairs.of(latents), dev.of(latents)
    center = pairs.decoder.detach().double()
    fixed = GaussianDecoder(center, torch.zeros_like(center))
    error, unit = gibbs_error(ranked, fixed), float(center.square().mean().sqrt())
    mean = torch.zeros_like(center) if around_zero else center
    each, candidates = DELTA / len(PRIOR_SCALES), []
    for scale, prior, posterior in decoder_posteriors(ranked, mean, unit, DELTA):
        divergence = decoder_kl(posterior, prior)
        bound = pac_bayes_bound(gibbs_error(ranked, posterior), divergence, ranked.num_prompts, each)
        candidates.append((float(bound), scale, float(divergence), posterior))
    bound, scale, divergence, posterior = min(candidates, key=lambda candidate: candidate[0])
    again = gibbs_error(resampled(ranked, pairs.prompts, counts), posterior)
    draws = pac_bayes_bound(again, torch.full_like(again, divergence), ranked.num_prompts, each)
    return {
        "prompts": ranked.num_prompts,
        "pairs": len(pairs.prompts),
        "size": center.numel(),
        "error": float(error),
        "test bound": float(held_out_bound(error, ranked.num_prompts, DELTA)),
        "gibbs": float(gibbs_error(ranked, posterior)),
        "kl": divergence,
        "scale": scale,
        "certificate": bound,
        "dev error": float(gibbs_error(unseen, fixed)),
        "dev gibbs": float(gibbs_error(unseen, posterior)),
        "draws": [round(value, 5) for value in draws.tolist()],
    }


def resampled(pairs: RankedPairs, prompts: Tensor, counts: Tensor) -> RankedPairs:
    """The same pairs with one column of shares for each resample, (pairs, resamples).

    Args:
        pairs: of a part of the prompts.
        prompts: (pairs,) numbers of the file's prompts.
        counts: how often each resample has each of them, (file's prompts, resamples).
    """
    shares = pairs.shares[:, None] * counts[prompts]
    return replace(pairs, shares=shares / shares.sum(0))


def run(study: Study) -> dict[str, Any]:
    """Every certificate, and differences from `bt` with intervals."""
    heads = Heads(study.library, study.work)
    pieces: dict[str, dict[str, Any]] = {}
    for (name, protocol), head in itertools.product(PROTOCOLS.items(), HEADS):
        # Of toys the one with the shortest texts.
        for source in protocol.seeds if not study.quick else ("hh_harmless",):
            for seed in study.seed_range(protocol.seeds[source]):
                label = f"{source}, {name}, {head}, {seed}"
                make = partial(piece, heads, source, protocol, head, seed)
                pieces[label] = study.piece(label.replace(", ", "-"), make)
    return summary(pieces)


def piece(heads: Heads, source: str, protocol: Protocol, name: str, seed: int) -> dict[str, Any]:
    """One head of one split: its figures by how the latents are read."""
    fold = heads.library.fold(f"{source}.train")
    numbers = {group: number for number, group in enumerate(dict.fromkeys(fold.groups))}
    _, rank = np.unique(places(fold.groups, seed), return_inverse=True)
    fitted = round(protocol.fitted * len(numbers))
    edges = (0, max(1, round(STOPPING * fitted)), fitted, len(numbers))
    held, train, bound = (
        fold.take(np.flatnonzero((low <= rank) & (rank < high))) for low, high in itertools.pairwise(edges)
    )
    kind, loss = HEADS[name]
    head, config, _ = train_head(heads, kind, Parts(train, held, held), replace(DEFAULTS, loss=loss), seed)
    # The same resamples for every head and seed, so that differences are paired.
    drawn = np.random.default_rng(0).multinomial(len(numbers), [1.0 / len(numbers)] * len(numbers), RESAMPLES)
    pairs = linear(head, heads, bound, numbers)
    dev = linear(head, heads, heads.library.fold(f"{source}.dev"), {})
    uncertain = config.has_weight_uncertainty or config.has_feature_uncertainty
    return {
        latents: measured(pairs, dev, latents, protocol.around_zero, torch.from_numpy(drawn.T).double())
        for latents in ("mean", *(["drawn"] if uncertain else []))
    }


def summary(pieces: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Figures by source, protocol, head and latents: one value a seed, and the difference from `bt` on resamples."""
    found: dict[str, dict[str, Any]] = {}
    for label, kinds in pieces.items():
        source, protocol, head, _ = label.split(", ")
        for latents, figures in kinds.items():
            kept = found.setdefault(f"{source}, {protocol}, {head}, {latents}", {})
            for key, value in figures.items():
                kept.setdefault(key, []).append(value)
    for label, kept in found.items():
        source, protocol, *_ = label.split(", ")
        base = found[f"{source}, {protocol}, bt, mean"]
        difference = np.array(kept["certificate"]) - np.array(base["certificate"])
        draws = (np.array(kept["draws"]) - np.array(base["draws"])).mean(0)
        kept["minus bt"] = [float(difference.mean()), *np.percentile(draws, [2.5, 97.5]).tolist()]
        kept["seeds below bt"] = int((difference < 0).sum())
    return {label: {key: _short(kept[key]) for key in kept if key != "draws"} for label, kept in found.items()}


def _short(value: Any) -> Any:
    return [round(number, 5) for number in value] if isinstance(value, list) else value


def tables(figures: dict[str, Any]) -> str:
    """A row for each source, protocol, head and reading of the latents, percent."""
    rows = [
        ["data, prompts", "protocol", "head", "size of A", "error", "test-set bound", "error of Q", "KL, nats",
         "certificate", "minus bt", "below bt", "error on dev"]
    ]  # fmt: skip
    for label, kept in figures.items():
        source, protocol, head, latents = label.split(", ")
        low = interval_text(kept["minus bt"], 100.0, 1)
        rows.append(
            [
                f"{source}, {round(np.mean(kept['prompts'])):,}",
                protocol,
                f"`{head}`" + (", w and z drawn" if latents == "drawn" else ""),
                f"{kept['size'][0]:,}",
                *(_percent(kept[key]) for key in ("error", "test bound", "gibbs")),
                f"{np.mean(kept['kl']):.1f}",
                _percent(kept["certificate"]),
                *(["-", "-"] if head == "bt" else [low, f"{kept['seeds below bt']} of {len(kept['certificate'])}"]),
                _percent(kept["dev error"]),
            ]
        )
    return markdown(rows)


def _percent(values: list[float]) -> str:
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"


QUESTION = Question("The certificate of few features", run, tables)
