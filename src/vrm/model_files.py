"""What lies in a model directory, looked at before and after somebody else's loader: damage and mix-ups by file."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vrm.errors import CannotFollowError, CheckpointError, ConfigError, VrmError, in_one_line
from vrm.seals import is_intact

CONFIG, ADAPTER = "config.json", "adapter_config.json"
MODEL_TYPE = "vrm"
"""`model_type` of this package's own models."""

RATERS, RATERS_NAMES = "raters", "raters.json"
"""The folder of a model's raters, which `vrm adapt` writes, and the file in it that has their names."""

_SAFETENSORS, _PICKLED = "model.safetensors", "pytorch_model.bin"
_OTHER_WEIGHTS = ("*.safetensors", "*.bin", "*.h5", "*.msgpack", "*.gguf", "*.onnx", "*.ckpt", "*.pt", "*.pth")
TOKENIZER, STATE = "tokenizer_config.json", "trainer_state.json"
_TEMPLATES = ("chat_template.jinja", "additional_chat_templates", "chat_template.json", "tekken.json")
_READ = {".json", ".jinja", ".txt", ".model", ".tiktoken", ".safetensors", ".bin"}
"""Endings of files that loaders read; pipes and devices would keep them waiting."""

_LONGEST_POINTER = 1024
_HEADER_LENGTH = 8

_BEGINNINGS = {
    b"version https://git-lfs": "a Git LFS pointer and not the file itself (fetch it with: git lfs pull)",
    b"/annex/objects/": "a git-annex pointer and not the file itself (fetch it with: git annex get)",
    b"<!doctype html": "an HTML page, such as a failed download leaves",
    b"<html": "an HTML page, such as a failed download leaves",
    b"GGUF": "in the GGUF format",
    b"PK\x03\x04": "a ZIP archive, or weights that torch pickled",
}


def check_model_directory(path: str) -> None:
    """Look at a MODEL argument that is a path: a reward model of this package, or an adapter of one.

    Names of the Hub are looked up in its cache alone, and that where it cannot be reached. Reads the beginnings of
    files alone.

    Raises:
        CheckpointError: it cannot be such a model; names the file and what it is.
    """
    directory = _directory(path, "a reward model")
    if directory is not None:
        _check_no_checkpoint(directory)
    if directory is not None and not (directory / ADAPTER).is_file():
        kind = read_json(directory / CONFIG).get("model_type")
        if kind != MODEL_TYPE:
            raise CheckpointError(f"{directory / CONFIG} has model_type {kind!r}, expected {MODEL_TYPE!r}: not a VRM")
    check_weights(path)
    _check_not_pickled(Path(path))


def check_backbone_directory(path: str) -> None:
    """Look at a backbone that is a path, as `check_model_directory` does.

    Raises:
        CheckpointError: it cannot be a backbone; names the file and what it is.
    """
    directory = _directory(path, "a backbone")
    if directory is None:
        return
    if not (directory / CONFIG).is_file() and (directory / ADAPTER).is_file():
        base = read_json(directory / ADAPTER).get("base_model_name_or_path")
        raise CheckpointError(f"{path} is an adapter of {base}, and no whole backbone: merge it into that first")
    config = read_json(directory / CONFIG)
    if config.get("model_type") == MODEL_TYPE:
        base = config.get("backbone_name_or_path")
        made_from = f"; its own backbone was {base}" if base else ""
        raise CheckpointError(f"{path} is a reward model of this package, and no backbone{made_from}")
    check_weights(path)


def _directory(path: str, what: str) -> Path | None:
    """The directory of a model that is a path; None for names of the Hub."""
    place = Path(path)
    check_no_file(path, what)
    if not place.is_dir():
        if path.startswith((".", "/", "~")):
            raise CheckpointError(f"{path}: no such directory")
        _check_cached(path)
        return None
    for file in sorted(place.iterdir()):
        if file.suffix in _READ and not file.is_file() and not (file.is_dir() and not file.is_symlink()):
            leads = f"a link to {file.readlink()}, which is no file" if file.is_symlink() else "no file"
            raise CheckpointError(f"{file} is {leads}")
    if not (place / CONFIG).is_file() and not (place / ADAPTER).is_file():
        if (place / CONFIG).exists():
            raise CheckpointError(f"{place / CONFIG} is no file")
        inside = place / "model"
        hint = f"; did you mean {inside}?" if (inside / CONFIG).is_file() else ""
        raise CheckpointError(f"{path} has no {CONFIG}: expected a directory written by save_pretrained{hint}")
    return place


def _check_cached(name: str) -> None:
    """Raise CheckpointError for a name that is no directory, where the Hub is not asked and its cache has no such."""
    from huggingface_hub import constants

    cached = Path(constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}")
    if constants.HF_HUB_OFFLINE and not cached.exists():
        raise CheckpointError(
            f"{name}: there is no such directory here, and of the Hub no model of that name is in the cache, while "
            "offline mode is set (HF_HUB_OFFLINE)"
        )


