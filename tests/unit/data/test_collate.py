from __future__ import annotations

import math
import re

import pytest
import torch

from vrm.core.likelihoods import LIKELIHOODS
from vrm.core.likelihoods.base import Judgments
from vrm.data.collate import TargetEncoder, target_keys
from vrm.data.schema import Judgment
from vrm.data.tokenized import TokenizedJudgment
from vrm.errors import DataError
from vrm.train.passes import JudgmentCollator

PAIR = Judgment("p", ["a", "b"], preference=0.75, margin=0.5)
LISTED = Judgment("p", ["a", "b", "c"], scores=[3.0, 1.0, 1.0])
RATED = Judgment("p", ["a", "b"], ratings=[{"x": 5.0}, {"x": 1.0, "y": 2.0}])
VOTED = Judgment("p", objective_votes={"y": 3.0, "x": 1.0})
TARGETS = TargetEncoder(("x", "y"), {"x": 3.0}, {"x": 2.0})


def item(judgment, prompt, *completions):
    return TokenizedJudgment(list(prompt), [list(ids) for ids in completions], judgment)


def test_labels_and_what_is_missing():
    labels = TARGETS([PAIR, LISTED, RATED, VOTED])
    assert set(labels) == set(target_keys())
    assert labels["mask"].int().tolist() == [[1, 1, 0], [1, 1, 1], [1, 1, 0], [0, 0, 0]]
    assert labels["preference"][0] == 0.75
    assert labels["preference"][1:].isnan().all()
    assert labels["margin"].tolist() == [0.5, 0.0, 0.0, 0.0]
    assert labels["scores"][1].tolist() == [1.0, 0.0, 0.0], "their places, which float32 keeps apart"
    assert labels["scores"][[0, 2, 3]].isnan().all()
    assert labels["ratings"].shape == (4, 3, 2)
    # Standardized by the training statistics of that name; without any, as they are.
    assert labels["ratings"][2, 0].tolist()[0] == 1.0
    assert labels["ratings"][2, 1].tolist() == [-1.0, 2.0]
    assert math.isnan(labels["ratings"][2, 0, 1])
    assert labels["ratings"][[0, 1, 3]].isnan().all()
    assert labels["votes"].tolist() == [[0, 0], [0, 0], [0, 0], [0.25, 0.75]]


def test_votes_keep_their_counts_on_request_and_take_any_total():
    assert TargetEncoder(("x", "y"), votes_total=None)([VOTED])["votes"].tolist() == [[1.0, 3.0]]
    assert TargetEncoder(("x", "y"), votes_total=8.0)([VOTED])["votes"].tolist() == [[2.0, 6.0]]


def test_a_spread_of_zero_does_not_divide():
    labels = TargetEncoder(("x",), {"x": 5.0}, {"x": 0.0})([Judgment("p", ["a"], ratings=[{"x": 5.0}])])
    assert labels["ratings"][0, 0].tolist() == [0.0]


def test_heads_without_objectives_get_no_ratings_and_votes():
    labels = TargetEncoder()([RATED, VOTED])
    assert labels["ratings"].shape == (2, 2, 0)
    assert labels["votes"].shape == (2, 0)


@pytest.mark.parametrize(
    "row",
    [
        Judgment("p", objective_votes={"z": 1.0}, file="f", line=3),
        Judgment("p", ["a"], ratings=[{"z": 1}], file="f", line=3),
    ],
)
def test_an_unknown_objective_is_an_error_that_names_the_row(row):
    with pytest.raises(DataError, match="f:3: objective 'z' is not one of the model's: x, y"):
        TARGETS([row])


def test_each_likelihood_sees_the_rows_that_have_its_label():
    def observed(*rows):
        judgments = Judgments(**TARGETS(rows))
        seen = {name: likelihood.observed(judgments).tolist() for name, likelihood in LIKELIHOODS.items()}
        return {name: rows for name, rows in seen.items() if any(rows)}

    assert observed(PAIR) == {"comparison": [True]}
    assert observed(LISTED, RATED, VOTED) == {
        "ranking": [True, False, False],
        "ratings": [False, True, False],
        "votes": [False, False, True],
    }


def test_a_batch_holds_the_documented_tensors():
    collate = JudgmentCollator(TARGETS, pad_id=99)
    batch = collate(
        [
            item(PAIR, [1, 2], [3], [4, 5, 6]),
            item(VOTED, [7, 8, 9]),
            item(LISTED, [1], [2], [], [3]),
        ]
    )
    arguments = {"input_ids", "attention_mask", "completion_start", "prompt_rows", "completion_rows"}
    assert set(batch) == arguments | set(target_keys())
    assert arguments | {"mask", "offsets"} <= set(re.findall(r"[a-z_]+", JudgmentCollator.__doc__ or ""))
    assert batch["input_ids"].tolist() == [
        [1, 2, 3, 99, 99],
        [1, 2, 4, 5, 6],
        [7, 8, 9, 99, 99],
        [1, 2, 99, 99, 99],
        [1, 99, 99, 99, 99],
        [1, 3, 99, 99, 99],
    ]
    assert torch.equal(batch["attention_mask"].bool(), batch["input_ids"] != 99)
    assert batch["completion_start"].tolist() == [2, 2, 3, 1, 1, 1]
    assert batch["prompt_rows"].tolist() == [0, 2, 3]
    assert batch["completion_rows"].tolist() == [[0, 1, -1], [-1, -1, -1], [3, 4, 5]]
    assert batch["mask"].tolist() == (batch["completion_rows"] >= 0).tolist()
