"""A model directory for others: adapters merged, one dtype, no paths of this machine, optionally with its own code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vrm.choices import EMBEDDED_BACKBONES, StoredDtype
from vrm.errors import check_choice
from vrm.export.flatten import flatten
from vrm.files import check_new_directory, new_folder
from vrm.model.checkpoint import load_model, save_model
from vrm.model.configuration_vrm import VRMConfig
from vrm.model.heads.registry import own_heads
from vrm.model_files import TOKENIZER

if TYPE_CHECKING:
    import torch

ENTRIES = {
    "vrm.model.configuration_vrm": ["VRMConfig"],
    "vrm.model.modeling_vrm": ["VRMForSequenceClassification"],
}
HEAD_REGISTRY, BACKBONES = "vrm.model.heads.registry", "vrm.model.embedded"
AS_NAMED = '''"""Where a backbone lies. The embedded ones are found by the package alone."""


def resolve_backbone(name_or_path):
    """A backbone as it is named."""
    return name_or_path
'''
AUTO_MAP = {
    "AutoConfig": "configuration_vrm.VRMConfig",
    "AutoModelForSequenceClassification": "modeling_vrm.VRMForSequenceClassification",
}

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
FILE_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".gz")


@contextmanager
def new_directory(target: Path, *, source: str | Path, overwrite: bool) -> Iterator[Path]:
    """A temporary directory beside `target`, which takes its place when the block ends without an error.

    Args:
        target: must not exist, be empty, or (with `overwrite`) hold a model.
        source: what is read meanwhile; it is never overwritten.
        overwrite: replace a model that is there.

    Raises:
        ConfigError: if `target` must not be written.
        OutputError: if it cannot be.
    """
    check_new_directory(target, source=source, overwrite=overwrite)
    with new_folder(target) as temporary:
        yield temporary


def write_model(source: str | Path, directory: Path, *, remote_code: bool = False, dtype: str | None = None) -> Any:
    """Write the weights, configuration, tokenizer and chat template, and the code if asked for.

    Args:
        source: model directory or Hub name; an adapter's is merged into its backbone.
        directory: where to.
        remote_code: add the modeling code, for `trust_remote_code=True`.
        dtype: of the backbone's weights, a `StoredDtype`; None keeps the stored one. The head is always float32.

    Returns:
        the model as written.

    Raises:
        ConfigError: for another dtype, or code of a head from outside of the package.
        CheckpointError: if `source` is not a variational reward model.
    """
    if dtype is not None:
        check_choice("dtype", dtype, StoredDtype)
    stored = _dtype(dtype, source)
    # Adapters are merged in float32; whole models need no more memory than they will have.
    is_adapter = (Path(source) / "adapter_config.json").is_file()
    model, tokenizer = load_model(source, dtype=None if is_adapter else stored)
    model.backbone.to(stored)
    model.config.dtype = stored
    _forget_places(model.config)
    # A model that was exported with its code before brings its map along, but not the files.
    vars(model.config).pop("auto_map", None)
    if remote_code:
        check_choice("head of a model whose code is exported", model.config.head, own_heads())
        model.config.auto_map = dict(AUTO_MAP)
    save_model(model, tokenizer, directory)
    make_tokenizer_portable(directory)
    if remote_code:
        for name, text in model_code().items():
            (directory / name).write_text(text, encoding="utf-8")
    return model


def model_code() -> dict[str, str]:
    """{file name: source} of everything that a model needs to run without this package."""
    # What the package imports by name when it is needed, the exported code must import outright.
    heads = own_heads()
    imports = [f"from vrm.model.heads.{name} import {head}" for name, head in heads.items()]
    table = ", ".join(f'"{name}": {head}' for name, head in heads.items())
    lines = [
        '"""From a head\'s name to its class."""',
        "",
        "from vrm.errors import check_choice",
        *imports,
        "",
        f"_CLASSES = {{{table}}}",
        "",
        "",
        "def head_class(name):",
        '    """The class of a head."""',
        '    check_choice("head", name, _CLASSES)',
        "    return _CLASSES[name]",
    ]
    return flatten(ENTRIES, {HEAD_REGISTRY: "\n".join(lines) + "\n", BACKBONES: AS_NAMED})


def make_tokenizer_portable(directory: Path) -> None:
    """Write a saved tokenizer's settings by their older names, which transformers 4 and 5 both read.

    Programs that load rewards or templates (RewardBench, servers) often still run on transformers 4.
    """
    file = directory / TOKENIZER
    settings = json.loads(file.read_text(encoding="utf-8"))
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        # Of that class transformers 4 would also expect token types, which decoders do not take.
        settings.setdefault("model_input_names", ["input_ids", "attention_mask"])
    if isinstance(settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _dtype(name: str | None, source: str | Path) -> torch.dtype:
    """The dtype asked for, else that of the stored weights, which `load_model` reads as float32."""
    import torch

    wanted = name or VRMConfig.from_pretrained(str(source)).dtype or "float32"
    return wanted if isinstance(wanted, torch.dtype) else getattr(torch, wanted)


def _forget_places(config: Any) -> None:
    """Leave out where the backbone lay on this machine: of no use elsewhere, and nobody's business."""
    if config.backbone_name_or_path and is_local(config.backbone_name_or_path):
        config.backbone_name_or_path = None
    if is_local(config.backbone_config._name_or_path):
        config.backbone_config._name_or_path = ""


def is_local(name: str) -> bool:
    """Whether a name of a model is, or can only be, a path."""
    return Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or Path(name).exists()


def hub_name(name: str | None) -> str | None:
    """The Hub's name of a backbone or data set; None if it is a file or directory, or unknown."""
    if name is None or name in EMBEDDED_BACKBONES:
        return name and EMBEDDED_BACKBONES[name]
    if name.startswith("hub:"):
        return "/".join(name.removeprefix("hub:").partition(":")[0].split("/")[:2])
    plain = name.partition(":")[0]
    is_file = plain.endswith(FILE_SUFFIXES) or is_local(plain)
    return plain if HUB_NAME.fullmatch(plain) and not is_file else None


def backbone_name(source: str | Path) -> str | None:
    """Where a model says that its backbone's weights came from; None if it does not say."""
    return VRMConfig.from_pretrained(str(source)).backbone_name_or_path
