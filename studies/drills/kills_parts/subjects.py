"""The commands that are killed: how each is called, called again, and what must have come of it."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.drills.kills_parts.inputs import Inputs

Results = dict[str, str]
"""What a command has left: {name: digest}, without what may differ between two runs."""

TIMES = ("train_loss", "seconds", "created", "runtime", "eval_runtime", "train_runtime", "total_flos")


@dataclass(frozen=True)
class Subject:
    """A command under the drill, in a directory that every try has to itself and that has the same name in each.

    Attributes:
        name: as the table has it.
        arguments: of the first call.
        results: reads what it has left; files that are not there are left out.
        again: further calls, in their order, until one ends well; by default the first call once more.
        done: words of a refusal that says that nothing is left to do.
        partial: says what is wrong with a result that is not whole yet, which may lie there until the second call;
            by default nothing may.
        prepare: makes what the command finds there.
        main: whether it is a command of its own, and no variant of another.
    """

    name: str
    arguments: list[str]
    results: Callable[[Path], Results]
    again: tuple[list[str], ...] = ()
    done: str = "exists already"
    partial: Callable[[Path, Path], str | None] | None = None
    prepare: Callable[[Path], object] = lambda folder: None
    main: bool = True


def subjects(inputs: Inputs) -> list[Subject]:
    """All of them, in the order of the table."""
    model, rows, judged = str(inputs.model), str(inputs.rows), str(inputs.judged)
    evaluate = ["evaluate", model, judged, "--resamples", "50", "--json", "results.json"]
    adapt = ["adapt", "model", judged, "--resamples", "50", "--json", "results.json"]

    def copy_model(folder: Path) -> None:
        shutil.copytree(inputs.model, folder / "model")

    return [
        *(_training(f"`train`, {words}", inputs.config(tuning)) for tuning, words in TUNINGS.items()),
        _training("`train`, frozen, rows on the disk", inputs.config("frozen", data__storage="disk"), main=False),
        Subject("`score`", ["score", model, rows, "-o", "out.jsonl"], files("out.jsonl"), partial=scored_lines),
        Subject(
            "`score`, gzip",
            ["score", model, rows, "-o", "out.jsonl.gz"],
            scored_gzip,
            partial=scored_members,
            main=False,
        ),
        Subject("`score in/ -o out/`", ["score", model, str(inputs.parts), "-o", "out/"], files("out"), partial=parts),
        Subject("feature extraction", [*evaluate, "--feature-cache", "cache"], documents, partial=stored_features),
        Subject("`evaluate --json`", evaluate, documents),
        Subject("`export`", ["export", model, "out", "--remote-code"], files("out"), done="exists: choose"),
        # The document is written behind the raters, and is what a third call names.
        Subject("`adapt`", adapt, adapted, done="already", prepare=copy_model),
    ]


TUNINGS = {"frozen": "frozen backbone", "lora": "LoRA", "full": "full tuning"}


def _training(name: str, config: Path, main: bool = True) -> Subject:
    train = ["train", str(config)]
    return Subject(name, train, trained, ([*train, "--resume"], train), "is finished", whole_model, main=main)


def digest(data: bytes) -> str:
    """Of some bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


def files(name: str) -> Callable[[Path], Results]:
    """Reads a file, or all files of a directory but hidden ones, as they are; without a lock or notes of progress."""

    def read(folder: Path) -> Results:
        place = folder / name
        found = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
        return {
            str(file.relative_to(folder)): digest(_content(file))
            for file in found
            if not any(part.startswith(".") for part in file.relative_to(folder).parts)
            and not file.name.endswith((".lock", ".progress.json"))
        }

    return read


def _content(file: Path) -> bytes:
    """A file's content, of Parquet that of its rows."""
    if file.suffix != ".parquet":
        return file.read_bytes()
    import pyarrow.parquet as pq

    return json.dumps(pq.read_table(file).to_pylist()).encode()


def without_times(values: Any) -> Any:
    """A JSON document without what a clock says."""
    if isinstance(values, dict):
        return {
            key: without_times(value)
            for key, value in values.items()
            if key not in TIMES and not key.endswith("_per_second")
        }
    return [without_times(value) for value in values] if isinstance(values, list) else values


def document(file: Path) -> str:
    """Digest of a JSON document, or of one a line, without what a clock says."""
    lines = [file.read_text(encoding="utf-8")]
    lines = lines[0].splitlines() if file.suffix == ".jsonl" else lines
    return digest(json.dumps([without_times(json.loads(line)) for line in lines], sort_keys=True).encode())


