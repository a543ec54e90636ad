"""A kind of label that the package does not have: best-worst choices, added by one entry and one likelihood.

A row of `completions` says which is `best` and which is `worst`, by position. The likelihood is the product of two
softmaxes: the best is chosen among all by reward, then the worst among the others by minus the reward.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.likelihoods.base import DrawnOutcome, Judgments
from vrm.core.losses import marginal_terms, variational_terms
from vrm.core.posteriors import Posteriors, RatingModel
from vrm.data import InvalidRowError, load_judgments, parse_row
from vrm.data.collate import TargetEncoder
from vrm.errors import ConfigError
from vrm.evaluate.preferences import evaluate_judgments
from vrm.inference.engine import RewardEngine
from vrm.labels import KINDS, Check, Column, Kind, LabelTensor, Layout, Row, likelihoods, register_kind
from vrm.metrics import ResampleOptions
from vrm.report import read_inputs, render_report
from vrm.train.run import run_training

FAR = 1e4


class BestWorst(DrawnOutcome):
    """Reads `best` and `worst`, (batch,) positions, NaN elsewhere."""

    label = "best"

    def log_likelihood(self, rewards: Tensor, judgments: Judgments) -> Tensor:
        best, worst = (judgments.labels[name].nan_to_num().long() for name in ("best", "worst"))
        best, worst = (index.expand(rewards.shape[:-1]).unsqueeze(-1) for index in (best, worst))
        chosen = rewards.masked_fill(~judgments.mask, -FAR).log_softmax(-1).gather(-1, best)
        others = (-rewards).masked_fill(~judgments.mask, -FAR).scatter(-1, best, -FAR)
        return (chosen + others.log_softmax(-1).gather(-1, worst)).squeeze(-1)


def parse(check: Check, columns: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    if not columns:
        return {}
    labels = {name: check.number(name, columns[name]) for name in ("best", "worst") if name in columns}
    for name, position in labels.items():
        if position is not None and position not in range(check.count or 0):
            check.note(name, "out of range", f"{position} is no position of a completion.")
    if len(labels) < 2:
        check.note(next(iter(labels)), "missing field", "'best' and 'worst' belong together.")
    return {"labels": labels}


def pairs(row: Row) -> list[tuple[int, int, float]]:
    best, worst = int(row.labels["best"]), int(row.labels["worst"])
    others = set(range(len(row.completions)))
    beaten = [(best, other, 1.0) for other in sorted(others - {best})]
    return beaten + [(other, worst, 1.0) for other in sorted(others - {best, worst})]


BEST_WORST = Kind(
    "best_worst",
    columns=(Column("best", (Layout.LIST,), is_number=True), Column("worst", (Layout.LIST,), is_number=True)),
    parse=parse,
    has=lambda row: "best" in row.labels,
    tensors=tuple(
        LabelTensor(name, (), math.nan, lambda row, space, name=name: row.labels[name]) for name in ("best", "worst")
    ),
    likelihood=BestWorst,
    counted="best-worst choices",
    title="Log-likelihood of best-worst choices",
    pairs=pairs,
)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register_kind(BEST_WORST)
    yield
    del KINDS[BEST_WORST.name]


def choice(line: int, **changes: Any) -> dict[str, Any]:
    """A row whose best completion has a good word and whose worst has a bad one, in any order."""
    generator = random.Random(line)
    texts = {"best": "the plan is good please", "worst": "the plan is bad no", "middle": "the plan is water"}
    names = generator.sample(sorted(texts), 3)
    row = {"prompt": f"how plan {line}", "completions": [texts[name] for name in names]}
    return {**row, "best": names.index("best"), "worst": names.index("worst"), **changes}


@pytest.fixture
def file(tmp_path):
    """Best-worst choices and comparisons in turn."""
    pair = {"prompt": "how is water", "chosen": "the city is safe", "rejected": "the city is unsafe"}
    rows = [choice(line) if line % 3 else {**pair, "prompt": f"how is {line}"} for line in range(60)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_are_read_counted_and_compared(file):
    loaded = load_judgments(str(file))
    assert loaded.report.ok
    assert loaded.report.kinds == {"comparisons": 20, "best-worst choices": 40}
    assert not loaded.report.ignored
    assert parse_row(choice(1, best=2, worst=0)).labels == {"best": 2.0, "worst": 0.0}


def test_cells_of_a_table_are_read(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completions,best,worst\nhow,"[""good"", ""bad"", ""plan""]",0,1\n', encoding="utf-8")
    (row,) = load_judgments(str(path)).judgments
    assert row.labels == {"best": 0.0, "worst": 1.0}


@pytest.mark.parametrize(
    ("row", "field", "kind"),
    [
        (choice(1, best=3), "best", "out of range"),
        (choice(1, worst="low"), "worst", "wrong type"),
        (choice(1, worst=None), "best", "missing field"),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "best": 0}, "best", "mixed layouts"),
    ],
)
def test_bad_rows_are_named(row, field, kind):
    with pytest.raises(InvalidRowError) as caught:
        parse_row(row)
    assert [(problem.field, problem.kind) for problem in caught.value.problems] == [(field, kind)]


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(ConfigError, match="best, best_worst, worst taken already"):
        register_kind(BEST_WORST)


def test_the_likelihood_is_in_both_losses_and_rows_without_the_label_have_none():
    loc = torch.tensor([[[2.0], [0.0], [1.0]], [[0.0], [1.0], [2.0]]]).double()
    one = torch.ones(2, 1).double()
    head = Posteriors(
        ObjectiveWeights(one), SemanticFeatures(loc, loc * 0), one[:1], RatingModel(one[0, 0], one[0], one[0])
    )
    rows = [choice(1, best=0, worst=1), choice(2, best=None, worst=None, scores=[1, 2, 3])]
    judgments = Judgments(**TargetEncoder(("quality",))([parse_row(row) for row in rows]))
    first = math.exp(2) / (math.exp(2) + math.exp(0) + math.exp(1))
    last = math.exp(0) / (math.exp(0) + math.exp(-1))
    for loss in (variational_terms, marginal_terms):
        terms = loss(head, judgments, torch.ones(1).double(), likelihoods=likelihoods())
        assert terms.best_worst.tolist() == pytest.approx([math.log(first * last), 0.0])
        assert (terms.ranking != 0).tolist() == [False, True]


@pytest.mark.parametrize("loss", ["variational", "marginal"])
def test_a_run_trains_logs_reports_and_is_evaluated(file, make_config, loss):
    changes = {"data.train": [str(file)], "data.held_out": 0.2, "loss.name": loss, "train.epochs": 10}
    config = make_config({**changes, "train.learning_rate": 0.05, "train.early_stopping": None})
    result = run_training(config)
    history = [json.loads(line) for line in (result.model_dir.parent / "history.jsonl").read_text().splitlines()]
    curve = [entry["best_worst"] for entry in history if "best_worst" in entry]
    assert curve[0] < 0.7 * math.log(1 / 6)
    assert curve[-1] > curve[0] / 2
    assert all(entry["weighted/best_worst"] >= 0 for entry in history if "best_worst" in entry)
    page = render_report(read_inputs([str(result.model_dir.parent)]))
    assert "Log-likelihood of best-worst choices" in page

    choices = [row for row in load_judgments(str(file)).judgments if BEST_WORST.has(row)]
    engine = RewardEngine.from_pretrained(result.model_dir)
    evaluation = evaluate_judgments(engine, choices, ResampleOptions(resamples=10))
    assert evaluation.judgments == 40
    assert evaluation.pairs.count == 120
    assert evaluation.pairs.accuracy.estimate > 0.9
