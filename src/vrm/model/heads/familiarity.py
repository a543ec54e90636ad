"""What a head keeps of its training texts, to tell texts that are unlike them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vrm.core.unfamiliarity import FamiliarTexts, Subspaces, Unfamiliarity


class Familiarity(nn.Module):
    """The numbers of `FamiliarTexts` as buffers, over the head's standardized inputs.

    Args:
        blocks: (num_blocks, width) of those inputs.
        components: principal components of a block that are kept.
        categories: number of training categories.
    """

    def __init__(self, blocks: tuple[int, int], components: int, categories: int) -> None:
        super().__init__()
        count, width = blocks
        for name in ("prompt", "completion"):
            self._reserve(f"{name}_loc", count, width)
            self._reserve(f"{name}_basis", count, width, components)
            self._reserve(f"{name}_spread", count, components)
        self._reserve("border")
        self._reserve("centres", categories, count * components)

    def _reserve(self, name: str, *shape: int) -> None:
        self.register_buffer(name, torch.ones(shape, dtype=torch.float32))

    @torch.no_grad()
    def keep(self, known: FamiliarTexts) -> None:
        """Take the numbers of training texts."""
        for buffer, values in zip(self.buffers(), known.tensors(), strict=True):
            buffer.copy_(values)

    def forward(self, prompts: Tensor, completions: Tensor) -> Unfamiliarity:
        """Of standardized inputs (batch, features) and (batch, num_completions, features)."""
        of_prompts = Subspaces(self.prompt_loc, self.prompt_basis, self.prompt_spread)
        of_completions = Subspaces(self.completion_loc, self.completion_basis, self.completion_spread)
        known = FamiliarTexts(of_prompts, of_completions, self.border, self.centres)
        return known.unfamiliarity(prompts, completions)