def documents(folder: Path) -> Results:
    """The document of `--json`."""
    place = folder / "results.json"
    return {place.name: document(place)} if place.exists() else {}


def nearly(folder: Path, undisturbed: Path) -> str | None:
    """Whether a document has the numbers of another, but for how products of other passes are rounded."""
    left, wanted = (
        without_times(json.loads((place / "results.json").read_text(encoding="utf-8")))
        for place in (folder, undisturbed)
    )
    return None if _near(left, wanted) else "other numbers: results.json"


def _near(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_near(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_near, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-5)
    return bool(one == other)


def adapted(folder: Path) -> Results:
    """The raters that a model has learned; the document only lists them."""
    return files("model/raters")(folder)


def trained(folder: Path) -> Results:
    """Model, summary and history of a run."""
    texts = [place for name in ("run.json", "history.jsonl") if (place := folder / "run" / name).exists()]
    return files("run/model")(folder) | {place.name: document(place) for place in texts}


def whole_model(folder: Path, undisturbed: Path) -> str | None:
    """A run that was killed may have a history, and a model; both must be those of the undisturbed run."""
    left, wanted = trained(folder), trained(undisturbed)
    model = {name: value for name, value in left.items() if name.startswith("run/model/")}
    whole = {name: value for name, value in wanted.items() if name.startswith("run/model/")}
    if model and model != whole:
        return "a model that is not whole"
    if "run.json" in left and left != wanted:
        return "run.json beside something else than the run's end"
    return None


def scored_gzip(folder: Path) -> Results:
    """The rows of a compressed output: members end where windows do, so that bytes may differ."""
    place = folder / "out.jsonl.gz"
    return {place.name: digest(gzip.decompress(place.read_bytes()))} if place.exists() else {}


def scored_lines(folder: Path, undisturbed: Path) -> str | None:
    """An output that is not complete must say so, and begin as the undisturbed one."""
    place = folder / "out.jsonl"
    data = place.read_bytes() if place.exists() else b""
    return _begins(data, (undisturbed / "out.jsonl").read_bytes(), place)


def scored_members(folder: Path, undisturbed: Path) -> str | None:
    """The same of a compressed output, whose bytes are compared."""
    place = folder / "out.jsonl.gz"
    data = place.read_bytes() if place.exists() else b""
    return _begins(data, (undisturbed / place.name).read_bytes(), place)


def _begins(data: bytes, whole: bytes, place: Path) -> str | None:
    if not whole.startswith(data):
        return f"{place.name} holds other rows"
    if data and data != whole and not place.with_name(f"{place.name}.progress.json").exists():
        return f"{place.name} is half there, and nothing says so"
    return None


def parts(folder: Path, undisturbed: Path) -> str | None:
    """Parts of a scored directory, each as `scored_lines`; one of Parquet is whole."""
    for file in sorted((folder / "out").glob("[!.]*")):
        whole = undisturbed / "out" / file.name
        if file.name.endswith((".lock", ".progress.json")):
            continue
        if file.suffix == ".parquet" and _content(file) != _content(whole):
            return f"{file.name} is not whole"
        problem = None if file.suffix == ".parquet" else _begins(file.read_bytes(), whole.read_bytes(), file)
        if problem is not None:
            return problem
    there = files("out")(folder)
    marked = (folder / "out" / ".vrm-score.json").exists()
    return (
        None if not there or marked or there == files("out")(undisturbed) else "parts are lacking, and nothing says so"
    )


def features_of(folder: Path) -> dict[bytes, bytes]:
    """What a cache of features holds, read as the package does."""
    from vrm.inference.feature_store import FeatureStore

    held: dict[bytes, bytes] = {}
    for place in sorted((folder / "cache").glob("*/fingerprint.json")):
        fingerprint = json.loads(place.read_text(encoding="utf-8"))
        width = fingerprint.pop("width")
        store = FeatureStore(width, folder / "cache", fingerprint)
        held |= {key: store.take(store.rows_of([key])).tobytes() for key in store.keys}
    return held


def stored_features(folder: Path, undisturbed: Path) -> str | None:
    """Every row that the cache counts is that of its text."""
    if documents(folder) and documents(folder) != documents(undisturbed):
        return "a document that is not whole"
    whole = features_of(undisturbed)
    wrong = sum(whole.get(key) != value for key, value in features_of(folder).items())
    return f"{wrong} rows of features that are not those of their texts" if wrong else None
