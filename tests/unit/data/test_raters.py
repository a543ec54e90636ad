"""Several raters of one pair: the column `judgments`, and rows in long form."""

from __future__ import annotations

import json

import pytest
import torch

from vrm.data import InvalidRowError, Judgment, load_judgments, parse_row
from vrm.data.collate import TargetEncoder
from vrm.data.validation import kinds_of
from vrm.errors import DataError
from vrm.labels import RaterJudgment, labelled_pairs

PAIR = {"prompt": "Name a tree.", "chosen": "Oak", "rejected": "Granite"}


def judged(*judgments, **columns) -> Judgment:
    return parse_row({**PAIR, "judgments": list(judgments), **columns})


def vote(annotator: str, preference: float, **labels) -> dict:
    return {"annotator": annotator, "preference": preference, **labels}


def test_what_the_raters_say_together_is_the_rows():
    row = judged(
        vote("a", 1, chosen_ratings={"fit": 5, "tone": 2}, objective_votes={"fit": 1}),
        vote("b", 0.5, chosen_ratings={"fit": 2}, rejected_ratings={"fit": 1}, objective_votes={"fit": 1, "tone": 2}),
        vote("c", 1),
    )
    assert row.preference == pytest.approx(2.5 / 3)
    assert row.ratings == [{"fit": 3.5, "tone": 2.0}, {"fit": 1.0}]
    assert row.objective_votes == {"fit": 2.0, "tone": 2.0}
    assert [(entry.annotator, entry.preference) for entry in row.judgments] == [("a", 1.0), ("b", 0.5), ("c", 1.0)]
    assert row.judgments[0].ratings == [{"fit": 5.0, "tone": 2.0}, {}]
    assert kinds_of(row) == ["pairs with several judgments", "with ratings", "with votes"]
    assert labelled_pairs(row) == [(0, 1, pytest.approx(2.5 / 3))]


def test_ratings_and_votes_of_the_row_itself_come_first():
    row = judged(
        vote("a", 1, chosen_ratings={"fit": 5}, objective_votes={"fit": 1}),
        chosen_ratings={"fit": 3},
        objective_votes={"tone": 1},
        preference=0.1,
    )
    assert row.ratings == [{"fit": 3.0}, {}]
    assert row.objective_votes == {"tone": 1.0}
    assert row.preference == 1.0


def test_nulls_of_columnar_files_are_absent_and_numbers_name_raters():
    row = judged({"annotator": 7, "preference": 0, "chosen_ratings": None}, {"annotator": None, "preference": 1})
    assert row.judgments == [RaterJudgment("7", 0.0), RaterJudgment(None, 1.0)]


@pytest.mark.parametrize(
    ("judgments", "field", "kind"),
    [
        ([vote("a", 1), {"annotator": "b"}], "judgments[1].preference", "missing field"),
        ([vote("a", None)], "judgments[0].preference", "missing field"),
        ([vote("a", 0.7)], "judgments[0].preference", "out of range"),
        ([vote("a", "A")], "judgments[0].preference", "wrong type"),
        ([vote("a", True)], "judgments[0].preference", "wrong type"),
        ([vote(["a"], 1)], "judgments[0].annotator", "wrong type"),
        ([vote("a", 1, rating={"fit": 1})], "judgments[0]", "unknown field"),
        ([vote("a", 1, chosen_ratings={"fit": "good"})], "judgments[0].chosen_ratings.fit", "wrong type"),
        ([vote("a", 1, objective_votes={"fit": -1})], "judgments[0].objective_votes.fit", "negative vote"),
        (["first"], "judgments[0]", "wrong type"),
        ([], "judgments", "no judgments"),
        ({"a": 1}, "judgments", "wrong type"),
        ("both", "judgments", "wrong type"),
    ],
)
def test_missing_and_wrong_pieces_are_named(judgments, field, kind):
    with pytest.raises(InvalidRowError) as caught:
        parse_row({**PAIR, "judgments": judgments})
    assert [(problem.field, problem.kind) for problem in caught.value.problems] == [(field, kind)]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"rater": "a", "preference": 1}, "'rater' is not read; .* Did you mean 'annotator'?"),
        ({"annotator_id": "a", "preference": 1}, "Did you mean 'annotator'?"),
        ({"annotator": "a", "preferrence": 1}, "Did you mean 'preference'?"),
        ({"worker": "a", "vote": 1}, "'worker', 'vote' is not read; .* Did you mean 'annotator', 'preference'?"),
        (
            {"annotator": "a", "preference": "A"},
            r"'A' is a str; it must be 1 \(chosen\), 0 \(rejected\) or 0.5 \(a tie",
        ),
    ],
)
def test_other_names_and_letters_are_told_what_was_meant(entry, words):
    with pytest.raises(InvalidRowError, match=words):
        parse_row({**PAIR, "judgments": [entry]})