def _check_no_checkpoint(directory: Path) -> None:
    """Raise CheckpointError for a checkpoint of a run, which has no tokenizer: those of other trainers have one."""
    if not (directory / STATE).is_file() or (directory / TOKENIZER).is_file():
        return
    model = directory.parent / "model"
    hint = f"did you mean {model}?" if (model / CONFIG).is_file() else "its run writes a model when it ends"
    raise CheckpointError(f"{directory} is a checkpoint of a run and no model; {hint}")


def check_chat_template(path: str) -> None:
    """Raise CheckpointError for a directory without the chat template that its model of conversations needs."""
    directory = Path(path)
    stated = directory / TOKENIZER
    if not (directory / CONFIG).is_file() or not stated.is_file():
        return
    if read_json(directory / CONFIG).get("conversational") is not True or read_json(stated).get("chat_template"):
        return
    if not any((directory / name).exists() for name in _TEMPLATES):
        raise CheckpointError(
            f"{directory} has no {_TEMPLATES[0]}, but its {CONFIG} says that the model is conversational: without the "
            "chat template it reads no text"
        )


def rater_names(directory: str | Path) -> dict[str, int]:
    """{name: votes} of the raters in a model's directory; empty where there are none.

    Raises:
        CheckpointError: the file cannot be read.
    """
    file = Path(directory) / RATERS / RATERS_NAMES
    if not file.is_file():
        return {}
    raters = read_json(file).get("raters")
    if not isinstance(raters, dict) or not all(isinstance(count, int) for count in raters.values()):
        raise CheckpointError(f"{file} lists no raters with their numbers of votes: run vrm adapt with --overwrite")
    return raters


def unknown_rater(name: str, names: Iterable[str]) -> CannotFollowError:
    """The error for a rater that a model does not know; names the nearest ones, or says how to make raters known."""
    known = list(names)
    if not known:
        return CannotFollowError(
            f"the model knows no raters, so {name!r} is not among them: fit them with vrm adapt MODEL FILE", "rater"
        )
    close = difflib.get_close_matches(name, known, 3, 0.6)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"it knows {', '.join(known[:3])}"
    more = ", ..." if not close and len(known) > 3 else ""
    return CannotFollowError(f"the model knows no rater {name!r} among its {len(known):,}; {hint}{more}", "rater")


def check_no_file(path: str, what: str) -> None:
    """Raise CheckpointError where a file stands in place of the directory of `what`, such as `a backbone`."""
    if Path(path).is_file():
        raise CheckpointError(f"{path} is a file ({kind_of(Path(path))}); {what} is the directory around {CONFIG}")


