"""The head `gated`: a deterministic mixture of objectives, as ArmoRM."""

from __future__ import annotations

from vrm.model.heads.objectives import ObjectivesHead


class GatedHead(ObjectivesHead):
    """Weights are a softmax of the prompt and features have no variance; the decoder A is learned."""

    description = "a deterministic mixture of objectives, weighted by the prompt"
