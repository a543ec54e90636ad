"""The head `vrm`: both latents of the method."""

from __future__ import annotations

from torch import Tensor

from vrm.core.distributions import ObjectiveWeights, concentration_from_logits
from vrm.model.heads.objectives import ObjectivesHead


class VRMHead(ObjectivesHead):
    """Dirichlet weights of the prompt (1), Gaussian features of prompt and completion (2), a learned decoder A."""

    has_weight_uncertainty = True
    has_feature_uncertainty = True
    description = "Dirichlet objective weights from the prompt and Gaussian semantic features of the completion"

    def weights_from(self, outputs: Tensor) -> ObjectiveWeights:
        """Dirichlet weights from K logits and the log of the total concentration."""
        return ObjectiveWeights.from_concentration(concentration_from_logits(outputs[..., :-1], outputs[..., -1]))