def read_json(file: Path) -> dict[str, Any]:
    """The object that a file of JSON holds.

    Raises:
        CheckpointError: it holds something else; says what.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(_no_json(file, error)) from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} holds no JSON object, but {type(value).__name__}")
    return value


def _no_json(file: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{file}: {error.strerror}"
    kind = kind_of(file) if file.is_file() else _UNKNOWN
    if file.is_file() and kind != _NAMES.get(file.suffix, _UNKNOWN):
        return f"{file} is {kind}"
    return f"{file} is no valid JSON" + (f": {error}" if isinstance(error, json.JSONDecodeError) else "")


_UNKNOWN = "of a format that is not known"
_NAMES = {
    ".safetensors": "weights in the safetensors format",
    ".bin": "pickled weights",
    ".pt": "pickled weights",
    ".json": "JSON",
}


def kind_of(file: Path) -> str:
    """What a file is, in words, by its beginning and its name."""
    with file.open("rb") as stream:
        start = stream.read(_LONGEST_POINTER)
    if not start:
        return "empty"
    for beginning, words in _BEGINNINGS.items():
        if start.lstrip()[: len(beginning)].lower() == beginning.lower():
            return words
    return _NAMES.get(file.suffix, _UNKNOWN)


def weight_files(directory: Path) -> list[Path]:
    """The files that the weights of a directory are read from; empty where it has none that torch reads.

    Raises:
        CheckpointError: for an index that cannot be read, or that names a file which is not there.
    """
    adapter = [directory / name for name in ("adapter_model.safetensors", "adapter_model.bin")]
    wanted = adapter if (directory / ADAPTER).is_file() else [directory / _SAFETENSORS, directory / _PICKLED]
    for file in wanted:
        if file.exists():
            return [file]
        index = directory / f"{file.name}.index.json"
        if index.is_file():
            names = sorted({str(name) for name in dict(read_json(index).get("weight_map") or {}).values()})
            for name in names:
                if Path(name).name != name or Path(name).suffix != file.suffix:
                    raise CheckpointError(f"{index} lists {name}, which is no {file.suffix} file in this directory")
                if not (directory / name).exists():
                    raise CheckpointError(f"{directory / name} is missing; {index} lists it among {len(names)} files")
            return [directory / name for name in names]
    return []


def check_weights(path: str) -> None:
    """Raise CheckpointError where the weights of a directory are absent, pointers, empty or cut short."""
    directory = Path(path)
    if not directory.is_dir():
        return
    files = weight_files(directory)
    if not files:
        others = sorted(file.name for pattern in _OTHER_WEIGHTS for file in directory.glob(pattern))
        hint = f"; it has {', '.join(others[:5])}" if others else ""
        raise CheckpointError(f"{path} holds no weights ({_SAFETENSORS} or {_PICKLED}){hint}")
    for file in files:
        problem = _weights_problem(file)
        if problem is not None:
            raise CheckpointError(f"{file} {problem}")


def _weights_problem(file: Path) -> str | None:
    if not file.is_file():
        return "is a directory, where a file of weights belongs" if file.is_dir() else "is no file"
    size, kind = file.stat().st_size, kind_of(file)
    if kind == "empty" or "pointer" in kind or "HTML" in kind:
        return f"is {kind}"
    if file.suffix != ".safetensors":
        return None
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(_HEADER_LENGTH), "little")
        if size < _HEADER_LENGTH or length > size - _HEADER_LENGTH:
            return f"is no whole safetensors file: its {size:,} bytes end inside the header"
        try:
            entries = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return "is no safetensors file: its header cannot be read"
    expected = _HEADER_LENGTH + length + max(ends, default=0)
    return f"is cut short: it has {size:,} of {expected:,} bytes" if size < expected else None


def check_seals(path: Any) -> None:
    """Raise CheckpointError for weights in a directory that are cut short, pickled, or not as they were written.

    All bytes are read, and compared with the checksum that a file has (`vrm.seals`).
    """
    directory = Path(str(path))
    if not directory.is_dir():
        return
    _check_not_pickled(directory)
    for file in weight_files(directory):
        problem = _weights_problem(file)
        if problem is None and not is_intact(file):
            problem = (
                "is damaged: by the checksum in its header, its weights are not those that it was written with; fetch "
                "it again"
            )
        if problem is not None:
            raise CheckpointError(f"{file} {problem}")


def _check_not_pickled(directory: Path) -> None:
    for file in weight_files(directory):
        if file.suffix != ".safetensors":
            raise CheckpointError(
                f"{file} holds pickled weights, which are not loaded, as they may run code: save the model anew as "
                "safetensors"
            )


@contextmanager
def loading(path: str, part: str = "") -> Iterator[None]:
    """Turn whatever a loader inside raises into one line that names the file at fault, where one can be found.

    `part` is put before the directory where none can be, such as `the tokenizer in `.

    Raises:
        CheckpointError: in place of every error that is not this package's.
        ConfigError: for a configuration that this package does not allow, with the file named.
    """
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{Path(path) / CONFIG}: {error}") from None
    except VrmError:
        raise
    except Exception as error:  # loaders of configurations, tokenizers and weights fail in any way
        raise CheckpointError(_why(Path(path), error, part)) from error


def _why(directory: Path, error: Exception, part: str) -> str:
    if directory.is_dir():
        for file in sorted(directory.iterdir()):
            problem = _file_problem(file) if file.is_file() else None
            if problem is not None:
                return problem
        problem = _own_code_problem(directory, str(error)) or _architecture_problem(directory / CONFIG)
        if problem is None and "tokenizer" in str(error) and not any(map(any, map(directory.glob, _VOCABULARIES))):
            problem = f"{directory} holds no vocabulary of a tokenizer (tokenizer.json, vocab.txt, tokenizer.model ...)"
        if problem is not None:
            return problem
        return f"{part}{directory} cannot be loaded: {in_one_line(error)}"
    return f"{directory}: there is no such directory here, and from the Hub it cannot be loaded: {in_one_line(error)}"


_VOCABULARIES = ("tokenizer.json", "vocab*", "merges.txt", "*.model", "*.tiktoken", "tekken.json")


def _own_code_problem(directory: Path, message: str) -> str | None:
    """Which file asks for code of the directory's own, where that is what a loader would not go on without."""
    if "trust_remote_code" not in message:
        return None
    asking = [
        name
        for name in (CONFIG, TOKENIZER)
        if (directory / name).is_file() and "auto_map" in read_json(directory / name)
    ]
    return f"{' and '.join(str(directory / name) for name in asking)}: its own code (auto_map) is not run"


def _architecture_problem(config: Path) -> str | None:
    """Why transformers cannot build what a configuration names; None where it can, or where there is none."""
    from transformers import CONFIG_MAPPING, __version__

    if not config.is_file():
        return None
    values = read_json(config)
    model_type = values.get("model_type")
    if model_type == MODEL_TYPE:
        values = values.get("backbone_config") or {}
        model_type = values.get("model_type")
    if model_type in CONFIG_MAPPING or model_type is None:
        return None if model_type else f"{config} has no model_type"
    own_code = "; its own code (auto_map) is not run" if values.get("auto_map") else ""
    return f"{config}: transformers {__version__} has no architecture {model_type!r}{own_code}"


def _file_problem(file: Path) -> str | None:
    """What is wrong with a file that a loader reads: the tokenizer's, the configuration's, a template."""
    if file.suffix not in _READ - {".safetensors", ".bin"}:
        return None
    kind = kind_of(file)
    if "pointer" in kind or "HTML" in kind:
        return f"{file} is {kind}"
    if file.suffix == ".json":
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            return _no_json(file, error)
    return f"{file} is empty" if kind == "empty" and file.suffix != ".jinja" else None
