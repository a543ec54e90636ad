"""What heads do with the pooled hidden states that they are given: norms, and a few principal components."""

from __future__ import annotations

import torch
from torch import Tensor, nn

COMPONENT_ROWS = 1_000
"""Rows that principal components are taken from at most."""


def blockwise(inputs: Tensor, num_blocks: int) -> Tensor:
    """Layer norm of each pooled block apart: (..., num_blocks * width) to the same shape, float32."""
    blocks = inputs.float().unflatten(-1, (num_blocks, -1))
    return nn.functional.layer_norm(blocks, blocks.shape[-1:]).flatten(-2)


class InputNorm(nn.Module):
    """Layer norm of each pooled block apart, then a fixed standardization of every input.

    The buffers are zeros and ones until `fit` sets them from frozen training features: hidden states share a large
    common direction, and without it the head spends its first epochs on unlearning that.
    """

    def __init__(self, num_blocks: int, width: int) -> None:
        super().__init__()
        self.num_blocks = num_blocks
        # Named dtypes: `from_pretrained(dtype=...)` changes the default one while it builds a model.
        self.register_buffer("loc", torch.zeros(num_blocks * width, dtype=torch.float32))
        self.register_buffer("inverse_scale", torch.ones(num_blocks * width, dtype=torch.float32))

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., num_blocks * width) to the same shape, float32."""
        return (self._blockwise(inputs) - self.loc) * self.inverse_scale

    def _blockwise(self, inputs: Tensor) -> Tensor:
        return blockwise(inputs, self.num_blocks)

    @torch.no_grad()
    def fit(self, inputs: Tensor) -> None:
        """Set mean and scale from a sample of training inputs (rows, num_blocks * width)."""
        normed = self._blockwise(inputs)
        self.loc.copy_(normed.mean(0))
        self.inverse_scale.copy_(1.0 / normed.std(0).clamp_min(1e-2))


class InputAxes(nn.Module):
    """The first principal components of the inputs, z-scored; zeros until `fit` has seen some."""

    def __init__(self, num_blocks: int, width: int, num_axes: int) -> None:
        super().__init__()
        self.num_blocks = num_blocks
        self.register_buffer("projection", torch.zeros(num_axes, num_blocks * width, dtype=torch.float32))
        self.register_buffer("offset", torch.zeros(num_axes, dtype=torch.float32))

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., num_blocks * width) to (..., num_axes), float32."""
        return blockwise(inputs, self.num_blocks) @ self.projection.T + self.offset

    @torch.no_grad()
    def fit(self, inputs: Tensor) -> None:
        """Set the components from a sample of inputs (rows, num_blocks * width); the others, if any, stay zero."""
        normed = blockwise(inputs[:COMPONENT_ROWS], self.num_blocks).double()
        centre = normed.mean(0)
        values, vectors = torch.linalg.eigh((normed - centre) @ (normed - centre).T)
        # One scatter matrix of rows or of columns has the eigenvalues of the other.
        count = min(len(self.offset), int((values > 1e-6 * values[-1]).sum()), len(normed) - 1)
        self.projection.zero_()
        self.offset.zero_()
        if count < 1:
            return
        largest, rows = values[-count:].flip(0), vectors[:, -count:].flip(1)
        directions = (rows / largest.sqrt()).T @ (normed - centre)
        scaled = directions / (largest / len(normed)).sqrt().unsqueeze(-1)
        self.projection[:count] = scaled.to(self.projection)
        self.offset[:count] = -(scaled @ centre).to(self.offset)
