"""What workers of a cluster do, in this process: no cluster is started here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from vrm.cli.main import main
from vrm.data.load import Source
from vrm.data.schema import Judgment
from vrm.errors import ConfigError, DataError, ModelError, RowError
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.score import ScoreOptions, Scorer
from vrm.integrations.ray import RayScorer, ScoreRows, WorkerSettings, cluster, extract_features, features
from vrm.integrations.ray.cluster import Workers
from vrm.integrations.ray.windows import COLUMN, batch_of
from vrm.ray_session import Roll

WORDS = ["water", "city", "long", "good", "safe", "plan", "story"]


class Here(Workers):
    """Workers that are this process; `lost` windows never arrive."""

    lost: tuple[int, ...] = ()

    def ask_one(self, question: Any, *arguments: Any) -> Any:
        return question(*arguments)

    def keep(self, value: Any) -> Any:
        return value

    def stream(self, read: Any, given: Any, work: Any, *arguments: Any) -> Iterator[Any]:
        worker = work(*arguments)
        for number, batch in enumerate(read({}, **given)):
            if number not in self.lost:
                yield from worker(batch)[COLUMN]


HERE = Here(1, 1, "cpu")


@pytest.fixture(autouse=True)
def _nothing_is_in_a_cluster(monkeypatch):
    monkeypatch.setattr(features, "kept", lambda value: value)


@pytest.fixture
def source(tmp_path) -> Path:
    """600 rows, three windows; the 40th and the 500th cannot be read."""
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": WORDS[n % 7], "completions": [f"{WORDS[n % 5]} {n}", WORDS[n % 3]], "id": n, "note": "x"}
        for n in range(600)
    ]
    rows[39] = {"prompt": 3}
    rows[499] = {"prompt": "b"}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(windows) -> list[dict]:
    return list(chain.from_iterable(windows))


def test_the_rows_and_counts_are_those_of_one_process(tiny_model_dir, source):
    options = ScoreOptions(keep=("note",), on_bad_rows="skip", kappa=1.0)
    engine = RewardEngine.from_pretrained(tiny_model_dir, options=ExtractionOptions("float32"))
    alone = Scorer(engine, options)
    together = RayScorer(HERE, WorkerSettings(str(tiny_model_dir)), options)
    assert rows_of(together.windows(Source(source))) == rows_of(alone.windows(Source(source)))
    assert (together.counts, together.report) == (alone.counts, alone.report)
    assert together.counts.unreadable == 2
    assert [row["line"] for row in rows_of(together.windows(Source(source), skip=570))] == list(range(571, 601))


def test_a_directory_is_one_stream_for_workers_and_the_parts_of_one_process(
    tiny_model_dir, tmp_path, monkeypatch, capsys
):
    """Workers are made once for all parts; one that was begun by an earlier run is gone on with."""
    folder, made = tmp_path / "in", list[Any]()
    folder.mkdir()
    rows = [{"prompt": WORDS[n % 7], "completion": f"{WORDS[n % 5]} {n}", "id": n} for n in range(700)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows[:600]), folder / "a.parquet")
    (folder / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[600:650]))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows[650:]), folder / "c.parquet")

    def score(output: str, *options: str) -> None:
        with pytest.raises(SystemExit) as stop:
            main(["score", str(tiny_model_dir), str(folder), "-o", f"{tmp_path / output}/", *options])
        assert stop.value.code == 0

    def stream(self: Here, read: Any, given: Any, work: Any, *arguments: Any) -> Iterator[Any]:
        made.append(work)
        return Here.stream(self, read, given, work, *arguments)

    counted = type("Counted", (Here,), {"stream": stream})(2, 1, "cpu")
    monkeypatch.setattr("vrm.integrations.ray.cluster.ray_workers", lambda *_: nullcontext(counted))
    score("one")
    score("two", "--ray", "local")
    assert len(made) == 1
    assert "wrote 700 rows" in capsys.readouterr().err
    names = ["a.parquet", "b.jsonl", "c.parquet"]
    for name in names:
        one, two = (tmp_path / output / name for output in ("one", "two"))
        if name.endswith(".parquet"):
            assert pyarrow.parquet.read_table(one) == pyarrow.parquet.read_table(two)
        else:
            assert one.read_text() == two.read_text()


def test_sources_that_are_read_together_stay_apart(tiny_model_dir, source):
    options = ScoreOptions(on_bad_rows="skip")
    scorer = RayScorer(HERE, WorkerSettings(str(tiny_model_dir)), options)
    parts = [rows_of(windows) for windows in scorer.each([(Source(source), 590), (Source(source, limit=3), 0)])]
    assert [[row["line"] for row in part] for part in parts] == [list(range(591, 601)), [1, 2, 3]]


def test_a_bad_row_ends_the_run_after_the_rows_before_it(tiny_model_dir, source):
    windows = RayScorer(HERE, WorkerSettings(str(tiny_model_dir))).windows(Source(source))
    assert [row["line"] for row in next(windows)] == list(range(1, 40))
    with pytest.raises(DataError, match=r"rows.jsonl:40: field 'prompt'"):
        next(windows)


def test_a_window_that_is_lost_is_an_error(tiny_model_dir, source):
    for lost, message in ((1, "gave window 2 where 1 comes"), (3, "only a part")):
        workers = Here(1, 1, "cpu")
        object.__setattr__(workers, "lost", (lost,))
        scorer = RayScorer(workers, WorkerSettings(str(tiny_model_dir)), ScoreOptions(on_bad_rows="skip"))
        with pytest.raises(ModelError, match=message):
            list(scorer.windows(Source(source)))


def test_a_model_that_is_not_there_is_told_before_rows_are_read(tmp_path):
    with pytest.raises(ModelError, match="absent"):
        RayScorer(HERE, WorkerSettings(str(tmp_path / "absent")))


def test_batches_of_a_dataset_get_rewards(tiny_model_dir):
    work = ScoreRows(WorkerSettings(str(tiny_model_dir)), ScoreOptions(on_bad_rows="skip"), {"completion": "answer"})
    rows = [{"prompt": "water", "answer": "good", "n": 1}, {"prompt": "city", "answer": None, "n": 2}]
    batch = work(pyarrow.Table.from_pylist(rows)).to_pylist()
    engine = RewardEngine.from_pretrained(tiny_model_dir, options=ExtractionOptions("float32"))
    expected = engine.judge([Judgment("water", ["good"])]).moments.mean[0, 0].item()
    assert batch[0]["rewards"] == [pytest.approx(expected, abs=1e-5)]
    assert (batch[0]["n"], batch[0]["error"]) == (1, None)
    assert batch[1]["rewards"] is None
    assert "<batch>:2" in batch[1]["error"]
    with pytest.raises(ConfigError, match="batch_format"):
        work({"prompt": ["water"]})
    with pytest.raises(RowError, match="answer"):
        ScoreRows(WorkerSettings(str(tiny_model_dir)), None, {"completion": "answer"})(pyarrow.Table.from_pylist(rows))


def test_features_that_are_there_are_not_computed_again(tiny_model_dir, source, tmp_path):
    settings, cache = WorkerSettings(str(tiny_model_dir)), tmp_path / "cache"
    with pytest.raises(DataError, match=":40:"):
        extract_features(HERE, settings, Source(source), cache)
    first = extract_features(HERE, settings, Source(source, limit=300), cache, on_bad_rows="skip")
    assert (first.rows, first.bad) == (299, 1)
    seen = []
    again = extract_features(HERE, settings, Source(source), cache, on_bad_rows="skip", progress=seen.append)
    assert (again.rows, again.bad) == (598, 2)
    assert len(seen) == 4
    assert extract_features(HERE, settings, Source(source), cache, on_bad_rows="skip").computed == 0


def test_features_of_judgments(tiny_model_dir, tmp_path):
    settings, cache = WorkerSettings(str(tiny_model_dir)), tmp_path / "cache"
    judgments = [Judgment(WORDS[n % 7], [f"{n} yes", f"{n} no"]) for n in range(300)]
    assert extract_features(HERE, settings, judgments, cache).computed == 607
    assert extract_features(HERE, settings, judgments, cache).computed == 0
    engine = RewardEngine.from_pretrained(tiny_model_dir, options=ExtractionOptions("float32", cache=str(cache)))
    engine.judge(judgments)
    assert len(engine._shared.store) == 607


def test_streams_of_this_process_are_refused(tiny_model_dir, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["score", str(tiny_model_dir), "-", "--ray", "local"])
    assert stop.value.code == 1
    assert "give the rows as a file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["score", str(tiny_model_dir), "absent.jsonl", "--workers", "2"])
    assert stop.value.code != 0


def test_workers_fit_the_cluster():
    with pytest.raises(ConfigError, match="3 workers with 2 of them each do not fit a cluster with 4 cores"):
        cluster._workers(3, 2, "auto", {"CPU": 4.0})
    assert cluster._workers(None, 2, "auto", {"CPU": 5.0}) == Workers(2, 2, "cpu")
    assert cluster._workers(None, 1, "auto", {"CPU": 4.0}).count == 3  # one core reads
    assert cluster._workers(None, 1, "auto", {"CPU": 1.0}).count == 1
    assert cluster._workers(None, 1, "auto", {"CPU": 8.0, "GPU": 2.0}) == Workers(2, 1, "cuda")
    with pytest.raises(ConfigError, match="1 workers with one GPU each do not fit a cluster with 0 GPUs"):
        cluster._workers(None, 1, "cuda", {"CPU": 8.0})
    with pytest.raises(ConfigError, match="cuda:1"), cluster.ray_workers(device="cuda:1"):
        pass


def test_objects_of_a_batch_stay_as_they_are():
    assert batch_of([[1, 2], (3,)])[COLUMN].tolist() == [[1, 2], (3,)]


class FailingRun:
    """A dataset whose run fails behind its first row."""

    def map_batches(self, *_: object, **__: object) -> FailingRun:
        return self

    def iter_rows(self) -> Iterator[dict[str, str]]:
        from ray.exceptions import RayError

        yield {COLUMN: "first"}
        raise RayError(f"ValueError: three is too much\n{cluster._CAUSED}")


class Remote:
    """A method of an actor, called at once."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.remote = method


@pytest.mark.parametrize("fails", [True, False])
def test_workers_that_have_signed_are_ended(monkeypatch, fails):
    """Whoever holds the error, and where a consumer takes no more rows."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    roll, ended = Roll(), []
    actor = SimpleNamespace(sign=Remote(roll.sign), signed=Remote(roll.signed))
    runtime = SimpleNamespace(get_node_id=lambda: "here", current_actor="worker")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: runtime)
    monkeypatch.setattr(cluster, "_new_roll", lambda: actor)
    monkeypatch.setattr(ray, "get", lambda value: value)
    monkeypatch.setattr(ray, "kill", ended.append)
    monkeypatch.setattr(ray.data, "from_items", lambda items: FailingRun())
    rows = Workers(1, 1, "cpu").stream(lambda _: [], {}, object)
    assert next(rows) == "first"
    assert cluster._signing(list)(actor, "abc") == ["a", "b", "c"]
    assert not ended
    if fails:
        with pytest.raises(ModelError, match="the cluster failed: ValueError: three is too much"):
            next(rows)
    else:
        rows.close()
    assert ended == ["worker", actor]
