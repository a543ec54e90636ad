"""The head `bottleneck`: one objective and Gaussian features, as InfoRM."""

from __future__ import annotations

from vrm.model.heads.base import JudgmentHead


class BottleneckHead(JudgmentHead):
    """One objective with a learned decoder A of one row over Gaussian features."""

    has_feature_uncertainty = True
    description = "one objective, Gaussian features (an information bottleneck)"
