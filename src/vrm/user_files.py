"""Files as people name them and hand them over: paths, pipes, encodings, and YAML in which no key may stand twice."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vrm.errors import ConfigError

BOM = b"\xef\xbb\xbf"
"""The mark that some programs put before UTF-8."""

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_ZEROS = {
    (False, True, True, True): "UTF-32LE",
    (True, True, True, False): "UTF-32BE",
    (False, True, False, True): "UTF-16LE",
    (True, False, True, False): "UTF-16BE",
}
"""Where the zero bytes of two or of one ASCII character stand."""


def other_encoding(start: bytes) -> str | None:
    """UTF-16 or UTF-32 where a text begins so, by its mark or by the zero bytes of its first characters; else None."""
    for mark, name in _MARKS.items():
        if start.startswith(mark):
            return name
    return _ZEROS.get(tuple(byte == 0 for byte in start[:4]))  # type: ignore[call-overload, no-any-return]


def at_home(path: str) -> str:
    """The path with the home directory in the place of a leading `~` or `~USER`, as the shell writes it."""
    return os.path.expanduser(path)


def beside(path: str, folder: Path, key: str) -> str:
    """Where a relative path leads: from the working directory, and where there is nothing, from a file's own folder.

    What is in neither, such as a name on the Hub, stays as it is.

    Args:
        path: of a file or directory, perhaps with `:SPLIT` behind it.
        folder: where the file lies that names the path.
        key: what the path is called there, for the warning where both places have something.
    """
    near = folder / path
    if not _exists(near) or path in ("", "-") or os.path.isabs(path):
        return path
    if not _exists(Path(path)):
        return os.path.abspath(near)
    if Path(path).exists() and near.exists() and not Path(path).samefile(near):
        words = f"{key}: '{path}' is taken from the working directory, though {folder} has one too"
        warnings.warn(words, UserWarning, stacklevel=2)
    return path


def _exists(path: Path) -> bool:
    base, _, split = str(path).rpartition(":")
    return path.exists() or (bool(base) and "/" not in split and Path(base).is_dir())


def is_stream(path: str | Path) -> bool:
    """Whether this is a pipe, a terminal or the like: its bytes come once, so it must not be opened to look first."""
    place = Path(path)
    return place.exists() and not place.is_file() and not place.is_dir()


def without_bom(data: bytes) -> bytes:
    """The bytes without the marks of UTF-8 at their beginning."""
    while data.startswith(BOM):
        data = data[len(BOM) :]
    return data


def not_utf8_reason(name: str) -> str:
    """What to tell about a text in another encoding."""
    return f"the text is {name}, and only UTF-8 is read; save it as UTF-8 (iconv -f {name} -t UTF-8)."


def read_text(file: Path) -> str:
    """The text of a file in UTF-8, with or without a mark.

    Raises:
        ConfigError: it is in another encoding, which the message names.
    """
    data = file.read_bytes()
    encoding = other_encoding(data)
    if encoding is not None:
        raise ConfigError(f"{file}: {not_utf8_reason(encoding)}")
    try:
        return without_bom(data).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not valid UTF-8 at byte {error.start}; save the file as UTF-8") from error


def load_yaml(text: str) -> Any:
    """The value of a YAML document.

    Raises:
        ConfigError: it is not YAML, or a mapping gives a key twice; the message names the key and its lines.
    """
    import yaml

    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        repeated = list(_repeated_keys(node, set()))
        if repeated:
            raise ConfigError("; ".join(repeated))
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"not valid YAML: {error}") from error
    finally:
        loader.dispose()


def _repeated_keys(node: Any, seen: set[int]) -> Iterator[str]:
    """Keys that a mapping gives more than once; those that it merges in (`<<`) may be given anew."""
    if node is None or id(node) in seen or isinstance(node.value, str):
        return
    seen.add(id(node))
    if not isinstance(node.value[0] if node.value else None, tuple):
        for entry in node.value:
            yield from _repeated_keys(entry, seen)
        return
    lines: dict[tuple[str, str], list[int]] = {}
    for key, _ in node.value:
        if isinstance(key.value, str) and key.tag != "tag:yaml.org,2002:merge":
            lines.setdefault((key.tag, key.value), []).append(key.start_mark.line + 1)
    for (_, name), places in lines.items():
        if len(places) > 1:
            yield f"the key '{name}' is given {times(len(places))}, in {_listed(places)}; keep one of them"
    for _, value in node.value:
        yield from _repeated_keys(value, seen)


def times(count: int) -> str:
    """`twice`, `3 times`."""
    return "twice" if count == 2 else f"{count} times"


def _listed(lines: list[int]) -> str:
    *others, last = dict.fromkeys(lines)
    return f"lines {', '.join(map(str, others))} and {last}" if others else f"line {last}"
