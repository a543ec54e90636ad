"""The output of scoring: a file that an interrupted run can continue, or standard output."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from vrm import __version__
from vrm.data.load import Source
from vrm.data.readers import locate
from vrm.errors import DataError
from vrm.files import write_text, writing
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import resolve_precision
from vrm.inference.score import Scorer
from vrm.model.checkpoint import tensors_sha256, tokenizer_sha256

STANDARD_STREAM = "-"
_BLOCK = 1 << 20
_GZIP_WINDOW_BITS = 31


class ScoreSink:
    """Output rows to a stream that cannot be continued: standard output, a pipe.

    Attributes:
        rows_done: rows that were written, those of an earlier run included.
    """

    compressed = False

    def __init__(self, stream: BinaryIO, name: str = "standard output") -> None:
        self._file, self.name, self.rows_done = stream, name, 0

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows as lines of JSON, whole, and hand them to the operating system."""
        data = "".join(map(encode_row, rows)).encode()
        with writing(self.name):
            self._file.write(gzip.compress(data, mtime=0) if self.compressed else data)
            self._file.flush()
        self.rows_done += len(rows)

    def complete(self) -> None:
        """All rows are written."""

    def close(self) -> None:
        """Nothing more is written; a stream stays open."""


class ScoreFile(ScoreSink):
    """Rows to a file of JSON lines, as one gzip member a window if its name ends in .gz.

    Until the file is complete, `<path>.progress.json` beside it holds the settings it is written under. A later run
    with the same settings counts the complete rows, cuts off a half-written last one and goes on after them.

    Args:
        path: the file.
        settings: model, input and options, on which the rows depend, as JSON values.
        overwrite: start anew, also where the file exists.

    Raises:
        DataError: the file is there and complete (or not ours), it was begun under other settings, another process
            writes to it, or its directory does not exist.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        self.path, self.name = Path(path), str(path)
        self.progress = self.path.with_name(self.path.name + ".progress.json")
        self.compressed = self.path.suffix == ".gz"
        if not self.path.parent.is_dir():
            raise DataError(f"{self.path}: the directory {self.path.parent} does not exist")
        self._lock = FileLock(f"{self.path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise DataError(f"{self.path}: another process is writing to it") from None
        try:
            self._begin(settings, overwrite)
        except BaseException:
            self._unlock()
            raise

    def _begin(self, settings: Mapping[str, Any], overwrite: bool) -> None:
        if not overwrite and self.path.exists() and self.path.stat().st_size:
            check_continuable(self.path, self.progress, settings)
        if overwrite and self.path.exists():
            os.truncate(self.path, 0)
        # Before the file itself: one without these notes is complete.
        write_text(self.progress, json.dumps({"settings": settings}, indent=1, sort_keys=True) + "\n")
        self._file = self.path.open("r+b" if self.path.exists() else "w+b")
        self.rows_done, end = (_complete_members if self.compressed else _complete_lines)(self._file)
        self._file.seek(end)
        self._file.truncate()

    def complete(self) -> None:
        """Remove the progress file: nothing remains to be done."""
        self.progress.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; without `complete`, a later run can continue it."""
        try:
            with writing(self.name):
                self._file.close()
        finally:
            self._unlock()

    def _unlock(self) -> None:
        # Removed while it is held: nobody can then hold a lock on a removed file. Windows forbids the removal.
        with suppress(OSError):
            Path(self._lock.lock_file).unlink()
        self._lock.release()


def check_continuable(path: Path, progress: Path, settings: Mapping[str, Any]) -> None:
    """Whether an output that is there can be gone on with.

    Args:
        path: of the output.
        progress: the file that holds the settings it was begun under, until it is complete.
        settings: of now.

    Raises:
        DataError: it is complete or not ours, was begun under other settings, or its input cannot be read again.
    """
    if not progress.exists():
        raise DataError(f"{path} exists already and is complete. Choose another name, or pass --overwrite")
    try:
        earlier = json.loads(progress.read_text())["settings"]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{progress} cannot be read, so {path} cannot be continued. Pass --overwrite") from None
    if settings["input"].get("path") == STANDARD_STREAM:
        raise DataError(
            f"{path} was begun and not completed, and rows from standard input or a pipe cannot be told from "
            "others: pass --overwrite to start anew, or give the input as a file"
        )
    changed = [
        f"{name} was {json.dumps(earlier.get(name))}, now {json.dumps(settings.get(name))}"
        for name in sorted(set(earlier) | set(settings))
        if earlier.get(name) != settings.get(name)
    ]
    if changed:
        raise DataError(
            f"{path} was begun under other settings: {'; '.join(changed)}. Run the command as before to "
            "continue it, or pass --overwrite to start anew"
        )


def open_sink(path: str | None, settings: Callable[[], Mapping[str, Any]], overwrite: bool = False) -> ScoreSink:
    """The sink for an output path: standard output for None or `-`, a stream for devices and pipes, else `ScoreFile`.

    Args:
        path: of the output.
        settings: called where the output is a file that may be continued.
        overwrite: start such a file anew.
    """
    if path is None or path == STANDARD_STREAM:
        return ScoreSink(sys.stdout.buffer)
    if Path(path).exists() and not Path(path).is_file():
        return ScoreSink(Path(path).open("wb"), path)
    return ScoreFile(path, settings(), overwrite)


