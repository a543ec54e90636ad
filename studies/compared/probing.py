"""A probe answers one question about one package, by doing it or by looking where it would be.

Probes run under interpreters with other versions of everything, so this module needs the standard library alone.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RAN, LOOKED, UNTRIED = "ran", "looked", "untried"
"""What a cell rests on: something was done here; options, fields or names were read; neither was possible."""


@dataclass(frozen=True)
class Cell:
    """An answer.

    Attributes:
        says: the words of the table.
        basis: one of `RAN`, `LOOKED`, `UNTRIED`.
        how: what was done, or where somebody looked.
    """

    says: str
    basis: str
    how: str


Probe = Callable[["Workshop"], Cell]


def beyond_pairs(column: Callable[..., Cell]) -> dict[str, Probe]:
    """Probes of labels beyond pairs, by question: does a package that reads pairs use a column of them?

    Args:
        column: tries one column, given by its name and value, on every row.
    """
    return {
        "soft": lambda workshop: column(workshop, preference=0.5),
        "raters": lambda workshop: column(workshop, judgments=[{"annotator": "a", "preference": 0.0}]),
        "ratings": lambda workshop: column(
            workshop, chosen_ratings={"accuracy": 1.0}, rejected_ratings={"accuracy": 5.0}
        ),
    }


@dataclass
class Workshop:
    """What the probes of a package share.

    Attributes:
        material: pairs and backbones, the same for all packages.
        work: a directory of the package's own.
        kept: what an earlier probe made that a later one needs, such as a trained model.
    """

    material: Path
    work: Path
    kept: dict[str, Any] = field(default_factory=dict)

    def rows(self, name: str = "train") -> list[dict[str, Any]]:
        """Rows of one file of the material."""
        return [json.loads(line) for line in (self.material / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]

    @property
    def backbone(self) -> str:
        """Directory of a small random decoder with a chat template."""
        return str(self.material / "decoder")


def ran(says: str, how: str) -> Cell:
    """An answer that was seen to hold."""
    return Cell(says, RAN, how)


def looked(says: str, how: str) -> Cell:
    """An answer by reading what a package offers."""
    return Cell(says, LOOKED, how)


def untried(reason: str, how: str) -> Cell:
    """No answer, and why."""
    return Cell(f"not tried: {reason}", UNTRIED, how)


def absent(words: Iterable[str], names: Iterable[str], where: str) -> Cell:
    """`no` where no name holds any of these words; a name that does is an error, since somebody must look at it.

    Raises:
        AssertionError: with the names.
    """
    listed = list(names)
    assert listed, f"nothing to look through in {where}"
    words = list(words)
    hits = [name for name in listed if any(word in name.lower() for word in words)]
    assert not hits, f"{where} has {', '.join(hits)}"
    return looked("no", f"none of {len(listed)} names has {' or '.join(f'`{word}`' for word in words)}: {where}")


def defined(package: str, below: str = "") -> list[str]:
    """Names of all classes, functions, arguments and fields in a package's source, which is read and not imported.

    Args:
        package: that is installed.
        below: a folder or file of it; all of it by default.
    """
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent / below
    names = set()
    for path in [root] if root.is_file() else sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
    return sorted(names)


def options(path: Path) -> list[str]:
    """Options that a command adds to its parser, read from its source."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    adding = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"]
    return sorted(arg.value for call in adding for arg in call.args if isinstance(arg, ast.Constant))


@contextmanager
def positions() -> Iterator[list[int]]:
    """Token positions that go into the first layer of a decoder within this block, one number a call."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    counted: list[int] = []

    def count(module: Any, inputs: Any) -> None:
        if type(module).__name__.endswith("DecoderLayer") and module.self_attn.layer_idx == 0:
            counted.append(inputs[0].shape[:-1].numel())

    hook = register_module_forward_pre_hook(count)
    try:
        yield counted
    finally:
        hook.remove()


def epoch(train: Callable[[int], Any]) -> int:
    """Positions of one epoch: those of two less those of one, so that what else a run reads does not count."""
    taken = []
    for epochs in (1, 2):
        with positions() as counted:
            train(epochs)
        taken.append(sum(counted))
    return taken[1] - taken[0]


def tokens(workshop: Workshop) -> tuple[int, int]:
    """Tokens of the training pairs: with each prompt once, and with it before each completion."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(workshop.backbone)
    shared = twice = 0
    for row in workshop.rows():
        prompt, chosen, rejected = (
            len(tokenizer(tokenizer.apply_chat_template(messages, tokenize=False))["input_ids"])
            for messages in (row["prompt"], row["prompt"] + row["chosen"], row["prompt"] + row["rejected"])
        )
        twice += chosen + rejected
        shared += chosen + rejected - prompt
    return shared, twice


def answer(probe: Probe, workshop: Workshop) -> Cell:
    """What a probe finds; one that fails is an answer too, in the words of the error."""
    try:
        return probe(workshop)
    except Exception as error:
        line = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        return Cell("failed", RAN, line.replace("|", "/"))


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions of these packages."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def run(probes: dict[str, Probe], packages: Iterable[str]) -> None:
    """Run probes in their order and write what they found; `MATERIAL WORK RESULT [ROW...]` are on the command line."""
    material, work, result = (Path(argument) for argument in sys.argv[1:4])
    chosen = sys.argv[4:] or list(probes)
    work.mkdir(parents=True, exist_ok=True)
    workshop = Workshop(material, work)
    terminal = os.fdopen(int(os.environ["COMPARED_PROGRESS"]), "w", encoding="utf-8")
    cells = {}
    for name in chosen:
        started = time.process_time()
        cell = cells[name] = answer(probes[name], workshop)
        seconds = time.process_time() - started
        print(f"{name}: {cell.says} ({cell.basis}, {seconds:.1f} s)", file=terminal, flush=True)
    found = {"versions": versions(packages), "cells": {name: asdict(cell) for name, cell in cells.items()}}
    result.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
