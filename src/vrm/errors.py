"""The exception tree. Every error that this package raises on purpose derives from `VrmError`::

    VrmError
    ├── ConfigError        a configuration key or value is wrong
    │   └── CannotFollowError  a model cannot give the reward that an option asks for
    ├── DataError          a row, a file or a column is wrong
    │   ├── RowError       one row: file, line, field, value and reason
    │   │   └── InvalidRowError  every problem of one row (in `vrm.data.problems`)
    │   ├── InvalidDataError   the report of a whole file (in `vrm.data.validation`)
    │   └── OverlongError  a text does not fit the backbone and `on_overlong` is `error`
    ├── ModelError         a checkpoint, backbone or head is wrong
    │   ├── CheckpointError  missing or unexpected weights, wrong hash, wrong format
    │   └── BoundaryError    the end of the prompt was not found, or found more than once
    ├── NumericsError      a loss or reward is not finite
    ├── LostProcessError   another process of the same run has ended
    ├── OutputError        the disk is full, or a place cannot be written to
    ├── MissingExtraError  an optional dependency is not installed
    └── ServerError        a reward server did not give what it was asked for
        ├── RefusedError       it says that the request is wrong, or that the token is
        └── UnavailableError   it cannot be reached, is busy or failed, after all retries

Errors that users meet for wrong arguments also derive from `ValueError` (or `ImportError`), so that code which
expects Python's own exceptions keeps working.
"""

from __future__ import annotations

from collections.abc import Iterable


class VrmError(Exception):
    """Base of all errors of this package; the command line prints its text and exits with code 1.

    Example:
        >>> from vrm import VrmError, load_config
        >>> try:
        ...     load_config("absent.yaml")
        ... except VrmError as error:
        ...     print(error)
        absent.yaml: no such file
    """


class ConfigError(VrmError, ValueError):
    """A configuration key or value is not allowed."""


class CannotFollowError(ConfigError):
    """A model cannot give the reward that an option asks for.

    Attributes:
        option: its name, such as `kappa`, `emphasis` or `rater`.
    """

    def __init__(self, message: str, option: str) -> None:
        super().__init__(message)
        self.option = option


class DataError(VrmError, ValueError):
    """Input data cannot be used."""


class RowError(DataError):
    """One row cannot be used.

    Attributes:
        file: path or name of the source the row came from.
        line: 1-based line (or row) number in that source.
        field: the offending field.
        reason: what was wrong, with the value and what is allowed.
    """

    def __init__(self, file: str, line: int, field: str, reason: str) -> None:
        self.file, self.line, self.field, self.reason = file, line, field, reason
        super().__init__(f"{file}:{line}: field '{field}': {reason}")


class OverlongError(DataError):
    """A text is longer than the backbone can read."""


class ModelError(VrmError):
    """A model cannot be built, loaded or run."""


class CheckpointError(ModelError):
    """A checkpoint does not hold what its configuration promises."""


class BoundaryError(ModelError, ValueError):
    """The boundary between prompt and completion is absent or ambiguous in a row of token ids."""


class NumericsError(VrmError, ArithmeticError):
    """A value that must be finite is not."""


class LostProcessError(VrmError):
    """Another process of the same run has ended, or does not answer."""


class OutputError(VrmError, OSError):
    """A result cannot be written: the disk is full, say, or the folder is read-only."""


class MissingExtraError(VrmError, ImportError):
    """A feature needs an optional dependency.

    Args:
        package: the distribution that is missing.
        extra: the extra of this package that installs it.
        feature: what needs it, in words.
        command: what installs it, where that is not the extra alone.
    """

    def __init__(self, package: str, extra: str, feature: str, command: str = "") -> None:
        command = command or f"pip install 'vrm[{extra}]'"
        super().__init__(f"{feature} needs the package '{package}', which is not installed. Install it with: {command}")


class ServerError(VrmError):
    """A reward server did not give what it was asked for; raised by `vrm.client`.

    Attributes:
        status: HTTP status of the last answer; None if there was none.
        param: the field of the request that is wrong, if the server named one.
    """

    def __init__(self, message: str, status: int | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param = status, param


class RefusedError(ServerError, ValueError):
    """The server refuses the request itself (4xx); sending it again would not help."""


class UnavailableError(ServerError):
    """The server cannot be reached, is too busy, takes too long or fails, even after retries."""


def check_choice(name: str, value: object, allowed: Iterable[str]) -> None:
    """Raise ConfigError, which names what is allowed, for a value that is not among it."""
    choices = list(allowed)
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def in_one_line(error: BaseException) -> str:
    """Type and first line of somebody else's error, for a message that says what it kept us from."""
    reason = str(error).strip() or "no reason given"
    return f"{type(error).__name__}: {reason.splitlines()[0]}"
