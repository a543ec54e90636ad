"""What each command opens, writes, starts and speaks to, by its system calls."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import yaml
from studies.drills.footprint_parts.places import Place, allowed_to_write
from studies.drills.footprint_parts.watch import Footprint, stop_child, until, watched
from studies.drills.numerics_parts.rows import WORDS, plain
from studies.drills.outcome import Drill, Outcome, Setting
from studies.drills.tiny import write_backbone

from vrm.cli.main import COMMANDS

LOOPBACK = ("127.0.0.1", "::1")
HUB_NAME = "nobody/no-such-model"
OF_TORCH = "torchinductor_"
"""An empty folder that importing torch leaves in the temporary one, where compiled code would be kept."""
FREE_PORT = "0"
STAGES: tuple[tuple[str, ...], ...] = (("doctor", "train"), ("evaluate",), (), ("adapt",))
"""What must be there before others read it, the rest (), and what changes a model that others read."""
STAGED = {name for stage in STAGES for name in stage}
AT_ONCE = 4
"""Commands that run beside each other, each with a temporary folder of its own."""

QUICK = ("doctor",)
NOT_WATCHED = {"quickstart"}
"""Minutes of training, under strace: it is `train`, `evaluate` and `report` on the built-in corpus and encoder."""


def arguments(place: Place) -> dict[str, list[str]]:
    """How every command is called, in an order in which each finds what it reads."""
    rows, run = str(place.inputs / "rows.jsonl"), str(place.outputs / "run")
    model, other = f"{run}/model", str(place.inputs / "model")

    def out(name: str) -> str:
        return str(place.outputs / name)

    return {
        "doctor": [rows, "--json", out("doctor.json")],
        "train": [str(place.inputs / "run.yaml")],
        "evaluate": [model, rows, "--json", out("evaluate.json")],
        "compare": [model, other, rows, "--json", out("compare.json")],
        "score": [model, rows, "-o", out("scored.jsonl")],
        "explain": [model, rows, "--line", "1"],
        "audit": [model, rows, "--json", out("audit.json")],
        "certify": [run, "--json", out("certify.json")],
        "adapt": [model, rows, "--json", out("adapt.json")],
        "export": [model, out("exported"), "--remote-code"],
        "distill-linear": [model, rows, "-o", out("student")],
        "report": [run, out("evaluate.json"), "-o", out("report.html")],
        "serve": [model, "--port", FREE_PORT],
        "explore": [model, rows, "--port", FREE_PORT, "--no-browser"],
    }


def prepare(place: Place) -> None:
    """Inputs: rows of three raters, a backbone, a configuration, and a second model."""
    place.make()
    backbone = write_backbone(place.inputs / "backbone", WORDS)
    rows = "".join(json.dumps(row) + "\n" for row in plain("judgments", 0))
    (place.inputs / "rows.jsonl").write_text(rows, encoding="utf-8")
    config = {
        "output_dir": str(place.outputs / "run"),
        "data": {"train": [str(place.inputs / "rows.jsonl")], "held_out": 0.3},
        "model": {"backbone": str(backbone), "max_input_tokens": 128},
        "train": {"epochs": 2, "batch_size": 16},
    }
    (place.inputs / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def environment(place: Place, **changes: str) -> dict[str, str]:
    """Of a command: an empty home, and nothing that turns the network off unless it is asked for."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    return {
        **kept,
        "HOME": str(place.home),
        "TMPDIR": str(place.temporary),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **changes,
    }


def problems(place: Place, found: Footprint, listens: bool) -> list[str]:
    """What no promise allows."""
    outside = [f"wrote {path}" for path in sorted(found.written) if not allowed_to_write(place.owner(path), path)]
    outside += [
        f"read {path}" for path in sorted(found.read) if place.owner(path) == path and path not in _passed(place)
    ]
    for address in sorted(found.addresses):
        call, _, to = address.partition(" ")
        if to.startswith("/") or (listens and call == "bind" and to.startswith(LOOPBACK)):
            continue
        outside.append(f"network: {address}")
    left = [name for name in place.left_in_temporary() if not name.startswith(OF_TORCH) or "/" in name]
    outside += [f"left {name} in the temporary folder" for name in left]
    return outside


def _passed(place: Place) -> set[str]:
    """Folders on the way to what a command may open, and those that modules are looked for in."""
    return {*sys.path, *(str(folder) for folder in (place.root, place.here, place.home, *place.root.parents))}


def note(place: Place, found: Footprint) -> str:
    """For the table: where it wrote, what it started and listened at."""
    owners = Counter(place.owner(path) for path in found.written if not path.startswith("/dev/"))
    parts = [f"{owner} {owners[owner]}" for owner in ("output", "cache", "temporary") if owners[owner]]
    programs = sorted({Path(path).name for path in found.started if not Path(path).name.startswith("python")})
    bound = sorted({entry.split()[1].rpartition(":")[0] for entry in found.addresses if entry.startswith("bind ")})
    words = ["writes: " + (", ".join(parts) or "nothing")]
    words += [f"starts {', '.join(programs)}"] if programs else []
    words += [f"listens at {', '.join(bound)}"] if bound else []
    return "; ".join(words)


