"""`vrm score --ray` and features from a cluster, which is two worker processes on this machine."""

from __future__ import annotations

import filecmp
import gc
import json
import logging
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from vrm.cli.main import main

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow

WORDS = ["water", "city", "long", "good", "safe", "plan", "story"]
STORE = 80 * 2**20
"""Bytes of the object store: about the least that Ray takes."""


@pytest.fixture(scope="module")
def cluster():
    """Two cores, on which each test has its own workers: commands find that Ray runs already."""
    from vrm.ray_session import QUIET

    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        ray.init(
            "local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=STORE,
            _node_ip_address="127.0.0.1",
        )
        yield
        ray.shutdown()


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_rows(path: Path, count: int, **columns: object) -> Path:
    """Rows of one to three completions; every 50th cannot be read."""
    with path.open("w") as file:
        for index in range(count):
            texts = [" ".join(WORDS[(index + k) % 7] for k in range(1 + (index + extra) % 9)) for extra in range(3)]
            row = {"prompt": WORDS[index % 7], "completions": texts[: 1 + index % 3], "id": index, **columns}
            if index % 50 == 7:
                row = {"prompt": 3, "id": index}
            file.write(json.dumps(row) + "\n")
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """1,500 rows, six windows."""
    return write_rows(tmp_path_factory.mktemp("ray") / "rows.jsonl", 1500)


def test_two_workers_write_the_rows_of_one_process(cluster, tiny_decoder_dir, source, tmp_path, capsys):
    options = ["--kappa", 1, "--keep", "id", "--on-bad-rows", "skip", "--token-budget", 2048]
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    assert run("score", tiny_decoder_dir, source, "-o", one, *options) == 0
    said = capsys.readouterr().err
    assert run("score", tiny_decoder_dir, source, "-o", two, *options, "--ray", "local", "--workers", 2) == 0
    said_of_two = capsys.readouterr().err
    assert "scoring with 2 workers on cpu" in said_of_two
    details = [[line for line in text.splitlines() if line.startswith("  ")] for text in (said, said_of_two)]
    assert details[0] == details[1] == ["  30 rows could not be read (`error` says why)"]
    assert two.read_text() == one.read_text()


def test_two_workers_write_the_parts_of_one_process(cluster, tiny_decoder_dir, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, count in (("a", 700), ("b", 20), ("c", 300)):
        write_rows(folder / f"{name}.jsonl", count)
    one, two = tmp_path / "one", tmp_path / "two"
    options = ["--keep", "id", "--on-bad-rows", "skip"]
    assert run("score", tiny_decoder_dir, folder, "-o", f"{one}/", *options) == 0
    assert run("score", tiny_decoder_dir, folder, "-o", f"{two}/", *options, "--ray", "local", "--workers", 2) == 0
    names = ["a.jsonl", "b.jsonl", "c.jsonl"]
    assert sorted(file.name for file in two.iterdir()) == names
    assert filecmp.cmpfiles(one, two, names, shallow=False)[0] == names


def test_a_worker_that_dies_loses_and_doubles_nothing(cluster, tiny_decoder_dir, tmp_path):
    """Rows of more bytes than the object store holds; one of the two workers is killed when some are written."""
    source = write_rows(tmp_path / "large.jsonl", 6000, note="n" * 20_000)
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    assert source.stat().st_size > 1.4 * STORE
    options = ["--keep", "note", "--on-bad-rows", "skip"]
    assert run("score", tiny_decoder_dir, source, "-o", one, *options) == 0
    killed: list[int] = []
    killer = threading.Thread(target=kill_one_worker, args=(two, killed))
    killer.start()
    assert run("score", tiny_decoder_dir, source, "-o", two, *options, "--ray", "local", "--workers", 2) == 0
    killer.join()
    assert len(killed) == 1
    assert filecmp.cmp(one, two, shallow=False)


def test_workers_end_after_an_error_which_names_its_cause(cluster):
    """Also while somebody holds the error, and the garbage collector does not run: workers hold cores and GPUs."""
    from vrm.errors import ModelError
    from vrm.integrations.ray import ray_workers
    from vrm.integrations.ray.windows import COLUMN, batch_of

    def read(_: object, count: int):
        for number in range(count):
            yield batch_of([number])

    class Work:
        def __call__(self, batch):
            if batch[COLUMN][0] == 3:
                raise ValueError("three is too much")
            return batch

    gc.disable()
    try:
        with ray_workers(count=2) as workers, pytest.raises(ModelError, match="ValueError: three is too much") as error:
            list(workers.stream(read, {"count": 6}, Work))
        end = time.monotonic() + 30
        while workers_named("Work)") and time.monotonic() < end:
            time.sleep(0.2)
        assert not workers_named("Work)")
    finally:
        gc.enable()
    del error


def workers_named(name: str) -> list[psutil.Process]:
    """Processes of the cluster that work on something."""
    workers = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has ended meanwhile
            workers += [child] if name in "".join(child.cmdline()) else []
    return workers


def kill_one_worker(output: Path, killed: list[int]) -> None:
    """Kill one of the processes that score, as soon as the output holds a window."""
    while not output.exists() or output.stat().st_size == 0:
        time.sleep(0.05)
    worker = workers_named("ScoreWindows")[0]
    worker.kill()
    killed.append(worker.pid)


def test_features_of_a_cluster_train_a_head(cluster, tiny_encoder_backbone, tmp_path, capsys):
    from vrm.data.load import Source
    from vrm.integrations.ray import WorkerSettings, extract_features, ray_workers

    rows = [
        {"prompt": WORDS[n % 7], "chosen": f"{WORDS[n % 5]} {n}", "rejected": f"{WORDS[n % 3]} no {n}"}
        for n in range(300)
    ]
    data, cache, config = tmp_path / "pairs.jsonl", tmp_path / "cache", tmp_path / "run.yaml"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config.write_text(
        f"output_dir: {tmp_path / 'run'}\n"
        f"model: {{backbone: {tiny_encoder_backbone}, tuning: frozen, max_input_tokens: 128}}\n"
        f"data: {{train: [{{path: {data}}}]}}\n"
        f"features: {{cache: {cache}}}\n"
        "train: {epochs: 1, precision: float32}\n"
    )
    small = ["--set", "data.train.0.limit=20", "--set", f"output_dir={tmp_path}/small", "--set", "features.cache=none"]
    assert run("train", config, *small) == 0
    with ray_workers(count=2) as workers:
        settings = WorkerSettings(str(tmp_path / "small" / "model"))
        first = extract_features(workers, settings, Source(data, limit=100), cache)
        again = extract_features(workers, settings, Source(data), cache)
    assert (first.rows, first.computed) == (100, 207)
    assert (again.rows, again.computed) == (300, 400)
    before = contents(cache)
    assert len(before) == 2
    assert run("train", config) == 0
    assert contents(cache) == before


def contents(cache: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in cache.rglob("*") if file.suffix in (".f32", ".bin")}
