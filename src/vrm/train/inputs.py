"""What a run is made from beside its configuration, by counts and hashes: `--resume` goes on with the same alone."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from vrm.config import RunConfig
from vrm.data.facts import facts_of
from vrm.errors import ConfigError
from vrm.inference.extraction import backbone_fingerprint, backbone_settings
from vrm.model.checkpoint import tokenizer_sha256
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.results import read_object
from vrm.train.output import INPUTS
from vrm.train.processes import say
from vrm.train.setup import RunData


def run_inputs(
    config: RunConfig, data: RunData, model: VRMForSequenceClassification, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    """Counts and hashes of what a run is made from beside its configuration; on the backbone before training."""
    template = str(tokenizer.chat_template)
    return {
        "train": {"rows": len(data.train), "sha256": data.facts.sha256},
        "eval": {"rows": len(data.eval), "sha256": facts_of(data.eval).sha256},
        # Random weights are the seed's, but on another machine perhaps not to the last bit.
        "backbone": None if config.model.from_scratch else backbone_fingerprint(model),
        "settings": backbone_settings(model.config),
        "tokenizer": tokenizer_sha256(tokenizer),
        "chat_template": hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest(),
    }


_PARTS = {
    "train": "other rows for training",
    "eval": "other rows for evaluation",
    "backbone": "other weights of the backbone",
    "settings": "another configuration of the backbone",
    "tokenizer": "another tokenizer",
    "chat_template": "another chat template",
}


def compare_inputs(output: Path, inputs: dict[str, Any]) -> None:
    """Check on `--resume` that rows, backbone, tokenizer and template are those of the start.

    Raises:
        ConfigError: naming what has changed, with counts of rows.
    """
    path = output / INPUTS
    if not path.exists():
        say(f"{path} is missing, as in runs of older versions: whether data and backbone are the same is not checked")
        return
    before = read_object(path)
    others = {key: words for key, words in _PARTS.items() if before.get(key) != inputs[key]}
    changed = [words + _counts(before.get(key), inputs[key]) for key, words in others.items()]
    if changed:
        raise ConfigError(
            f"--resume: what the run in {output} was started with has changed: {', '.join(changed)}. "
            "Restore it, or start anew with --overwrite or another output_dir"
        )


def _counts(before: Any, now: Any) -> str:
    return f" ({now['rows']:,} now, {before['rows']:,} before)" if isinstance(now, dict) and before else ""
