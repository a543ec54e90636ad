"""Checksums in safetensors files: any changed bit is told, and what others write is taken as it is."""

from __future__ import annotations

import random

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vrm.seals import KEY, is_intact, seal


def test_a_sealed_file_holds_the_same_tensors_and_tells_any_changed_bit(tmp_path):
    tensors = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5, dtype=torch.bfloat16)}
    file = tmp_path / "model.safetensors"
    save_file(tensors, file, metadata={"format": "pt"})
    assert is_intact(file)
    seal(file)
    seal(file)
    assert is_intact(file)
    assert all(torch.equal(load_file(file)[name], tensor) for name, tensor in tensors.items())
    with safe_open(file, "pt") as opened:
        assert opened.metadata().keys() == {"format", KEY}
    data = file.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    for place in random.Random(0).sample(range(start, len(data)), 20):
        changed = bytearray(data)
        changed[place] ^= 4
        file.write_bytes(changed)
        assert not is_intact(file)
    save_file(tensors, file, metadata={"format": "pt"})
    assert is_intact(file)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
