"""Unfamiliarity, after (17): how much of a text's features lies outside the directions that training texts span.

For small lambda, lambda psi^T (lambda I + sum_i c_i psi_i psi_i^T)^-1 psi is the squared length of what psi has outside
the span of the training vectors; docs/theory.md derives it. Here the span is that of the leading principal components
of each block of the head's input, and the blocks' lengths are multiplied. The number has a scale of its own: 1 is what
one familiar text in twenty exceeds. It is no part of Var[u].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vrm.core.distributions import BatchRecord, TensorRecord

FAMILIAR_SHARE = 0.95
"""Share of texts like the training texts whose unfamiliarity is at most 1."""

SMALLEST = 1e-6
"""Floor of lengths and of standard deviations."""

_SUBSPACE_STEPS = 4


@dataclass(frozen=True)
class Subspaces(TensorRecord):
    """Leading principal components of every block of some vectors.

    Attributes:
        loc: mean, (num_blocks, width).
        basis: orthonormal directions, (num_blocks, width, components).
        spread: standard deviation along each, (num_blocks, components).
    """

    loc: Tensor
    basis: Tensor
    spread: Tensor

    def __call__(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Of vectors (..., num_blocks * width).

        Returns:
            whitened coordinates, (..., num_blocks * components), and the mean over the blocks of the log of the squared
            length that is left out of the components, (...,).
        """
        centred = (vectors.unflatten(-1, self.loc.shape) - self.loc).unsqueeze(-2)
        along = centred @ self.basis
        left_out = (centred - along @ self.basis.mT).square().sum((-1, -2))
        return (along.squeeze(-2) / self.spread).flatten(-2), left_out.clamp_min(SMALLEST).log().mean(-1)


def principal_subspaces(vectors: Tensor, num_blocks: int, components: int) -> Subspaces:
    """The leading components by subspace iteration from fixed random directions; torch's generators are left alone.

    Args:
        vectors: (n, num_blocks * width), n at least 2, float32 or better.
        num_blocks: that a vector consists of.
        components: of each block, at most min(n - 1, width).
    """
    blocks = vectors.unflatten(-1, (num_blocks, -1)).transpose(0, 1)
    loc = blocks.mean(1)
    centred = blocks - loc.unsqueeze(1)
    count = min(components + 8, *centred.shape[1:])
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(num_blocks, centred.shape[2], count, generator=generator, dtype=torch.float32)
    basis = start.to(centred)
    for _ in range(_SUBSPACE_STEPS):
        basis, _ = torch.linalg.qr(centred.mT @ (centred @ basis))
    _, values, rotation = torch.linalg.svd(centred @ basis, full_matrices=False)
    spread = values[:, :components] / len(vectors) ** 0.5
    directions = basis @ rotation.mT[:, :, :components]
    # A direction and its opposite are one component: the largest entry is made positive.
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return Subspaces(loc, directions * largest.sign(), spread.clamp_min(SMALLEST))


@dataclass(frozen=True)
class Unfamiliarity(BatchRecord):
    """How unlike the training texts completions and their prompts are.

    Attributes:
        distance: (batch, num_completions), > 0; at most 1 for 95 % of texts like those trained on.
        by_category: (batch, num_completions, num_categories) distance of the completion to the centre of each training
            category, in standard deviations of a component.
    """

    distance: Tensor
    by_category: Tensor


@dataclass(frozen=True)
class FamiliarTexts(TensorRecord):
    """What is kept of the training texts.

    Attributes:
        prompts: components of their features.
        completions: the same of completions.
        border: mean log length that one familiar text in twenty exceeds, a scalar.
        centres: of the categories' completions, whitened, (num_categories, num_blocks * components).
    """

    prompts: Subspaces
    completions: Subspaces
    border: Tensor
    centres: Tensor

    def unfamiliarity(self, prompts: Tensor, completions: Tensor) -> Unfamiliarity:
        """Of judgments: prompts (batch, features) and completions (batch, num_completions, features)."""
        whitened, own = self.completions(completions)
        _, shared = self.prompts(prompts)
        distance = (log_length(shared.unsqueeze(-1), own) - self.border).exp()
        apart = (whitened.unsqueeze(-2) - self.centres).square().mean(-1).sqrt()
        return Unfamiliarity(distance, apart)


def log_length(of_prompt: Tensor, of_completion: Tensor) -> Tensor:
    """Log of the geometric mean of the lengths left out, from the logs of the squared lengths of both."""
    return 0.25 * (of_prompt + of_completion)


@dataclass(frozen=True)
class TrainingTexts:
    """A sample of the training texts.

    Attributes:
        prompts: (n, features), that of each completion.
        completions: (n, features).
        held_out: (n,) bool, texts that set the border and nothing else; no prompt of theirs is among the others.
        categories: (n,) number of each text's category, below 0 for none.
    """

    prompts: Tensor
    completions: Tensor
    held_out: Tensor
    categories: Tensor


def familiar_texts(texts: TrainingTexts, num_blocks: int, components: int) -> FamiliarTexts:
    """Keep of the training texts what `FamiliarTexts` needs; `components` as for `principal_subspaces`."""
    kept, held_out = ~texts.held_out, texts.held_out
    prompts = principal_subspaces(texts.prompts[kept], num_blocks, components)
    completions = principal_subspaces(texts.completions[kept], num_blocks, components)
    whitened, own = completions(texts.completions)
    _, shared = prompts(texts.prompts[held_out])
    border = log_length(shared, own[held_out]).quantile(FAMILIAR_SHARE)
    count = int(texts.categories.max()) + 1
    centres = [whitened[texts.categories == category].mean(0) for category in range(count)]
    empty = whitened.new_zeros(0, whitened.shape[1])
    return FamiliarTexts(prompts, completions, border, torch.stack(centres) if centres else empty)
