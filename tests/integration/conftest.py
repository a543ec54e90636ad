"""Small runs of `vrm train`, in one process and in several, and a real browser for tests of pages.

Fixtures:
    browser           the distribution's Chromium, driven by Playwright
    planted           files of a part of the planted corpus
    write_config      write_config({"a.b": value}, name): path of a configuration whose run goes to `name`
    start_processes   start_processes(count, config, *arguments): `vrm train` in processes as a launcher starts them
    launch            launch(count, *arguments): Python processes that torchrun starts
    train_in          train_in(count, config, *arguments): the same to its end; what they print to stdout
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from vrm.data.planted import write_planted

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Playwright browser for the tests of a file, which skip where there is none. No event loop may run meanwhile."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `dev`)")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"there is no browser: install one of {', '.join(PROGRAMS)}, as with `apt-get install chromium`")
    # Root has no sandbox to give away; the pages are this package's own.
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=arguments)
        yield running
        running.close()


ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
"""Of each of several processes on a machine of two cores."""


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """The corpus, its files cut to what a test needs."""
    directory = tmp_path_factory.mktemp("planted")
    paths = write_planted(directory, raters=False)
    for name, limit in (("train", 64), ("dev", 24)):
        lines = paths[name].read_text(encoding="utf-8").splitlines()[:limit]
        paths[name].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths


@pytest.fixture
def write_config(tmp_path, planted, tiny_decoder_backbone):
    """write_config({"a.b": value}, name): path of a configuration file whose run goes to `name`."""

    def write(changes=None, name="run"):
        values = {
            "output_dir": str(tmp_path / name),
            "data": {"train": str(planted["train"]), "eval": str(planted["dev"])},
            "model": {
                "backbone": str(tiny_decoder_backbone),
                "num_free_objectives": 2,
                "num_features": 4,
                "hidden_size_head": 16,
                "max_input_tokens": 512,
            },
            "loss": {"num_nodes": 6},
            "train": {"epochs": 3, "batch_size": 16, "evals": 6, "logging_steps": 2, "precision": "float32"},
        }
        for dotted, value in (changes or {}).items():
            section, _, key = dotted.rpartition(".")
            (values[section] if section else values)[key] = value
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    return write


@pytest.fixture
def start_processes(forked_vrm):
    """Forks with the environment that a launcher gives: starting a process takes longer than the run."""
    started = []

    def start(count, config, *arguments):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        shared = {**os.environ, **ONE_THREAD, "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        processes = [
            subprocess.Popen(
                [forked_vrm / "vrm", "train", config, *arguments], env={**shared, "RANK": rank, "LOCAL_RANK": rank},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for rank in map(str, range(count))
        ]  # fmt: skip
        started.extend(processes)
        return processes

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate()


@pytest.fixture
def launch():
    started = []

    def start(count, *arguments):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", count, *arguments]
        process = subprocess.Popen(
            list(map(str, command)), env={**os.environ, **ONE_THREAD},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        process.communicate()


@pytest.fixture
def train_in(start_processes):
    def train(count, config, *arguments):
        processes = start_processes(count, config, *arguments)
        printed = [process.communicate(timeout=300) for process in processes]
        codes = [process.returncode for process in processes]
        assert codes == [0] * count, [errors[-3000:] for _, errors in printed]
        return "".join(output for output, _ in printed)

    return train
