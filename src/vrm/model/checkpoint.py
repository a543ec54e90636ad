"""Model directories: weights, configuration, tokenizer and chat template together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from vrm.errors import CheckpointError
from vrm.files import follow_umask, writing
from vrm.model.configuration_vrm import VRMConfig
from vrm.model.embedded import resolve_backbone
from vrm.model.modeling_vrm import VRMForSequenceClassification


def save_model(model: Any, tokenizer: PreTrainedTokenizerBase, directory: str | Path) -> None:
    """Write weights (safetensors), configuration, tokenizer and chat template; adapters keep the VRM configuration too.

    Args:
        model: a `VRMForSequenceClassification`, or a PEFT model around one.
        tokenizer: saved beside it.
        directory: created if needed.

    Raises:
        OutputError: if the disk is full, say.
    """
    target = Path(directory)
    with writing(target):
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        if hasattr(model, "peft_config"):
            model.get_base_model().config.save_pretrained(target)
        follow_umask(*target.glob("*.safetensors"))


def load_model(
    name_or_path: str | Path, *, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
) -> tuple[VRMForSequenceClassification, PreTrainedTokenizerBase]:
    """Load a model directory (or Hub name), or an adapter directory merged into its backbone, ready for inference.

    Raises:
        CheckpointError: if it is not a variational reward model or its weights do not match.

    Example:
        >>> from vrm import load_model
        >>> model, tokenizer = load_model("runs/mine/model")
        >>> len(model.config.objective_names) == model.config.num_objectives
        True
    """
    path = str(name_or_path)
    if Path(path).is_dir() and (Path(path) / "adapter_config.json").exists():
        model = _load_adapter(Path(path), dtype)
    else:
        _check_model_type(path)
        model = VRMForSequenceClassification.from_pretrained(path, dtype=dtype or torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path)
    return model.to(device).eval(), tokenizer


def _check_model_type(path: str) -> None:
    config = Path(path) / "config.json"
    if Path(path).is_dir():
        if not config.exists():
            raise CheckpointError(f"{path} has no config.json: expected a directory written by save_pretrained")
        kind = json.loads(config.read_text()).get("model_type")
        if kind != VRMConfig.model_type:
            raise CheckpointError(f"{config} has model_type {kind!r}, expected {VRMConfig.model_type!r}: not a VRM")
    elif path.startswith((".", "/", "~")):
        raise CheckpointError(f"{path}: no such directory")


def _load_adapter(directory: Path, dtype: torch.dtype | None) -> VRMForSequenceClassification:
    from peft import PeftModel

    config = VRMConfig.from_pretrained(directory)
    if not config.backbone_name_or_path:
        raise CheckpointError(f"{directory / 'config.json'} does not say which backbone the adapter belongs to")
    fields = {key: value for key, value in config.to_dict().items() if key in _HEAD_FIELDS}
    base = VRMForSequenceClassification.from_backbone(config.backbone_name_or_path, dtype=dtype, **fields)
    return PeftModel.from_pretrained(base, str(directory)).merge_and_unload()


_HEAD_FIELDS = frozenset(VRMConfig.__init__.__code__.co_varnames[1 : VRMConfig.__init__.__code__.co_argcount]) - {
    "backbone_config",
    "backbone_name_or_path",
}


def load_tokenizer(name_or_path: str) -> PreTrainedTokenizerBase:
    """Tokenizer of a backbone directory, Hub name or `embedded`."""
    return AutoTokenizer.from_pretrained(resolve_backbone(name_or_path))


def weights_sha256(model: str) -> str | None:
    """SHA-256 over a model's safetensors files in the order of their names; for one file, what `sha256sum` prints.

    None if there are none, as in a Hub model that is stored in another format.
    """
    from transformers.utils import cached_file

    directory = Path(model)
    if not directory.is_dir():
        # The files of a Hub model that has been loaded just now lie beside its configuration.
        directory = Path(str(cached_file(model, "config.json", local_files_only=True))).parent
    files = sorted(directory.glob("*.safetensors"))
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest() if files else None


def tokenizer_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over what turns text into ids: vocabulary, merges, normalization, added and special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else {"vocabulary": tokenizer.get_vocab()}
    # These two are of the last call, not of the tokenizer.
    rules |= {"truncation": None, "padding": None, "special": tokenizer.special_tokens_map}
    return hashlib.sha256(json.dumps(rules, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()


def tensors_sha256(tensors: Mapping[str, Tensor], *first: bytes) -> str:
    """SHA-256 over some bytes, then over tensors by name and content, in the order of their names."""
    digest = hashlib.sha256(b"".join(first))
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
