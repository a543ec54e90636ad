"""What can be told of a command's arguments before torch is imported: mistakes are answered at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from vrm.errors import CannotFollowError, CheckpointError, ConfigError, MissingExtraError
from vrm.model_files import (
    ADAPTER,
    CONFIG,
    MODEL_TYPE,
    check_chat_template,
    check_model_directory,
    rater_names,
    read_json,
    unknown_rater,
)
from vrm.user_files import at_home

_DEVICES = "auto cpu cuda ipu xpu mkldnn opengl opencl ideep hip ve fpga maia xla lazy vulkan mps meta hpu mtia"
"""Kinds of devices that torch knows, beside those that a package may add."""

_MOST_NAMED = 4


def check_arguments(*models: str, sources: Iterable[str] = (), device: str = "auto") -> None:
    """Refuse models, sources of rows and a device that are not there.

    Raises:
        CheckpointError: a model is no model directory and cannot be a Hub name.
        ConfigError: torch has no device of this kind.
        DataError: a source is no file, directory or Hub name.
    """
    for model in models:
        check_model(model)
    check_device(device)
    check_sources(sources)


def check_server_installed(command: str) -> None:
    """Raise MissingExtraError where the packages of the server are not there."""
    for package in ("fastapi", "uvicorn", "prometheus_client", "markdown_it"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "serve", command)


def check_sources(sources: Iterable[str]) -> None:
    """Raise DataError for a source of rows that is no file, directory or Hub name."""
    from vrm.data.readers import locate

    for source in sources:
        locate(source)


def check_device(device: str) -> None:
    """Raise ConfigError for a kind of device that neither torch has nor a package adds to it."""
    kind = device.partition(":")[0]
    if kind not in (*_DEVICES.split(), "privateuseone") and not entry_points(group="torch.backends"):
        raise ConfigError(f"device {device!r} cannot be used: torch has no such kind. Use auto, cpu, cuda, cuda:1, mps")


def check_model(model: str) -> None:
    """Raise CheckpointError for a MODEL argument that is no model directory and cannot be a Hub name."""
    path = Path(model)
    if not path.exists() and (model.startswith((".", "/", "~")) or model.count("/") != 1):
        raise CheckpointError(f"{model}: there is no such directory, and Hub names have the form OWNER/NAME")
    models = _models_inside(path)
    if models:
        named = ", ".join(models[:_MOST_NAMED]) + (", ..." if len(models) > _MOST_NAMED else "")
        raise CheckpointError(f"{path} is the directory of a run and no model; did you mean {named}?")
    check_model_directory(model)
    check_chat_template(model)


def check_objectives(model: str, emphasized: Iterable[str], left_out: Iterable[str]) -> None:
    """Raise CannotFollowError for steering by names that a model directory's configuration has not; rest: the engine.

    Args:
        model: a MODEL argument that has been checked.
        emphasized: names in `--emphasize`.
        left_out: names in `--without`.
    """
    without = set(left_out)
    given = {*emphasized, *without}
    if not given or not (Path(model) / CONFIG).is_file():
        return
    stored = read_json(Path(model) / CONFIG)
    named, free = stored.get("objectives") or [], stored.get("num_free_objectives")
    # Heads that know one reward alone call it so; which they are is not told without torch.
    others = ["reward", *(f"free_{number + 1}" for number in range(free if isinstance(free, int) else 0))]
    unknown = sorted(given - {*named, *others})
    if unknown and free is not None:
        close = difflib.get_close_matches(unknown[0], [*named, *others], 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        has = f"named objectives are: {', '.join(named)}" if named else "objectives are free_1, free_2 ..."
        raise CannotFollowError(
            f"steering names {', '.join(unknown)}, but the model's {has}{hint}",
            "without" if without & set(unknown) else "emphasis",
        )


def check_rater(model: str, rater: str | None) -> None:
    """Raise CannotFollowError for a rater that a model directory does not know; names of the Hub: the engine.

    Args:
        model: a MODEL argument that has been checked.
        rater: of `--rater`.
    """
    if rater is None or not Path(model).is_dir():
        return
    names = rater_names(model)
    if rater not in names:
        raise unknown_rater(rater, names)


def check_directory_name(name: str, what: str) -> None:
    """Raise ConfigError for a path to a directory that is not there; names of the Hub are left to it.

    Args:
        name: of a backbone or tokenizer.
        what: the key or option that it is given by.
    """
    is_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if is_path and not Path(at_home(name)).exists():
        raise ConfigError(f"{what}: there is no directory {name}, and Hub names have the form OWNER/NAME")


def _models_inside(path: Path) -> list[str]:
    """Models of the run, or of the runs, that a directory holds which is no model itself."""
    if (path / ADAPTER).exists() or _is_model(path):
        return []
    return [str(found) for found in (path / "model", *sorted(path.glob("*/model"))) if _is_model(found)]


def _is_model(path: Path) -> bool:
    try:
        return read_json(path / CONFIG).get("model_type") == MODEL_TYPE
    except CheckpointError:
        return False