def _ask(listening: Callable[[], str | None]) -> Callable[[subprocess.Popen[bytes]], None]:
    """Send a server one request and end it."""

    def meanwhile(process: subprocess.Popen[bytes]) -> None:
        until(lambda: listening() is not None, process)
        address = listening()
        if address is not None:
            with urllib.request.urlopen(f"{address}/health", timeout=60) as answer:
                answer.read()
        if process.poll() is None:
            stop_child(process)

    return meanwhile


def _address(errors: Path) -> str | None:
    """Where a server says that it listens."""
    found = re.search(r"on (http://127\.0\.0\.1:\d+)", errors.read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else None


def with_local_names(setting: Setting, place: Place) -> Iterator[Outcome]:
    """Every command, the network not forbidden, every name that of a place on this machine."""
    calls = arguments(place)
    missing = set(COMMANDS) - set(calls) - NOT_WATCHED
    if missing:
        raise ValueError(f"say how to call {', '.join(sorted(missing))}")
    for stage in STAGES[: 1 if setting.quick else None]:
        names = [name for name in calls if name in stage] if stage else [name for name in calls if name not in STAGED]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield from pool.map(partial(_local, setting, place, calls), names if not setting.quick else QUICK)
        if "train" in names:
            shutil.copytree(place.outputs / "run" / "model", place.inputs / "model", dirs_exist_ok=True)


def _local(setting: Setting, place: Place, calls: dict[str, list[str]], name: str) -> Outcome:
    """One command of `with_local_names`."""
    kept = setting.work / f"{name}.json"
    if kept.exists():
        return Outcome(**json.loads(kept.read_text(encoding="utf-8")))
    listens, errors = FREE_PORT in calls[name], setting.work / f"{name}.err"
    own = place.of(name)
    meanwhile = _ask(partial(_address, errors)) if listens else None
    found = watched(
        [name, *calls[name]], place.here, environment(own), setting.work / "traces" / name, errors, meanwhile
    )
    wrong = problems(own, found, listens)
    if found.status:
        wrong.append(f"ended with {found.status}: {found.errors[-300:]}")
    outcome = _outcome(f"vrm {name}", found, wrong, note(own, found))
    kept.write_text(json.dumps(asdict(outcome)), encoding="utf-8")
    return outcome


def with_hub_names(setting: Setting, place: Place) -> Iterator[Outcome]:
    """Commands that are given a name of the Hub, with HF_HUB_OFFLINE=1, and one that may ask an address of its own."""
    rows, config = str(place.inputs / "rows.jsonl"), str(place.inputs / "run.yaml")
    calls = {
        "score": ["score", HUB_NAME, rows, "-o", str(place.outputs / "never.jsonl")],
        "train": ["train", config, "--set", f"model.backbone={HUB_NAME}", "--overwrite"],
        "evaluate": ["evaluate", str(place.inputs / "model"), "rewardbench"],
    }
    found, wrong = Footprint(), []
    for name, call in calls.items():
        one = _watched(setting, place, f"offline-{name}", call, HF_HUB_OFFLINE="1")
        wrong += problems(place, one, listens=False)
        if one.status != 1 or "Traceback" in one.errors:
            wrong.append(f"{name} ended with {one.status}: {one.errors[-300:]}")
        found.calls += one.calls
    yield _outcome("a name of the Hub, HF_HUB_OFFLINE=1", found, wrong, f"{', '.join(calls)}: each a named error")
    asked = _watched(setting, place, "online", calls["score"], HF_ENDPOINT="http://127.0.0.1:9")
    seen = [address for address in asked.addresses if address.startswith("connect 127.0.0.1:9")]
    wrong = [] if seen else ["nothing was seen of a request that must have been tried"]
    yield _outcome("the same, allowed to ask: is it seen?", asked, wrong, "the request is seen, so the watch is awake")


def _watched(setting: Setting, place: Place, name: str, call: list[str], **changes: str) -> Footprint:
    traces = setting.work / "traces" / name
    return watched(call, place.here, environment(place.of(name), **changes), traces, setting.work / f"{name}.err")


def _outcome(name: str, found: Footprint, wrong: list[str], words: str) -> Outcome:
    for problem in wrong:
        print(f"{name}: {problem}", file=sys.stderr)
    return Outcome(name, found.calls, len(wrong), 0, words)


def footprint(setting: Setting) -> list[Outcome]:
    """The drill; a try is a system call that was looked at."""
    place = Place(setting.work.resolve() / "machine")
    prepare(place)
    outcomes = list(with_local_names(setting, place))
    return outcomes if setting.quick else [*outcomes, *with_hub_names(setting, place)]


DRILL = Drill("Footprint: what each command opens, writes, starts and speaks to", footprint)
