"""What all documents share: their kinds, how they are written and how they are read.

A document is a frozen dataclass. Its JSON has the same names and nothing else. Pydantic checks documents when they are
read; results that were just computed need no check.
"""

from __future__ import annotations

import json
import platform
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

import vrm
from vrm.errors import DataError
from vrm.metrics import json_ready
from vrm.user_files import not_utf8_reason, other_encoding

Form = TypeVar("Form")

SCHEMA = 1
"""Version of all documents: what this package writes, and the only one that it reads."""


class Kind(StrEnum):
    """What a document is."""

    EVALUATION = "evaluation"
    COMPARISON = "comparison"
    AUDIT = "audit"
    DOCTOR = "doctor"
    RUN = "run"
    QUICKSTART = "quickstart"
    DISTILLATION = "distillation"
    ADAPTATION = "adaptation"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, kw_only=True)
class Document:
    """What every document begins with.

    Attributes:
        kind: what it is.
        schema: version of its form.
    """

    kind: Kind
    schema: int = SCHEMA


@dataclass(frozen=True, kw_only=True)
class MeasuredModel:
    """A model, so that no other one is taken for it.

    Attributes:
        model: as the user named it; empty where the file does not say.
        head: the kind of its head.
        model_sha256: of the weights as stored.
        template_sha256: of the chat template; None without one.
        backbone_sha256: of the backbone as loaded.
    """

    model: str = ""
    head: str | None = None
    model_sha256: str | None = None
    template_sha256: str | None = None
    backbone_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelDocument(MeasuredModel, Document):
    """A document about one model.

    Attributes:
        settings: everything that the figures depend on.
        versions: {package: version}.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


class Part:
    """A part of a document that has uses of its own."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN is None, infinities are the strings "inf" and "-inf"."""
        plain: dict[str, Any] = json_ready(self)
        return plain


@dataclass(frozen=True, kw_only=True)
class WithData:
    """A result of rows that were read.

    Attributes:
        data: what reading them found: counts, and rows that could not be used.
    """

    data: dict[str, Any] = field(default_factory=dict)


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    packages = {"python": platform.python_version(), "vrm": vrm.__version__}
    for package in ("torch", "transformers", "accelerate", "datasets", "peft", "numpy"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            packages[package] = "absent"
    return packages


def to_text(value: Any) -> str:
    """A document as indented JSON: NaN is null, infinities are the strings "inf" and "-inf"."""
    return json.dumps(json_ready(value), indent=2, allow_nan=False) + "\n"


def read_object(path: str | Path) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        DataError: there is no such file, or it holds something else.
    """
    return parse_object(path, read_text(path))


def parse_object(place: str | Path, text: str) -> dict[str, Any]:
    """The JSON object that a text holds; errors name `place`."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    except RecursionError:
        raise DataError(f"{place}: JSON that is nested too deeply") from None
    if not isinstance(value, dict):
        raise DataError(f"{place}: must be a JSON object, got {type(value).__name__}")
    return value


def from_json(form: type[Form], value: Any, place: str | Path) -> Form:
    """A value of this type from what `json_ready` made of one.

    Keys that the type lacks are ignored. What is absent or null takes the field's default; without a default, numbers
    are NaN, texts and collections empty, and parts have nothing in them.

    Args:
        form: a dataclass, or any type made of dataclasses.
        value: plain values from JSON.
        place: the file, for messages.

    Raises:
        DataError: a value is of another type, or a count is absent; the message names the field.
    """
    try:
        read: Form = _adapter(form).validate_python(_completed(form, value))
    except ValidationError as error:
        first, *more = error.errors(include_url=False, include_context=False)
        reason = "it is absent" if first["input"] is None else first["msg"]
        where = ".".join(map(str, first["loc"])) or "the document"
        others = f" ({len(more)} more fields are wrong)" if more else ""
        raise DataError(f"{place}: {where}: {reason}{others}") from None
    return read


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
_hints: Callable[[Any], dict[str, Any]] = cache(get_type_hints)

_UNKNOWN: Mapping[Any, Any] = {float: float("nan"), str: "", tuple: (), list: (), dict: {}}


def _completed(form: Any, value: Any) -> Any:
    """The value with what is absent or null filled in, as far as the type has something to fill in."""
    origin, arguments = get_origin(form) or form, get_args(form)
    if origin in (Union, types.UnionType):
        if value is None and types.NoneType in arguments:
            return None
        kinds = [kind for kind in arguments if kind is not types.NoneType]
        return _completed(_nearest(kinds, value), value)
    if value is None:
        value = {} if is_dataclass(origin) else _UNKNOWN.get(origin)
    if is_dataclass(origin) and isinstance(value, dict):
        return {
            entry.name: _completed(_hints(origin)[entry.name], value.get(entry.name))
            for entry in fields(origin)
            if value.get(entry.name) is not None or (entry.default is MISSING and entry.default_factory is MISSING)
        }
    if origin is dict and isinstance(value, dict):
        return {key: _completed(arguments[1], entry) for key, entry in value.items()}
    if origin in (tuple, list) and isinstance(value, list):
        return [_completed(arguments[0], entry) for entry in value]
    return value


def _nearest(kinds: list[Any], value: Any) -> Any:
    """Of several types the one that has most of an object's keys; else the first."""
    if not isinstance(value, dict):
        return kinds[0]
    return max(kinds, key=lambda kind: is_dataclass(kind) and len({entry.name for entry in fields(kind)} & {*value}))


def read_text(path: str | Path) -> str:
    """The text of a file; raises DataError if it is absent or not UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file or directory") from None
    except UnicodeDecodeError as error:
        encoding = other_encoding(error.object)
        reason = f"not UTF-8 text (byte {error.start})" if encoding is None else not_utf8_reason(encoding)
        raise DataError(f"{path}: {reason}") from None
