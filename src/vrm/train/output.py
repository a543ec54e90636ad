"""The output directory of a run: what stands in it, whether it may be written to, under which configuration.

Loads no torch, so that a directory that must not be written to is refused at once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vrm.config import RunConfig, parse_config
from vrm.errors import ConfigError
from vrm.files import remove_unfinished, write_text, writing
from vrm.renamed import with_new_keys
from vrm.results import from_json, read_object
from vrm.results.run import RunDocument

CONFIG = "config.json"
INPUTS = "run_inputs.json"
NUISANCE = "nuisance.json"
HISTORY = "history.jsonl"
SUMMARY = "run.json"
LOCK = "run.lock"
MODEL = "model"
CHECKPOINT = "checkpoint"
FREE = ("output_dir", "train.logging_steps", "train.report_to", "features.cache", "features.token_budget")
"""Keys that may change between start and `--resume`: the weights do not depend on them."""


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """Hold the directory of a run, without what writers have left there that were killed.

    Raises:
        ConfigError: another process trains into it.
    """
    if output.exists() and not output.is_dir():
        yield  # `check_output` refuses it
        return
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        lock = FileLock(output / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(f"output_dir: another process trains into {output}; choose another one") from None
    try:
        if (output / CONFIG).exists():
            remove_unfinished(output)
        yield
    finally:
        # Removed while it is held: nobody can then hold a lock on a removed file. Windows forbids the removal.
        with suppress(OSError):
            Path(lock.lock_file).unlink()
        lock.release()
        with suppress(OSError):
            output.rmdir()  # nothing was written


def check_output(output: Path, resume: bool, overwrite: bool) -> None:
    """Refuse a directory that holds another run, or something else than a run, before anything is read.

    Raises:
        ConfigError: if it must not be written to; it says what may be done.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output_dir: {output} is a file; name a directory")
    if not _is_ours(output / CONFIG):
        raise ConfigError(
            f"output_dir: {output} holds something else than a run (its config.json is not one of `vrm train`); "
            "choose another output_dir"
        )
    if resume and not is_finished(output) and not checkpoints(output):
        raise ConfigError(f"--resume: there is no checkpoint in {output}")
    if resume or overwrite:
        return
    if is_finished(output) or (output / MODEL / "config.json").exists():
        raise ConfigError(
            f"{output} holds a finished run: choose another output_dir, or replace the run with --overwrite"
        )
    if checkpoints(output):
        raise ConfigError(
            f"{output} holds an unfinished run: continue it with --resume, replace it with --overwrite, or choose "
            "another output_dir"
        )


def _is_ours(file: Path) -> bool:
    """Whether there is no such file, or `vrm train` can have written it."""
    if not file.exists():
        return True
    try:
        return "output_dir" in json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        # Cut short by a crash of an older version, say; a model's would not be.
        return True


def is_finished(output: Path) -> bool:
    """Whether a run has come to its end there."""
    return (output / SUMMARY).exists()


def checkpoints(output: Path) -> list[Path]:
    """Checkpoints of a run, whole or not, the latest first."""
    found = (path for path in output.glob(f"{CHECKPOINT}-*") if path.is_dir())
    return sorted((path for path in found if path.name.rpartition("-")[2].isdigit()), key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """Optimizer steps that a checkpoint was written after."""
    return int(checkpoint.name.rpartition("-")[2])


def _clear(output: Path) -> None:
    """Remove what a run has left, but for cached features, which are found by content."""
    # What says that the run is finished goes first: what is half removed is then an unfinished run. What it was started
    # with goes last: its checkpoints must not be gone on from under another configuration.
    (output / SUMMARY).unlink(missing_ok=True)
    for folder in (*checkpoints(output), output / MODEL):
        shutil.rmtree(folder, ignore_errors=True)
    for name in (HISTORY, NUISANCE, CONFIG, INPUTS):
        (output / name).unlink(missing_ok=True)


def compare_configuration(config: RunConfig) -> None:
    """Check on `--resume` that the configuration is that of the start; a directory without one is taken as it is.

    Raises:
        ConfigError: naming every key that is another than when the run was started.
    """
    path = Path(config.output_dir) / CONFIG
    if not path.exists():
        return
    try:
        stored, _ = with_new_keys(json.loads(path.read_text(encoding="utf-8")))
    except ValueError:
        raise ConfigError(f"--resume: {path} is no configuration; start anew with --overwrite") from None
    stored = _with_defaults(stored)
    changed = [change for change in _changes(stored, _values(config)) if change[0] not in FREE]
    if changed:
        lines = "\n".join(f"  {key}: {after!r} now, {before!r} before" for key, before, after in changed)
        raise ConfigError(
            f"--resume: the run in {config.output_dir} was started with another configuration\n{lines}\n"
            "Give the same one, or choose another output_dir"
        )


def _with_defaults(stored: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration with the keys that it is too old to have; one that is not read any more as it is."""
    try:
        return _values(parse_config(stored))
    except ConfigError:
        return stored


def run_config(output: Path) -> RunConfig:
    """The configuration of the run in a directory.

    Raises:
        ConfigError: it is no directory of a run, or its configuration is none that this version reads.
    """
    path = output / CONFIG
    if not path.is_file() or not _is_ours(path):
        hint = f"; did you mean {output.parent}?" if (output.parent / SUMMARY).exists() else ""
        raise ConfigError(f"{output} is no directory of a run, as `vrm train` writes it{hint}")
    try:
        values, _ = with_new_keys(json.loads(path.read_text(encoding="utf-8")))
    except ValueError:
        raise ConfigError(f"{path} is no configuration of a run; train it again") from None
    return parse_config(values, str(path))


def _changes(before: Any, after: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two configurations differ: dotted name, value before and value after."""
    pair = [value for value in (before, after) if value is not None]
    if pair and all(isinstance(value, Mapping) for value in pair):
        old, new = before or {}, after or {}
        for key in {**old, **new}:
            yield from _changes(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif _sources(before) and _sources(after) and len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _changes(old, new, f"{name}.{number}")
    elif before != after:
        yield name, before, after


def _sources(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value)


def finished_run(config: RunConfig) -> RunDocument | None:
    """What a run left that `--resume` finds finished; None where there is something left to do.

    Raises:
        ConfigError: it was started with another configuration.
    """
    compare_configuration(config)
    output = Path(config.output_dir)
    return from_json(RunDocument, read_object(output / SUMMARY), output / SUMMARY) if is_finished(output) else None


def _values(config: RunConfig) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(config.model_dump_json())
    return values


def begin_output(config: RunConfig, inputs: dict[str, Any]) -> None:
    """Make the directory of a new run, without what another run has left there, and write what it starts with."""
    output = Path(config.output_dir)
    if (output / CONFIG).exists() or is_finished(output):
        _clear(output)
    write_text(output / INPUTS, json.dumps(inputs, indent=2) + "\n")
    write_text(output / CONFIG, json.dumps(_values(config), indent=2) + "\n")
