"""The model as `transformers` classes; importing this package registers them with the Auto classes."""

from transformers import AutoConfig, AutoModelForSequenceClassification

from vrm.model.checkpoint import load_model, save_model
from vrm.model.configuration_vrm import VRMConfig
from vrm.model.modeling_vrm import VRMForSequenceClassification, VRMOutput

AutoConfig.register(VRMConfig.model_type, VRMConfig, exist_ok=True)
AutoModelForSequenceClassification.register(VRMConfig, VRMForSequenceClassification, exist_ok=True)

__all__ = ["VRMConfig", "VRMForSequenceClassification", "VRMOutput", "load_model", "save_model"]
