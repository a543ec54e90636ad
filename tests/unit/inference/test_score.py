"""Scoring rows: alignment, batching, policies for bad rows, and outputs that can be continued."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
import torch

from vrm.data.load import Source
from vrm.data.schema import Judgment
from vrm.errors import ConfigError, DataError, NumericsError, OverlongError, RowError
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.score import ScoreOptions, Scorer, ScoringRow, read_scoring_rows
from vrm.inference.score_output import (
    ScoreFile,
    encode_row,
    model_fingerprint,
    reward_settings,
    scoring_settings,
    source_fingerprint,
    write_scores,
)
from vrm.inference.steering import Steering

TEXT = "the water is good and you can plan a long story of the city for the doctor"
WORDS = TEXT.split()


def engine_of(directory: Path, **kwargs) -> RewardEngine:
    return RewardEngine.from_pretrained(directory, options=ExtractionOptions(precision="float32"), **kwargs)


@pytest.fixture(scope="module")
def engine(tiny_model_dir):
    return engine_of(tiny_model_dir)


def some_rows(count: int) -> list[ScoringRow]:
    rows = []
    for index in range(count):
        texts = [" ".join(WORDS[: 2 + (index + extra) % 9]) for extra in range(1 + index % 3)]
        columns = {"prompt": WORDS[index % 7], "completions": texts, "id": f"row-{index}"}
        rows.append(ScoringRow(index + 1, columns, Judgment(columns["prompt"], texts, file="f", line=index + 1)))
    return rows


def score(engine, rows, options=None, window_texts=16) -> list[dict]:
    return list(chain.from_iterable(Scorer(engine, options or ScoreOptions()).stream(rows, window_texts)))


def test_rows_come_in_order_with_one_entry_a_completion(engine):
    rows = some_rows(25)
    output = score(engine, rows)
    assert [row["line"] for row in output] == [row.line for row in rows]
    assert [row["id"] for row in output] == [row.columns["id"] for row in rows]
    for row, found in zip(rows, output, strict=True):
        count = len(row.judgment.completions)
        assert [len(found[name]) for name in ("rewards", "reward_std", "objective_scores")] == [count] * 3
        assert sum(found["objective_weights"].values()) == pytest.approx(1.0, abs=1e-5)
        for reward, scores in zip(found["rewards"], found["objective_scores"], strict=True):
            assert sum(found["objective_weights"][name] * scores[name] for name in scores) == pytest.approx(
                reward, abs=1e-5
            )


def test_rewards_are_the_engines(engine):
    rows = some_rows(5)
    moments = engine.judge([row.judgment for row in rows]).moments
    for index, found in enumerate(score(engine, rows)):
        assert found["rewards"] == pytest.approx(moments.mean[index, : len(found["rewards"])].tolist(), abs=1e-5)
        assert found["reward_std"] == pytest.approx(moments.std[index, : len(found["rewards"])].tolist(), abs=1e-5)


@pytest.mark.parametrize("window_texts", [1, 7, 1000])
def test_rewards_do_not_depend_on_the_window(engine, window_texts):
    rows = some_rows(12)
    alone = [value for row in rows for value in score(engine, [row])[0]["rewards"]]
    together = [value for found in score(engine, rows, window_texts=window_texts) for value in found["rewards"]]
    assert together == pytest.approx(alone, abs=1e-5)


def test_standardized_rewards_and_scores_are_shifted_and_scaled_alike(engine):
    raw = score(engine, some_rows(3))
    standardized = score(engine, some_rows(3), ScoreOptions(reward_scale="standardized"))
    for before, after in zip(raw, standardized, strict=True):
        assert after["rewards"] == pytest.approx([(value - 0.25) / 1.5 for value in before["rewards"]], abs=1e-5)
        assert after["reward_std"] == pytest.approx([value / 1.5 for value in before["reward_std"]], abs=1e-5)
        weighted = sum(after["objective_weights"][name] * value for name, value in after["objective_scores"][0].items())
        assert weighted == pytest.approx(after["rewards"][0], abs=1e-5)


def test_kappa_adds_pessimistic_rewards(engine):
    for found in score(engine, some_rows(3), ScoreOptions(kappa=2.0)):
        expected = [mean - 2.0 * std for mean, std in zip(found["rewards"], found["reward_std"], strict=True)]
        assert found["pessimistic_rewards"] == pytest.approx(expected, abs=1e-5)
    assert "pessimistic_rewards" not in score(engine, some_rows(1))[0]


def test_scalar_heads_have_one_objective_and_refuse_kappa(make_tiny_model):
    engine = engine_of(make_tiny_model(head="bt"))
    found = score(engine, some_rows(2))[1]
    assert found["objective_weights"] == {"reward": 1.0}
    assert found["reward_std"] == [0.0, 0.0]
    assert found["total_concentration"] is None
    with pytest.raises(ConfigError, match="no uncertainty"):
        Scorer(engine, ScoreOptions(kappa=1.0))


def test_kept_columns_stand_under_input(engine):
    row = ScoringRow(1, {"x": float("nan"), "y": [1, {"z": None}]}, Judgment("a", ["b"]))
    assert score(engine, [row], ScoreOptions(keep=("y", "absent")))[0]["input"] == {
        "y": [1, {"z": None}],
        "absent": None,
    }
    assert score(engine, [row], ScoreOptions(keep=("all",)))[0]["input"] == {"x": None, "y": [1, {"z": None}]}


def test_input_is_taken_a_window_at_a_time_and_one_ahead(engine):
    taken = 0

    def endless() -> Iterator[ScoringRow]:
        nonlocal taken
        while True:
            taken += 1
            yield ScoringRow(taken, {}, Judgment("a", ["yes", "no"]))

    windows = Scorer(engine).stream(endless(), window_texts=10)
    assert len(next(windows)) == 5
    assert 5 <= taken <= 10
    assert len(next(windows)) == 5
    assert 10 <= taken <= 15


BAD_FILE = (
    '{"prompt": "a", "completion": "yes", "id": 1}\n'
    "not json\n"
    '\n{"prompt": "a", "completion": 4, "id": 2}\n'
    '{"prompt": "a", "chosen": "yes", "rejected": "no"}\n'
)


def test_bad_rows_stop_after_those_before_them_were_scored(engine, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(BAD_FILE)
    stream = Scorer(engine).stream(read_scoring_rows(str(path)))
    assert [row["line"] for row in next(stream)] == [1]
    with pytest.raises(RowError, match=r"rows\.jsonl:2"):
        next(stream)


def test_bad_rows_keep_their_place_when_skipped(engine, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(BAD_FILE)
    scorer = Scorer(engine, ScoreOptions(on_bad_rows="skip"))
    output = list(chain.from_iterable(scorer.stream(read_scoring_rows(str(path)))))
    assert [row["line"] for row in output] == [1, 2, 4, 5]
    assert ["error" in row for row in output] == [False, True, True, False]
    assert "rows.jsonl:4: field 'completion'" in output[2]["error"]
    assert output[2]["id"] == 2
    assert (scorer.counts.scored, scorer.counts.unreadable, scorer.counts.texts) == (2, 2, 3)


def test_an_empty_source_is_an_error_even_when_bad_rows_are_skipped(engine, tmp_path):
    path = tmp_path / "empty.jsonl"
    path.write_text("\n")
    with pytest.raises(RowError, match="not a single row"):
        list(Scorer(engine, ScoreOptions(on_bad_rows="skip")).stream(read_scoring_rows(str(path))))


LONG = ScoringRow(2, {}, Judgment("a", ["the water " * 100, "no"], file="f", line=2))


@pytest.mark.parametrize(("policy", "has_rewards"), [("truncate", True), ("drop", False), ("truncate_prompt", False)])
def test_overlong_rows_keep_their_place(tiny_model_dir, policy, has_rewards):
    scorer = Scorer(engine_of(tiny_model_dir, on_overlong=policy))
    short = ScoringRow(1, {}, Judgment("a", ["yes"], file="f", line=1))
    first, second = chain.from_iterable(scorer.stream([short, LONG]))
    assert first["truncated"] is False
    if has_rewards:
        assert second["truncated"] is True
        assert scorer.counts.truncated == 1
    else:
        assert second["error"].startswith("f:2: over the limit of 128 tokens")
        assert scorer.counts.dropped == 1


def test_overlong_rows_stop_when_they_are_errors(tiny_model_dir):
    scorer = Scorer(engine_of(tiny_model_dir, on_overlong="error"))
    with pytest.raises(OverlongError, match="f:2"):
        list(scorer.stream([LONG]))


def test_a_reward_that_is_not_finite_is_an_error_that_names_the_row(tiny_model_dir):
    engine = engine_of(tiny_model_dir)
    with torch.no_grad():
        engine.model.score.decoder[0, 0] = float("nan")
    with pytest.raises(NumericsError, match="f:1"):
        score(engine, some_rows(1))


@pytest.mark.parametrize(
    "options", [{"reward_scale": "log"}, {"kappa": -1.0}, {"kappa": float("nan")}, {"on_bad_rows": "ignore"}]
)
def test_options_that_are_not_allowed(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        ScoreOptions(**options)


@pytest.mark.parametrize("skip", [0, 3, 511, 512, 600, 699, 700])
def test_a_continued_output_has_the_digits_of_an_undisturbed_one(engine, tmp_path, skip):
    """Rows beside each other are read in one pass, whose size shows in the last digits."""
    lines = [json.dumps({"prompt": "city plan", "completion": "good " * (1 + n % 23)}) for n in range(700)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    source = Source(tmp_path / "in.jsonl")
    whole = list(chain.from_iterable(Scorer(engine).windows(source)))
    scorer = Scorer(engine)
    assert list(chain.from_iterable(scorer.windows(source, skip))) == whole[skip:]
    assert scorer.counts.rows == 700 - skip
    with pytest.raises(DataError, match="the output holds 701 rows, the input only 700"):
        list(Scorer(engine).windows(source, 701))


def test_an_input_shorter_than_the_output_is_an_error(engine, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('{"prompt": "a", "completion": "b"}\n' * 2)
    sink = ScoreFile(tmp_path / "out.jsonl", {"input": {"path": "in.jsonl"}})
    sink.write([{"line": number} for number in range(1, 7)])
    with pytest.raises(DataError, match="only 2"):
        write_scores(Scorer(engine).windows(Source(source), sink.rows_done), sink)


def test_settings_tell_models_inputs_and_options_apart(tiny_model_dir, make_tiny_model, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"prompt": "a"}\n')

    def settings(engine: RewardEngine, **options) -> dict:
        return scoring_settings(reward_settings(Scorer(engine, ScoreOptions(**options))), Source(path))

    first = settings(engine_of(tiny_model_dir))
    assert first == settings(engine_of(tiny_model_dir))
    assert first == settings(engine_of(tiny_model_dir), on_bad_rows="skip")
    assert json.loads(json.dumps(first)) == first
    others = [
        settings(engine_of(make_tiny_model(head="gated"))),
        settings(engine_of(tiny_model_dir, steering=Steering({"safety": 1.0}))),
        settings(engine_of(tiny_model_dir), kappa=1.0),
        settings(engine_of(tiny_model_dir), reward_scale="standardized"),
    ]
    path.write_text('{"prompt": "b"}\n')
    others.append(settings(engine_of(tiny_model_dir)))
    assert all(other != first for other in others)


def test_the_fingerprint_of_an_input_sees_its_end(tmp_path):
    file = tmp_path / "rows.jsonl"
    prints = []
    for last in "ab":
        file.write_text('{"prompt": "x"}\n' * 80_000 + f'{{"prompt": "{last}"}}\n')
        prints += [source_fingerprint(str(file)), source_fingerprint(str(file))]
    assert prints[0] == prints[1] != prints[2] == prints[3]
    assert prints[0]["size"] == prints[2]["size"] > 1 << 20


def test_the_fingerprint_sees_every_weight(tiny_model_dir):
    engine = engine_of(tiny_model_dir)
    before = model_fingerprint(engine)
    with torch.no_grad():
        next(engine.model.backbone.parameters())[3, 5] += 1e-3
    assert model_fingerprint(engine) != before


def test_copied_columns_may_hold_half_of_a_surrogate_pair(engine):
    rows = [ScoringRow(1, {"id": "odd \ud800", "note": "caf\u00e9"}, Judgment("water", ["long"]))]
    (row,) = score(engine, rows, ScoreOptions(keep=("note",)))
    line = encode_row(row)
    assert json.loads(line.encode()) == row
    assert "\u00e9" in encode_row({**row, "id": "even"})
