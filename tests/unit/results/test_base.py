"""Documents: what is written is what is read, and what cannot be read is named."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from vrm.errors import DataError
from vrm.metrics import Interval
from vrm.results import FORMS, Kind, from_json, read_document, read_object, read_run, to_text

WRITTEN = Path(__file__).parents[2] / "fixtures" / "written_by_0_1"
"""Documents that were written before they had types."""
GAINED = {
    "several_raters": None,
    "beta": None,
    "source_rows": {},
    "batch_size": None,
    "intervals": True,
    "p_tie": None,
    "disagreement": None,
    "judged_as": None,
    "parameters": 0.0,
    "unfamiliarity": None,
    "sentences": None,
}
"""Keys that documents have gained since, and what they say in a document that had none of it."""


def as_it_was(document):
    """The document that is written, in its order, without the keys that it gained empty."""

    def old(value):
        if isinstance(value, list):
            return [old(item) for item in value]
        if isinstance(value, dict):
            gained = GAINED if "p_tie" in value else {key: GAINED[key] for key in set(GAINED) - {"disagreement"}}
            kept = {key: item for key, item in value.items() if not (key in gained and item == gained[key])}
            return {key: old(item) for key, item in kept.items()}
        return value

    return old(json.loads(to_text(document)))


@pytest.mark.parametrize("kind", ["evaluation", "comparison", "audit", "doctor", "distillation"])
def test_a_document_from_before_the_types_is_written_again_as_it_was(kind):
    path = WRITTEN / "results" / f"{kind}.json"
    document = read_document(path, list(Kind))
    assert type(document) is FORMS[kind]
    assert json.dumps(as_it_was(document), indent=2) == path.read_text(encoding="utf-8").rstrip("\n")


def test_a_run_from_before_the_types_is_read_and_now_says_what_it_is():
    run = read_run(WRITTEN / "run")
    old = read_object(WRITTEN / "run" / "run.json")
    assert as_it_was(run.summary) == {"kind": "run", "schema": 1, **old}
    assert run.summary.rows.train == old["rows"]["train"]
    lines = (WRITTEN / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert list(run.history) == [json.loads(line) for line in lines]


def test_results_of_a_quickstart_need_no_kind(tmp_path):
    evaluation = read_object(WRITTEN / "results" / "evaluation.json")["files"]["rows.jsonl"]
    old = {"seed": 0, "seconds": 9.5, "heads": {"vrm": {"test": {**evaluation, "later": 1}}}}
    (tmp_path / "results.json").write_text(json.dumps(old), encoding="utf-8")
    document = read_document(tmp_path / "results.json", [Kind.QUICKSTART])
    assert document.heads["vrm"]["test"].pairs.count == evaluation["pairs"]["count"]
    (tmp_path / "new.json").write_text(to_text(document), encoding="utf-8")
    assert read_document(tmp_path / "new.json", [Kind.QUICKSTART]) == document


@dataclass(frozen=True)
class Inner:
    size: int
    share: float
    word: str
    spans: tuple[Interval, ...]


@dataclass(frozen=True)
class Outer:
    inner: Inner | None
    by_name: dict[str, Inner]
    limit: float
    flag: bool = True


INNER = {"size": 3, "share": None, "word": "x", "spans": [{"estimate": 0.5, "low": 0.4, "high": "inf"}]}


def test_what_is_absent_is_unknown_or_empty():
    outer = from_json(Outer, {"by_name": {"a": {"size": 2}}, "limit": "-inf", "later": 1}, "f.json")
    assert outer.inner is None
    assert outer.flag is True
    assert outer.limit == -math.inf
    inner = outer.by_name["a"]
    assert (inner.size, inner.word, inner.spans) == (2, "", ())
    assert math.isnan(inner.share)


def test_numbers_that_json_lacks_come_back():
    read = from_json(Outer, {"inner": INNER, "by_name": {}, "limit": 0, "flag": None}, "f.json").inner
    assert read is not None
    assert read.spans[0].high == math.inf
    assert math.isnan(read.share)
    assert math.isnan(read.spans[0].confidence)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"inner": {**INNER, "size": None}}, "inner.size: it is absent"),
        ({"inner": {**INNER, "spans": [{"low": []}]}}, "inner.spans.0.low: Input should be a valid number"),
        ({"by_name": {"a": [1]}}, "by_name.a: Input should be a dictionary"),
        ({"flag": "perhaps", "limit": "much"}, r"limit: .*number.* \(1 more fields are wrong\)"),
        ([], "the document: Input should be a dictionary"),
    ],
)
def test_a_value_of_another_type_is_named_with_its_file(content, words):
    with pytest.raises(DataError, match=rf"f\.json: {words}"):
        from_json(Outer, content, "f.json")


def test_the_types_load_no_torch():
    code = "import sys, vrm.results; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
