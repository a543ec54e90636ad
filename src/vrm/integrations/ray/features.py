"""Features of a frozen backbone, computed by the workers of a cluster and kept in the ordinary cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vrm.choices import OnBadRows
from vrm.data.content_keys import KEY_BYTES, content_keys
from vrm.data.load import Source
from vrm.data.schema import Judgment
from vrm.data.tokenized import OverlongReport, TokenizedJudgment
from vrm.errors import DataError, ModelError, VrmError
from vrm.inference.extraction import FeatureExtractor
from vrm.inference.feature_store import FeatureStore
from vrm.inference.score import ScoringRow, windows_of
from vrm.integrations.ray.cluster import Workers, kept
from vrm.integrations.ray.scoring import check_readable
from vrm.integrations.ray.windows import COLUMN, Batch, Window, batch_of, read_windows, without_rows
from vrm.integrations.ray.workers import WorkerSettings

Keys = NDArray[np.bytes_]
"""Keys of features, sorted."""


@dataclass
class Extraction:
    """What was done.

    Attributes:
        rows: that were read and fit the model.
        bad: rows that could not be read.
        computed: features that the cache did not hold.
        report: rows over the model's limit of tokens, counted.
    """

    report: OverlongReport
    rows: int = 0
    bad: int = 0
    computed: int = 0


@dataclass(frozen=True)
class _Features:
    """What a worker makes of a window: features that were not there, and their keys."""

    window: Window
    report: OverlongReport
    rows: int = 0
    bad: int = 0
    keys: list[bytes] = field(default_factory=list)
    values: NDArray[np.float32] | None = None
    error: str | None = None


def extract_features(
    workers: Workers,
    settings: WorkerSettings,
    rows: Source | Sequence[Judgment],
    cache: str | Path,
    *,
    on_bad_rows: str = OnBadRows.ERROR,
    progress: Callable[[Extraction], object] | None = None,
) -> Extraction:
    """Compute the features of prompts and completions that a cache does not hold yet.

    `vrm train` with `features.cache` and the same backbone, layers and precision finds them there, and so do
    `vrm evaluate`, `compare` and `audit` with `--feature-cache`. This process alone writes; workers need not see the
    cache. After an interruption the same call goes on, since what is there is not computed again.

    Args:
        workers: of `ray_workers`.
        settings: of the model whose backbone is read; its head is not used.
        rows: an input that `vrm score` reads, or judgments, such as a benchmark's.
        cache: directory of the cache.
        on_bad_rows: one of `vrm.choices.OnBadRows`.
        progress: called after every window.

    Raises:
        ConfigError: another process cannot read the rows.
        DataError: a row cannot be read, where it may not be skipped.
        ModelError: the model cannot be loaded, or the cluster failed.
        OutputError: the cache cannot be written to.
    """
    worker = replace(settings, device=workers.device, threads=workers.threads)
    width, fingerprint, limit, problem = workers.ask_one(_described, worker)
    if problem is not None:
        raise ModelError(problem)
    store = FeatureStore(width, cache, fingerprint)
    done = Extraction(OverlongReport(limit))
    read: Callable[..., Iterator[Batch]]
    if isinstance(rows, Source):
        check_readable(rows)
        read, given = read_windows, {"inputs": [(rows, 0)]}
    else:
        read, given = _windows_of_judgments, {"judgments": workers.keep(list(rows))}
    known = workers.keep(np.sort(np.array(store.keys, dtype=f"S{KEY_BYTES}")))
    for features in workers.stream(read, given, ExtractWindows, worker, known, on_bad_rows):
        _take(features, store, done)
        if progress is not None:
            progress(done)
    return done


def _take(features: _Features, store: FeatureStore, done: Extraction) -> None:
    if features.values is not None:
        before = len(store)
        store.add(features.keys, features.values)
        done.computed += len(store) - before
    done.rows, done.bad = done.rows + features.rows, done.bad + features.bad
    done.report.merge(features.report)
    if features.error is not None:
        raise DataError(features.error)


def _windows_of_judgments(_: Batch, judgments: Any) -> Iterator[Batch]:
    """The windows of judgments in the object store, as `read_windows` gives those of a source."""
    rows = (ScoringRow(number, {}, judgment) for number, judgment in enumerate(kept(judgments), 1))
    for number, window in enumerate(windows_of(rows)):
        yield batch_of([Window(number, window)])


class ExtractWindows:
    """Features of windows, for `map_batches`.

    Args:
        settings: of the model.
        known: keys of features that are there already, in the object store.
        on_bad_rows: what to do with rows that cannot be read.
    """

    def __init__(self, settings: WorkerSettings, known: Any, on_bad_rows: str) -> None:
        self._engine, self._known, self._on_bad_rows = settings.engine(on_bad_rows), kept(known), on_bad_rows

    def __call__(self, batch: Batch) -> Batch:
        """Features of the windows of a batch."""
        return batch_of([self._features(window) for window in batch[COLUMN]])

    def _features(self, window: Window) -> _Features:
        engine = self._engine
        engine.reset_report()
        bad = [row.error for row in window.rows if row.error is not None]
        judgments = [row.judgment for row in window.rows if row.judgment is not None]
        result = _Features(without_rows(window), engine.report, bad=len(bad), error=window.error)
        if bad and self._on_bad_rows == OnBadRows.ERROR:
            return replace(result, error=str(bad[0]))
        try:
            tokenized = list(engine.tokenize.many(judgments))
        except VrmError as problem:
            return replace(result, error=str(problem))
        fresh = [item for item in tokenized if self._missing(item)]
        result = replace(result, rows=len(tokenized))
        if not fresh:
            return result
        extractor = FeatureExtractor(engine.model, int(engine.tokenizer.pad_token_id or 0), engine.options)
        store = extractor.table(fresh).store
        return replace(result, keys=store.keys, values=store.take(np.arange(len(store))))

    def _missing(self, item: TokenizedJudgment) -> bool:
        prompt, completions = content_keys(item)
        keys = np.array([prompt, *completions], dtype=self._known.dtype)
        places = np.searchsorted(self._known, keys)
        return bool(np.any(np.append(self._known, b"")[places] != keys))


def _described(settings: WorkerSettings) -> tuple[int, dict[str, Any], int, str | None]:
    """Width and fingerprint of a model's features, and its limit of tokens; or what is wrong with it, in words."""
    try:
        engine = settings.engine()
    except VrmError as error:
        return 0, {}, 0, str(error)
    extractor = FeatureExtractor(engine.model, options=engine.options)
    return extractor.model.config.feature_size, extractor.fingerprint, engine.report.limit, None
