"""Print docs/config.md, made from the classes in `vrm.config`. Run `make docs` after changing a key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from vrm.config import RunConfig

HEAD = """\
# The configuration of a training run

<!-- Written by docs/generate_config.py from src/vrm/config.py; change it there and run `make docs`. -->

`vrm train CONFIG.yaml` reads one YAML file. A key that is not in these tables, or a value that is not allowed, is an
error that names the key; all problems of a file are listed together. Only `output_dir` and `data.train` must be given.

```yaml
output_dir: runs/first
data:
  train: [pairs.jsonl]        # a path, or a section with the keys of `data.train[]`
model:
  head: vrm
```

`--set` replaces one key from the command line and may be repeated:
`vrm train run.yaml --set model.head=bt --set seed=3`. The value is YAML (`--set 'model.feature_layers=[1, 3, -1]'`,
`--set train.early_stopping=null`), and positions in a list are numbers (`--set data.train.0.path=other.jsonl`).

What is read (`data`, `model.backbone`, `model.tokenizer`, `model.chat_template`, `model.from_scratch`) is looked for
from the working directory, and where there is nothing from the folder of the file. If both places have it, the working
directory's is taken, and a warning says so. What is written (`output_dir`, `features.cache`) is always relative to the
working directory. `~` is your home directory.

Where the default is null, nothing is set, or the value is chosen as the last column says. Symbols and equation numbers
are those of [theory.md](theory.md); rows and their columns are described in [data.md](data.md).
"""

_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def render() -> str:
    """The whole page."""
    return HEAD + "".join(f"\n{section}" for section in _sections(RunConfig, ""))


def _sections(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """A heading and a table for the keys of `model` itself, then the same for the sections inside it."""
    title = f"`{prefix}`" if prefix else "Top level"
    summary = (model.__doc__ or "").strip()
    rows, inner = [], []
    for name, info in model.model_fields.items():
        key = f"{prefix}.{name}" if prefix else name
        nested = section_of(info.annotation)
        if nested is not None:
            inner += _sections(nested, key + ("[]" if get_origin(info.annotation) is list else ""))
        if nested is None or get_origin(info.annotation) is list:
            rows.append(f"| `{key}` | {_type(info)} | {_default(info)} | {info.description} |")
    yield "\n".join(
        [f"## {title}", "", summary, "", "| key | value | default | meaning |", "|---|---|---|---|", *rows, ""]
    )
    yield from inner


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The class of a section, or of the sections in a list; None for a plain value."""
    if get_origin(annotation) is list:
        annotation = get_args(annotation)[0]
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _type(info: FieldInfo) -> str:
    bounds = []
    for constraint in info.metadata:
        if getattr(constraint, "min_length", None):
            bounds.append("not empty")
        bounds += [
            f"{words} {getattr(constraint, name):g}"
            for name, words in _BOUNDS.items()
            if getattr(constraint, name, None) is not None
        ]
    return ", ".join([_words(info.annotation), *bounds])


def _words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join("null" if kind is NoneType else _words(kind) for kind in arguments)
    if origin is Literal:
        return _listed(arguments)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return _listed(annotation)
    if origin is list:
        return "list of sections" if section_of(annotation) else f"list of {_words(arguments[0])}"
    if origin is dict:
        return f"mapping of {_words(arguments[0])} to {_words(arguments[1])}"
    return _WORDS[annotation]


def _listed(values: Iterable[str]) -> str:
    *others, last = (f"`{value}`" for value in values)
    return f"{', '.join(others)} or {last}" if others else last


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True, validated_data={})
    return "required" if value is PydanticUndefined else f"`{json.dumps(value)}`".replace('"', "")


if __name__ == "__main__":
    print(render(), end="")
