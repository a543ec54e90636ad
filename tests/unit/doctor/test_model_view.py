"""What a model says against the labels."""

from __future__ import annotations

import numpy as np
import pytest

from vrm.doctor import DoctorSettings, model_view
from vrm.doctor.model_view import MIN_ROWS, check_with_model, confidently_contradicted
from vrm.evaluate.collect import collect
from vrm.inference.engine import RewardEngine

from .conftest import pair


def test_contradicted_at_the_mean_confidence():
    mean, against = confidently_contradicted([0.9, 0.8, 0.9, 0.1, 0.45])
    assert mean == pytest.approx(0.63)
    assert against.tolist() == [False, False, False, True, False]


def test_flipped_labels_of_a_good_model_are_the_ones_found():
    generator = np.random.default_rng(0)
    right = generator.beta(20, 2, size=4000)
    flipped = generator.random(4000) < 0.15
    _, against = confidently_contradicted(np.where(flipped, 1 - right, right))
    assert against[~flipped].mean() < 0.01
    assert against[flipped].mean() > 0.9


@pytest.fixture(scope="session")
def engine(tiny_model_dir):
    return RewardEngine.from_pretrained(tiny_model_dir)


def some_rows(count):
    words = ["good", "bad", "long", "short", "safe", "unsafe", "very", "doctor", "city", "story"]
    generator = np.random.default_rng(1)

    def text():
        return " ".join(generator.choice(words, size=generator.integers(3, 12)))

    return [pair(f"how {n} {text()}", f"{text()} a", f"{text()} b", preference=float(n % 3 > 0)) for n in range(count)]


def labelled_by_the_model(engine, file_rows, flips):
    """Rows labelled as the model would, the first `flips` of them the other way."""
    rows = some_rows(80)
    found = collect(engine, file_rows(rows).judgments)
    return [
        {**row, "preference": float((log > np.log(0.5)) != (index < flips))}
        for index, (row, log) in enumerate(zip(rows, found.log_first, strict=True))
    ]


def test_rows_and_shares_agree_with_the_evaluation(engine, file_rows, monkeypatch):
    # The tiny model is sure of little.
    monkeypatch.setattr(model_view, "MIN_CONFIDENCE", 0.5)
    rows = file_rows(labelled_by_the_model(engine, file_rows, 10))
    found = check_with_model(rows, DoctorSettings(examples=80), engine)
    collected = collect(engine, rows.judgments)
    first = np.exp(collected.log_first)
    labelled = np.where(np.asarray(collected.preference) > 0.5, first, 1 - first)
    against = (1 - labelled) >= labelled.mean()
    assert found.severity == "info"
    assert found.details["mean_probability"] == pytest.approx(labelled.mean(), abs=1e-6)
    assert (found.count, found.total) == (int(against.sum()), 80)
    assert 0 < found.count <= 10
    expected = sorted(np.flatnonzero(against), key=lambda index: labelled[index])
    assert [int(place.rpartition(":")[2]) - 1 for place in found.places] == expected
    assert "not trained on these rows" in found.message
    assert found.details["share_contradicted"].estimate == pytest.approx(against.mean())


def test_a_model_that_knows_nothing_is_not_asked(engine, file_rows):
    flipped = labelled_by_the_model(engine, file_rows, 40)
    found = check_with_model(file_rows(flipped), DoctorSettings(), engine)
    assert found.severity == "not run"
    assert "knows too little" in found.message


def test_few_rows_are_too_few(engine, file_rows):
    found = check_with_model(file_rows(some_rows(MIN_ROWS - 1)), DoctorSettings(), engine)
    assert found.severity == "not run"
    assert f"at least {MIN_ROWS}" in found.message


def test_ties_lists_and_rows_beyond_the_sample_are_not_judged(engine, file_rows, monkeypatch):
    monkeypatch.setattr(model_view, "MIN_ROWS", 1)
    monkeypatch.setattr(model_view, "MIN_CONFIDENCE", 0.5)
    ranked = {"prompt": "how", "completions": ["good", "bad"], "scores": [1, 0]}
    rows = [*labelled_by_the_model(engine, file_rows, 0)[:30], {**some_rows(1)[0], "preference": 0.5}, ranked]
    assert check_with_model(file_rows(rows), DoctorSettings(), engine).total == 30
    found = check_with_model(file_rows(rows), DoctorSettings(model_rows=10), engine)
    assert found.total == 10
    assert "of a sample of 10" in found.message