def write_scores(
    windows: Iterable[Sequence[Mapping[str, Any]]], sink: ScoreSink, progress: Callable[[], object] | None = None
) -> None:
    """Write output rows to a sink.

    Args:
        windows: output rows in lists, those that the sink holds already left out (`Scorer.windows`).
        sink: closed at the end, whatever happens.
        progress: called after each window.
    """
    try:
        for window in windows:
            sink.write(window)
            if progress is not None:
                progress()
        sink.complete()
    finally:
        sink.close()


def encode_row(row: Mapping[str, Any]) -> str:
    """A row as a line of JSON; in ASCII where a copied column holds half of a surrogate pair, which UTF-8 has not."""
    line = json.dumps(row, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(row, allow_nan=False)
    return line + "\n"


def _complete_lines(file: BinaryIO) -> tuple[int, int]:
    """Number of complete lines, and the position after the last of them."""
    count = end = position = 0
    file.seek(0)
    while block := file.read(_BLOCK):
        count += block.count(b"\n")
        if b"\n" in block:
            end = position + block.rindex(b"\n") + 1
        position += len(block)
    return count, end


def _complete_members(file: BinaryIO) -> tuple[int, int]:
    """Number of lines in complete gzip members, and the position after the last of those."""
    count = end = position = lines = 0
    file.seek(0)
    member = zlib.decompressobj(_GZIP_WINDOW_BITS)
    while block := file.read(_BLOCK):
        while block:
            try:
                lines += member.decompress(block).count(b"\n")
            except zlib.error:
                return count, end
            position += len(block) - len(member.unused_data)
            block = member.unused_data
            if member.eof:
                count, end, lines = count + lines, position, 0
                member = zlib.decompressobj(_GZIP_WINDOW_BITS)
    return count, end


def scoring_settings(rewards: Mapping[str, Any], rows: Source) -> dict[str, Any]:
    """Everything that the output rows depend on, for `ScoreFile`. `on_bad_rows` may change between runs.

    Args:
        rewards: of `reward_settings`.
        rows: the input.
    """
    return {
        **rewards,
        "input": source_fingerprint(str(rows.path)),
        "columns": dict(rows.mapping or {}),
        **({} if rows.recipe is None else {"recipe": rows.recipe}),
    }


def reward_settings(scorer: Scorer) -> dict[str, Any]:
    """The part of `scoring_settings` that comes from the model and how it is asked."""
    engine, options = scorer.engine, scorer.options
    steering = engine.steering
    device = next(engine.model.parameters()).device
    return {
        "version": __version__,
        "model": model_fingerprint(engine),
        "reward_scale": scorer.view.reward_scale,
        "kappa": options.kappa,
        **({} if options.beta is None else {"beta": options.beta}),
        "keep": list(options.keep),
        "emphasize": dict(steering.emphasis) if steering else {},
        "without": sorted(steering.without) if steering else [],
        **_rater_settings(engine),
        "precision": str(resolve_precision(engine.options.precision, device)).removeprefix("torch."),
        "on_overlong": engine.tokenize.on_overlong,
    }


def _rater_settings(engine: RewardEngine) -> dict[str, Any]:
    """Whose rewards are written, by name and tilt; nothing for the population's."""
    if engine.steering is None or engine.steering.rater is None or engine.raters is None:
        return {}
    rater = engine.raters.of(engine.steering.rater)
    digest = tensors_sha256({"loc": rater.tilt.loc, "covariance": rater.tilt.covariance})
    return {"rater": rater.name, "tilt": digest[:16]}


def model_fingerprint(engine: RewardEngine) -> str:
    """SHA-256 over weights, configuration, tokenizer and chat template: all that rewards come from."""
    config = {key: value for key, value in engine.model.config.to_dict().items() if key != "_name_or_path"}
    template = getattr(engine.tokenizer, "chat_template", None)
    rest = json.dumps([config, template, tokenizer_sha256(engine.tokenizer)], sort_keys=True, default=str)
    return tensors_sha256(engine.model.state_dict(), rest.encode())[:16]


def source_fingerprint(source: str) -> dict[str, Any]:
    """Path, size and hash of a file; names, sizes and hashes of the first mebibyte of a directory's; else the name."""
    location = locate(source)
    if location.comes_once:
        return {"path": STANDARD_STREAM}
    path = Path(location.path)
    name = str(path.resolve()) if path.exists() else location.label
    fingerprint: dict[str, Any] = {"path": name, "split": location.split}
    if path.is_file():
        with path.open("rb") as file:
            fingerprint["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        fingerprint["size"] = path.stat().st_size
    elif path.is_dir():
        files = sorted(entry for entry in path.rglob("*") if entry.is_file())
        fingerprint["files"] = {str(entry.relative_to(path)): [entry.stat().st_size, _start(entry)] for entry in files}
    return fingerprint


def _start(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.sha256(file.read(_BLOCK)).hexdigest()[:16]
