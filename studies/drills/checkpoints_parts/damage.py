"""What is done to a model directory, and what the error must name."""

from __future__ import annotations

import json
import os
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"


@dataclass(frozen=True)
class Damage:
    """One thing done to a directory.

    Attributes:
        name: in a few words.
        apply: does it to a copy.
        words: one of them must be in the error.
        allowed: whether the directory may also load, if its rewards are those of the undamaged one.
        harmless: whether it may load with other rewards, as of a value that is allowed.
    """

    name: str
    apply: Callable[[Path], object]
    words: tuple[str, ...]
    allowed: bool = False
    harmless: bool = False


def change_json(file: Path, **changes: Any) -> None:
    """Replace entries of an object."""
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def change_weights(file: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Load, change and save, as somebody's script would."""
    weights = load_file(file)
    change(weights)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file, metadata={"format": "pt"})


def tensors(model: Path, file: str = WEIGHTS) -> Iterator[Damage]:
    """Every tensor absent, renamed, of another shape, or with a value that is no number; and some too many."""

    def damage(name: str, what: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
        return Damage(f"{name} {what}", lambda folder: change_weights(folder / file, change), (name,))

    for name, tensor in load_file(model / file).items():
        yield damage(name, "absent", lambda weights, name=name: weights.pop(name))
        yield damage(name, "renamed", lambda weights, name=name: weights.update({f"{name}_": weights.pop(name)}))
        yield damage(
            name,
            "of another shape",
            lambda weights, name=name: weights.update({name: torch.cat([weights[name].reshape(-1), torch.ones(1)])}),
        )
        if tensor.is_floating_point():
            for value in (float("nan"), float("inf")):
                yield damage(
                    name,
                    f"with {value}",
                    lambda weights, name=name, value=value: weights[name].view(-1).__setitem__(-1, value),
                )
    for name in ("score.extra", "backbone.extra.weight", "lm_head.weight", "x"):
        yield damage(name, "added", lambda weights, name=name: weights.update({name: torch.ones(3)}))


def whole_files(model: Path, file: str, each: int, rng: random.Random) -> Iterator[Damage]:
    """Weights cut, with a bit changed, or of another kind altogether."""
    data = (model / file).read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for number in range(each):
        size = rng.randrange(len(data))
        yield Damage(
            f"{file} cut to {size}", lambda folder, size=size: (folder / file).write_bytes(data[:size]), (file,)
        )
        place = rng.randrange(header) if number % 2 else rng.randrange(header, len(data))
        flipped = bytearray(data)
        flipped[place] ^= 1 << rng.randrange(8)
        # In the header the bit may lie in the name of the checksum itself, which changes nothing else.
        where = "header" if number % 2 else "numbers"
        yield Damage(
            f"{file}, a bit of its {where}",
            lambda folder, flipped=bytes(flipped): (folder / file).write_bytes(flipped),
            (file, "weights"),
            allowed=where == "header",
        )
    others = {
        "empty": b"",
        "zeros": bytes(1000),
        "text": b"hello",
        "a page": b"<!DOCTYPE html>",
        "a large header": (2**62).to_bytes(8, "little") + b"{}",
        "no header": (2).to_bytes(8, "little") + b"{}",
        "a list": (2).to_bytes(8, "little") + b"[]",
        "noise": rng.randbytes(5000),
        "gzip": b"\x1f\x8b" + data,
    }
    for name, content in others.items():
        yield Damage(
            f"{file} is {name}", lambda folder, content=content: (folder / file).write_bytes(content), (file, "weights")
        )


class Evil:
    """Unpickled, it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (_touch, (str(self.marker),))


def _touch(path: str) -> None:
    Path(path).touch()


def pickles(model: Path, marker: Path, file: str = WEIGHTS) -> Iterator[Damage]:
    """A pickle in place of safetensors, one that runs code and one that does not."""
    pickled = "pytorch_model.bin" if file == WEIGHTS else "adapter_model.bin"
    weights = load_file(model / file)

    def put(folder: Path, name: str, value: Any) -> None:
        (folder / file).unlink()
        torch.save(value, folder / name)

    for name in (pickled, file):
        yield Damage(f"pickled weights as {name}", lambda folder, name=name: put(folder, name, weights), (name,))
        yield Damage(
            f"a pickle that runs code as {name}",
            lambda folder, name=name: put(folder, name, {"x": Evil(marker)}),
            (name,),
        )


def remote_code(marker: Path) -> Iterator[Damage]:
    """Code in the directory that its configuration asks for."""
    source = f"open({str(marker)!r}, 'w')\nclass Evil: pass\n"

    def put(folder: Path, file: str, **entry: Any) -> None:
        (folder / "evil.py").write_text(source, encoding="utf-8")
        change_json(folder / file, **entry)

    classes = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForSequenceClassification"), "evil.Evil")
    yield Damage(
        "auto_map of config.json", lambda folder: put(folder, CONFIG, auto_map=classes), (CONFIG,), allowed=True
    )
    yield Damage(
        "auto_map and another model_type",
        lambda folder: put(folder, CONFIG, auto_map=classes, model_type="evil"),
        (CONFIG,),
    )
    tokenizer = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    yield Damage(
        "auto_map of the tokenizer",
        lambda folder: put(folder, "tokenizer_config.json", auto_map=tokenizer),
        ("tokenizer",),
        allowed=True,
    )
    yield Damage(
        "auto_map and class of the tokenizer",
        lambda folder: put(folder, "tokenizer_config.json", auto_map=tokenizer, tokenizer_class="Evil"),
        ("tokenizer",),
        allowed=True,
    )
    yield Damage(
        "a template that looks into Python",
        lambda folder: (folder / "chat_template.jinja").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        ("chat template",),
    )


def links(file: str) -> Iterator[Damage]:
    """A file that is a link to something else than a file, or to one outside."""

    words = (file, "has another chat template" if file.endswith(".jinja") else file)

    def link(folder: Path, target: str | Path) -> None:
        (folder / file).unlink()
        (folder / file).symlink_to(target)

    def pipe(folder: Path) -> None:
        (folder / file).unlink()
        os.mkfifo(folder / file)

    for target in ("/nowhere/at/all", file, ".", "/", "/etc/passwd", "/dev/zero", "/dev/null", "/dev/stdin"):
        yield Damage(
            f"{file} a link to {target if target != file else 'itself'}",
            lambda folder, target=target: link(folder, target),
            words,
        )
    yield Damage(f"{file} a pipe", pipe, words)


def indexes(model: Path) -> Iterator[Damage]:
    """Shards that lie elsewhere, or are of another format."""

    def put(folder: Path, **weight_map: Any) -> None:
        (folder / WEIGHTS).rename(folder / "one.safetensors")
        (folder / f"{WEIGHTS}.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8"
        )

    names = list(load_file(model / WEIGHTS))
    outside = dict.fromkeys(names, f"../{model.name}/{WEIGHTS}")
    index = f"{WEIGHTS}.index.json"
    yield Damage("shards in another folder", lambda folder: put(folder, **outside), (index,))
    yield Damage(
        "shards by an absolute path", lambda folder: put(folder, **dict.fromkeys(names, str(model / WEIGHTS))), (index,)
    )
    yield Damage(
        "shards that are absent", lambda folder: put(folder, **dict.fromkeys(names, "two.safetensors")), (index,)
    )
    yield Damage("shards that are pickled", lambda folder: put(folder, **dict.fromkeys(names, "one.bin")), (index,))
    yield Damage("an index of numbers", lambda folder: put(folder, **dict.fromkeys(names, 5)), (index,))
    yield Damage(
        "an index of half of the weights",
        lambda folder: put(folder, **dict.fromkeys(names[::2], "one.safetensors")),
        (names[1], "weights"),
        allowed=True,
    )


def torn_zip(file: Path, rng: random.Random) -> None:
    """One bit of what a ZIP archive holds."""
    with zipfile.ZipFile(file) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    data = bytearray(file.read_bytes())
    data[largest.header_offset + 64 + len(largest.filename) + rng.randrange(largest.file_size // 2)] ^= 1
    file.write_bytes(data)
