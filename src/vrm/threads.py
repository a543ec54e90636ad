"""How many threads the network's computations take, and how they wait; both are set before torch is loaded."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Environment variables by which users choose how threads wait."""

SPINS = "3000"
"""Turns of a waiting thread before it sleeps, in GNU's OpenMP: by default 300,000."""


def use_threads(count: int | None) -> None:
    """Compute in so many threads; without a number, in as many as there are cores for this process.

    `OMP_NUM_THREADS` is left as it is where no number is given.

    Args:
        count: at least 1.
    """
    if count is None:
        if "OMP_NUM_THREADS" in os.environ:
            return
        count = free_cores()
        if count == os.cpu_count():
            return
    os.environ["OMP_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def wait_briefly() -> None:
    """Let threads that wait for others spin for microseconds and then sleep, unless the environment says otherwise.

    By default they spin for some milliseconds. Where cores are shared they take that time from the threads that they
    wait for. Sleeping at once costs time where nothing else runs (`docs/performance.md`).
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in WAITING):
        # GNU's library reads the count first; others know the policy alone.
        os.environ.update(GOMP_SPINCOUNT=SPINS, OMP_WAIT_POLICY="PASSIVE")


def free_cores() -> int:
    """Cores that this process may use: those it is bound to, and no more than the quota of its containers."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Threads above a quota are stopped for the rest of each period, and the others wait for them.
    return min([bound, *(max(int(quota), 1) for quota in _quotas())])


def _quotas() -> list[float]:
    """Cores of each limit on this process, of cgroups version 2 and 1."""
    quotas = []
    for folder in _own_folders():
        limit = _numbers(folder / "cpu.max") or _numbers(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
        if limit is not None:
            quotas.append(limit[0] / limit[1])
    return quotas


def _own_folders() -> list[Path]:
    """Folders of this process's groups and of those that hold them, as far as they can be seen from here."""
    folders = [CGROUPS, CGROUPS / "cpu"]
    try:
        lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return folders
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            root = CGROUPS / ("cpu" if controllers else "")
            own = root / path.lstrip("/")
            folders += [folder for folder in (own, *own.parents) if root in folder.parents]
    return folders


def _numbers(*files: Path) -> tuple[float, float] | None:
    """Quota and period in the words of one file or of two; None without a limit."""
    try:
        words = [word for file in files for word in file.read_text(encoding="utf-8").split()]
        quota, period = (float(word) for word in words)
    except (OSError, ValueError):
        return None
    return (quota, period) if quota > 0 and period > 0 else None
