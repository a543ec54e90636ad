"""Checksums in the headers of safetensors files: a bit that has changed on the way is found before it is used.

The checksum covers the tensors and their descriptions, and stands in the file's own metadata. Who writes the file anew
with other tensors leaves it out, as safetensors and transformers do; a file without one is taken as it is.
"""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from vrm.files import new_file_name

KEY = "vrm_crc32"
_METADATA = "__metadata__"
_LENGTH = 8
_BLOCK = 1 << 22


def seal(file: Path) -> None:
    """Write the checksum of a safetensors file into its header."""
    new = new_file_name(file)
    try:
        with file.open("rb") as stream, new.open("xb") as target:
            header, start = _header(stream)
            header.setdefault(_METADATA, {})[KEY] = _checksum(header, stream)
            text = json.dumps(header, separators=(",", ":")).encode()
            text += b" " * (-len(text) % _LENGTH)
            target.write(len(text).to_bytes(_LENGTH, "little") + text)
            stream.seek(start)
            shutil.copyfileobj(stream, target, _BLOCK)
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def is_intact(file: Path) -> bool:
    """Whether a whole safetensors file holds what it was sealed with; True for one that was not sealed."""
    with file.open("rb") as stream:
        header, _ = _header(stream)
        stated = header.get(_METADATA, {}).get(KEY)
        return stated is None or stated == _checksum(header, stream)


def _header(stream: BinaryIO) -> tuple[dict[str, Any], int]:
    """The descriptions of the tensors, and where their bytes begin; the stream stands there."""
    length = int.from_bytes(stream.read(_LENGTH), "little")
    return json.loads(stream.read(length)), _LENGTH + length


def _checksum(header: dict[str, Any], stream: BinaryIO) -> str:
    described = {name: entry for name, entry in header.items() if name != _METADATA}
    value = zlib.crc32(json.dumps(described, sort_keys=True).encode())
    while block := stream.read(_BLOCK):
        value = zlib.crc32(block, value)
    return f"{value:08x}"
