"""What each command opens, writes, starts and speaks to, by its system calls."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from studies.drills.footprint_parts.calls import (
    FREE_PORT,
    SECRETS,
    hub_calls,
    keep_model,
    local_calls,
    prepare,
)
from studies.drills.footprint_parts.places import OF_TORCH, Place, allowed_to_write
from studies.drills.footprint_parts.watch import Footprint, stop_child, until, watched
from studies.drills.outcome import Drill, Outcome, Setting

from vrm.cli.main import COMMANDS

LOOPBACK = ("127.0.0.1", "::1")
NOBODY = "http://127.0.0.1:9"
"""A port of this machine at which nothing listens, in the place of the Hub."""
QUICK = ("doctor", "report")


def environment(place: Place, **changes: str) -> dict[str, str]:
    """Of a command: a home of its own, and nothing that turns the network off unless it is asked for."""
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
    secrets = {str(place.home / name) for name in SECRETS}
    outside += [
        f"read {path}"
        for path in sorted(found.read)
        if path in secrets or (place.owner(path) == path and path not in _passed(place))
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
    """For the table: what of whom it read and wrote, what it started, and where it listened."""
    words = [f"{verb} {_owners(place, paths)}" for verb, paths in (("reads", found.read), ("writes", found.written))]
    programs = sorted({Path(path).name for path in found.started if not Path(path).name.startswith("python")})
    bound = sorted({entry.split()[1].rpartition(":")[0] for entry in found.addresses if entry.startswith("bind ")})
    words += [f"starts {', '.join(programs)}"] if programs else []
    words += [f"listens at {', '.join(bound)}"] if bound else []
    return "; ".join(words)


def _owners(place: Place, paths: set[str]) -> str:
    """How many files and folders of each owner, caches by their names."""
    owners = Counter(place.owner(path) for path in paths)
    caches = Counter(place.cache_of(path) for path in paths if place.owner(path) == "cache")
    parts = [f"{kind} {owners[kind]}" for kind in ("input", "output") if owners[kind]]
    parts += [f"cache `{name}` {caches[name]}" for name in sorted(caches) if "/" in name]
    parts += [f"temporary {owners['temporary']}"] if owners["temporary"] else []
    return ", ".join(parts) or "nothing"


def _ask(errors: Path, process: subprocess.Popen[bytes]) -> None:
    """Send a server one request and end it."""
    until(lambda: _address(errors) is not None, process)
    address = _address(errors)
    if address is not None:
        with urllib.request.urlopen(f"{address}/health", timeout=60) as answer:
            answer.read()
    stop_child(process)


def _address(errors: Path) -> str | None:
    """Where a server says that it listens."""
    said = re.search(r"on (http://127\.0\.0\.1:\d+)", errors.read_text(encoding="utf-8", errors="replace"))
    return said[1] if said else None


def with_local_names(setting: Setting, place: Place) -> Iterator[Outcome]:
    """Every command, the network not forbidden, every name that of a place on this machine."""
    calls = local_calls(place)
    missing = set(COMMANDS) - {call[0] for call in calls.values()}
    if missing:
        raise ValueError(f"say how to call {', '.join(sorted(missing))}")
    if setting.quick:
        calls = {name: calls[name] for name in QUICK}
        calls["report"].remove(str(place.outputs / "run"))
        calls["report"].remove(str(place.outputs / "evaluate.json"))
    for name, call in calls.items():
        yield _kept(setting, name, partial(_local, setting, place, name, call))
        if name == "train":
            keep_model(place)


def _local(setting: Setting, place: Place, name: str, call: list[str]) -> Outcome:
    """One command of `with_local_names`."""
    own, found = _watched(setting, place, name, call)
    listens = FREE_PORT in call
    wrong = problems(own, found, listens)
    if found.status:
        wrong.append(f"ended with {found.status}: {found.errors[-300:]}")
    if listens and not any(entry.startswith("bind ") for entry in found.addresses):
        wrong.append("no server was seen")
    return _outcome(f"vrm {name}", found.calls, wrong, note(own, found))


def with_hub_names(setting: Setting, place: Place) -> Iterator[Outcome]:
    """Commands that are given a name of the Hub with HF_HUB_OFFLINE=1, and one that may ask an address of its own."""
    yield _kept(setting, "hub", partial(_offline, setting, place))
    yield _kept(setting, "asking", partial(_asking, setting, place))


def _offline(setting: Setting, place: Place) -> Outcome:
    wrong, tries, calls = [], 0, hub_calls(place)
    for name, call in calls.items():
        own, found = _watched(setting, place, f"offline {name}", call, HF_HUB_OFFLINE="1")
        said = problems(own, found, listens=False)
        if found.status != 1 or "Traceback" in found.errors or "error: " not in found.errors:
            said.append(f"ended with {found.status}: {found.errors[-300:]}")
        print(f"{name}: {found.errors.strip().splitlines()[-1:]}", file=sys.stderr)
        wrong += [f"{name} {problem}" for problem in said]
        tries += found.calls
    return _outcome(
        "names of the Hub, `HF_HUB_OFFLINE=1`", tries, wrong, f"{', '.join(calls)}: each a named error, nobody is asked"
    )


def _asking(setting: Setting, place: Place) -> Outcome:
    call = hub_calls(place)["score"]
    _, found = _watched(setting, place, "asking", call, HF_ENDPOINT=NOBODY)
    seen = [address for address in found.addresses if address == f"connect {NOBODY.removeprefix('http://')}"]
    wrong = [] if seen else ["nothing was seen of a request that must have been tried"]
    others = [address for address in found.addresses - set(seen) if not address.partition(" ")[2].startswith("/")]
    wrong += [f"network: {address}" for address in others]
    words = "its request is seen, so the watch is awake, and goes to `HF_ENDPOINT` alone"
    return _outcome("`vrm score` of a name of the Hub, allowed to ask", found.calls, wrong, words)


def _watched(setting: Setting, place: Place, name: str, call: list[str], **changes: str) -> tuple[Place, Footprint]:
    key = re.sub(r"\W+", "-", name)
    own, errors = place.of(key), setting.work / f"{key}.err"
    meanwhile: Callable[[subprocess.Popen[bytes]], None] | None = partial(_ask, errors) if FREE_PORT in call else None
    traces = setting.work / "traces" / key
    return own, watched(call, place.here, environment(own, **changes), traces, errors, meanwhile)


def _kept(setting: Setting, name: str, make: Callable[[], Outcome]) -> Outcome:
    """What an earlier call has found, or what is found now."""
    kept = setting.work / f"line-{re.sub(r'[^a-z]+', '-', name.lower())}.json"
    if not kept.exists():
        kept.write_text(json.dumps(asdict(make())), encoding="utf-8")
    return Outcome(**json.loads(kept.read_text(encoding="utf-8")))


def _outcome(name: str, calls: int, wrong: list[str], words: str) -> Outcome:
    print(f"{name}: {calls:,} calls, {len(wrong)} faults", file=sys.stderr)
    for problem in wrong:
        print(f"  {problem}", file=sys.stderr, flush=True)
    return Outcome(name, calls, len(wrong), 0, words)


def footprint(setting: Setting) -> list[Outcome]:
    """The drill; a try is a system call that was looked at."""
    place = Place(setting.work.resolve() / "machine")
    prepare(place)
    outcomes = list(with_local_names(setting, place))
    return outcomes if setting.quick else [*outcomes, *with_hub_names(setting, place)]


DRILL = Drill("Footprint: what each command opens, writes, starts and speaks to", footprint)