def test_judgments_belong_to_pairs_and_know_the_objectives_of_the_run():
    with pytest.raises(InvalidRowError, match="belongs to rows with 'chosen' and 'rejected'"):
        parse_row({"prompt": "p", "completions": ["a", "b"], "judgments": [vote("a", 1)]})
    with pytest.raises(InvalidRowError, match=r"judgments\[0\]\.chosen_ratings\.fot': 'fot' is not an objective"):
        parse_row({**PAIR, "judgments": [vote("a", 1, chosen_ratings={"fot": 1})]}, objectives=["fit"])


def test_a_judgment_made_in_python_has_the_share_and_no_vote_between():
    assert Judgment("p", ["a", "b"], judgments=[RaterJudgment("x", 1.0), RaterJudgment("y", 0.5)]).preference == 0.75
    with pytest.raises(DataError, match=r"preference of a rater is 0.3; 1 is a vote for 'chosen'"):
        RaterJudgment("x", 0.3)


def test_votes_become_counts_and_other_rows_have_none():
    rows = [judged(vote("a", 1), vote("b", 0), vote("c", 0.5), vote("d", 1)), parse_row({**PAIR, "preference": 0.5})]
    batch = TargetEncoder(())(rows)
    assert batch["vote_counts"].tolist() == [[2.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    assert torch.isnan(batch["preference"]).tolist() == [True, False]


def write(path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_long_form_is_grouped_whichever_side_comes_first(tmp_path):
    swapped = {"prompt": PAIR["prompt"], "chosen": PAIR["rejected"], "rejected": PAIR["chosen"]}
    rows = [
        {**PAIR, "annotator": "a", "chosen_ratings": {"fit": 4}, "objective_votes": {"fit": 1}},
        {**PAIR, "prompt": "Name a stone.", "annotator": "a"},
        {**swapped, "annotator": "b", "chosen_ratings": {"fit": 1}, "rejected_ratings": {"fit": 2}},
        {**swapped, "annotator": "c", "preference": 0.5, "objective_votes": {"fit": 1}},
    ]
    loaded = load_judgments(write(tmp_path / "crowd.jsonl", rows))
    first, other = loaded.judgments
    assert first.judgments == [
        RaterJudgment("a", 1.0, [{"fit": 4.0}, {}], {"fit": 1.0}),
        RaterJudgment("b", 0.0, [{"fit": 2.0}, {"fit": 1.0}]),
        RaterJudgment("c", 0.5, None, {"fit": 1.0}),
    ]
    assert (first.preference, first.line, first.annotator) == (0.5, 1, None)
    assert first.ratings == [{"fit": 3.0}, {"fit": 1.0}]
    assert first.objective_votes == {"fit": 2.0}
    assert (other.judgments, other.annotator) == (None, "a")
    beside = {"with ratings": 1, "with votes": 1}
    assert loaded.report.kinds == {"pairs with several judgments": 1, "comparisons": 1, **beside}
    assert "3 rows of several raters were grouped into 1 pair\n" in loaded.report.render()
    assert loaded.report.to_dict()["grouped"] == {"crowd": {"rows": 3, "pairs": 1}}
    apart = load_judgments(str(tmp_path / "crowd.jsonl"), group_raters=False)
    assert len(apart.judgments) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"annotator": None},
        {"annotator": "a"},
        {"annotator": "b", "preference": 0.8},
        {"annotator": "b", "margin": 1.0},
        {"annotator": "b", "tools": [{"name": "saw"}]},
        {"annotator": "b", "rejected": "Slate"},
    ],
)
def test_rows_that_are_no_second_rater_stay_rows(tmp_path, change):
    loaded = load_judgments(write(tmp_path / "rows.jsonl", [{**PAIR, "annotator": "a"}, {**PAIR, **change}]))
    assert [row.judgments for row in loaded.judgments] == [None, None]
    assert not loaded.report.grouped
