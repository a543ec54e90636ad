"""Commands killed at any moment, on full and read-only disks, on damaged caches, and two at once.

Promised is: after `--resume`, or after the same call once more, results are bit for bit those of an undisturbed run;
no row is lost or doubled; nothing half-written is taken for whole; what cannot be done is an error in words. Commands
run as forks of one process, `studies.drills.kills_parts.nursery`, since importing takes longer than they do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from studies.drills.kills_parts.disks import namespace
from studies.drills.kills_parts.nursery import KEPT
from studies.drills.outcome import Drill, Outcome, Setting

THREADS = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}


def run(setting: Setting) -> Sequence[Outcome]:
    """All lines, from a process of their own that may mount."""
    work = setting.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    mounts = namespace()
    command = [*(mounts or []), sys.executable, "-m", "studies.drills.kills_parts.nursery", str(work)]
    command += ["--seed", str(setting.seed), *(["--quick"] if setting.quick else [])]
    command += [] if mounts is None else ["--mounts"]
    caches = {"XDG_CACHE_HOME": str(work / "caches"), "VRM_FEATURE_CACHE": "none", "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, check=True, env={**os.environ, **THREADS, **caches})
    kept = json.loads((work / KEPT).read_text(encoding="utf-8"))
    return [Outcome(**row) for row in kept.values() if row is not None]


DRILL = Drill("Kills, disks and caches", run)
