"""Short names for models and files: the shortest ends of their paths that tell them apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """A short name for each path; a trailing `model`, which every run has, is left out.

    Where the shortest names are equal, folders are put before them until they differ.
    """
    distinct = list(dict.fromkeys(paths))
    whole = {path: _parts(path) for path in distinct}
    parts = {path: _without_model(parts, set(whole.values())) for path, parts in whole.items()}
    names: dict[str, str] = {}
    for path in distinct:
        for size in range(1, len(parts[path]) + 1):
            name = "/".join(parts[path][-size:])
            if all(parts[other] == parts[path] or parts[other][-size:] != parts[path][-size:] for other in distinct):
                break
        names[path] = name
    return names


def benchmark_names(keys: Iterable[str]) -> dict[str, str]:
    """A short name for each NAME or NAME=PATH: NAME if all paths of it are the same, else with a short path."""
    given = {key: key.partition("=")[::2] for key in keys}
    paths: dict[str, list[str]] = {}
    for name, path in given.values():
        paths.setdefault(name, []).extend([str(PurePath(path))] if path else [])
    short = {name: short_names(given) for name, given in paths.items()}
    return {
        key: f"{name}={short[name][str(PurePath(path))]}" if path and len(short[name]) > 1 else name
        for key, (name, path) in given.items()
    }


def steering_words(settings: Mapping[str, object]) -> str:
    """`without creativity, safety=5`: how a model was steered, empty if it was not."""
    steering = settings.get("steering")
    if not isinstance(steering, Mapping):
        return ""
    emphasis, without = (_names(steering.get(key)) for key in ("emphasis", "without"))
    words = [f"without {', '.join(without)}"] if without else []
    return ", ".join([*emphasis, *words])


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in PurePath(path).parts if part != "/") or (path,)


def _without_model(parts: tuple[str, ...], others: set[tuple[str, ...]]) -> tuple[str, ...]:
    """Without a trailing `model`, unless what is left is the path of another one."""
    return parts[:-1] if len(parts) > 1 and parts[-1] == "model" and parts[:-1] not in others else parts


def _names(value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{name}={count}" for name, count in value.items()]
    return [str(entry) for entry in value] if isinstance(value, list | tuple) else []
