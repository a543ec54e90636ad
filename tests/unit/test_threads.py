from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from vrm import threads


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of 8 cores without limits; the groups' files are made by the tests."""
    monkeypatch.setattr(threads, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(threads, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def test_cores_are_those_that_the_process_is_bound_to(machine, monkeypatch):
    assert threads.free_cores() == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert threads.free_cores() == 2


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000", 8), ("350000 100000", 3), ("50000 100000", 1), ("1600000 100000", 8), ("", 8)]
)
def test_a_quota_of_a_container_counts(machine, text, cores):
    machine(groups__cpu_DOT_max=text)
    assert threads.free_cores() == cores


def test_the_smallest_quota_of_the_groups_around_a_process_counts(machine):
    machine(
        own="0::/slice/job\n", groups__slice__cpu_DOT_max="200000 100000", groups__slice__job__cpu_DOT_max="max 100000"
    )
    assert threads.free_cores() == 2


def test_a_quota_of_the_first_version_counts(machine):
    machine(
        own="4:cpu,cpuacct:/docker/x\n9:memory:/docker/x\n",
        groups__cpu__docker__x__cpu_DOT_cfs_quota_us="400000\n",
        groups__cpu__docker__x__cpu_DOT_cfs_period_us="100000\n",
    )
    assert threads.free_cores() == 4
    machine(groups__cpu__docker__x__cpu_DOT_cfs_quota_us="-1\n")
    assert threads.free_cores() == 8


def test_a_number_wins_over_the_environment_and_the_environment_over_cores(machine, monkeypatch):
    machine(groups__cpu_DOT_max="200000 100000")
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    threads.use_threads(None)
    assert os.environ["OMP_NUM_THREADS"] == "2"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    threads.use_threads(None)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    threads.use_threads(3)
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert chosen == [2, 3]


def test_all_cores_are_torchs_own_choice(machine):
    threads.use_threads(None)
    assert "OMP_NUM_THREADS" not in os.environ


PROBE = """
import os
from vrm import threads
threads.wait_briefly()
print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ({}, "PASSIVE 3000"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
        ({"GOMP_SPINCOUNT": "5"}, "None 5"),
        ({"KMP_BLOCKTIME": "9"}, "None None"),
    ],
)
def test_threads_wait_briefly_unless_the_environment_says_how(given, policy):
    kept = {name: value for name, value in os.environ.items() if name not in threads.WAITING}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env={**kept, **given}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == policy


def test_a_library_that_is_loaded_is_left_as_it_waits(monkeypatch):
    for name in threads.WAITING:
        monkeypatch.delenv(name, raising=False)
    threads.wait_briefly()
    assert "OMP_WAIT_POLICY" not in os.environ
