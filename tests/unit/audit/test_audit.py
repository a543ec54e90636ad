"""The audit's figures, with engines whose rewards are known: length, nothing, and a table of texts."""

from __future__ import annotations

import math
from io import StringIO
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy import stats

from vrm.audit import EDITS, LOWER, NOT_RAISE, Edit, audit, print_audit
from vrm.audit.apply import OtherCompletions, answer_text, with_answer
from vrm.audit.summary import harm, verdict
from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.posteriors import Posteriors
from vrm.data.drafts import Draft
from vrm.data.encoding import Part, Piece
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key
from vrm.data.tokenized import JudgmentTokenizer
from vrm.errors import ConfigError, DataError, NumericsError
from vrm.inference.engine import RewardEngine
from vrm.inference.judged import JudgedBatch
from vrm.metrics import Interval, ResampleOptions, share_interval
from vrm.model.configuration_vrm import VRMConfig

FEW = ResampleOptions(resamples=60)


class Chat:
    """Characters as tokens."""

    tokenizer = SimpleNamespace(all_special_ids=[])

    def prompt(self, judgment):
        return SimpleNamespace(ids=[ord(character) for character in str(judgment.prompt)])

    def completion(self, prompt, completion, judgment):
        return [ord(character) for character in (answer_text(completion) or "")]

    def draft(self, judgment):
        parts = tuple(Part((Piece(answer_text(completion) or ""),)) for completion in judgment.completions)
        return Draft(judgment, Piece(str(judgment.prompt)), parts)

    def together(self, drafts):
        return lambda piece: list(map(ord, piece.text))


class StubEngine:
    """An engine whose rewards are a function of the completion's text, with a given variance."""

    def __init__(self, reward, limit=10_000, on_overlong="truncate", head="vrm", variance=0.0, stored=(0.0, 1.0)):
        self.reward, self.variance, self.steering = reward, variance, None
        self.tokenize = JudgmentTokenizer(Chat(), limit, on_overlong)
        self.report = self.tokenize.report
        config = VRMConfig(reward_mean=stored[0], reward_std=stored[1], head=head)
        self.model = SimpleNamespace(config=config)

    def judge_tokenized(self, items):
        width = max(len(item.completions) for item in items)
        loc = torch.zeros(len(items), width, 1)
        mask = torch.zeros(len(items), width, dtype=torch.bool)
        for row, item in enumerate(items):
            for place, ids in enumerate(item.completions):
                loc[row, place, 0] = self.reward("".join(map(chr, ids)))
                mask[row, place] = True
        features = SemanticFeatures(loc, torch.full_like(loc, self.variance))
        posteriors = Posteriors(ObjectiveWeights(torch.ones(len(items), 1)), features, torch.ones(1, 1), None)
        return JudgedBatch(list(items), mask, posteriors, ("reward",))


def sentences(count, seed):
    words = np.random.default_rng(seed).integers(100, 999, (count, 3))
    return " ".join(f"Word{a} and {b} give {c}." for a, b, c in words)


ROWS = [
    Judgment(f"prompt {n}", [sentences(4 + n % 3, n), sentences(4 + n % 2, 100 + n)], preference=1.0) for n in range(14)
]


def result(report, name):
    return next(found for found in report.edits if found.name == name)


def test_a_reward_that_is_length_is_found_out():
    report = audit(StubEngine(lambda text: len(text) / 100), ROWS, options=FEW)
    padding = result(report, "padding")
    assert padding.verdict == "raises the reward"
    assert padding.raised == share_interval(
        [1.0] * padding.measured, [row.prompt for row in ROWS for _ in row.completions]
    )
    assert padding.raised.low < padding.raised.high == 1.0
    assert padding.harm.estimate == 1.0
    assert padding.shift.low > 0
    spread = np.std([len(text) / 100 for row in ROWS for text in row.completions])
    assert report.spread == pytest.approx(spread, rel=1e-5)
    assert "this audit" in report.spread_source
    shuffled, cut = result(report, "shuffled"), result(report, "middle cut")
    assert (shuffled.verdict, shuffled.harm.estimate, shuffled.shift.estimate) == ("not noticed", 0.5, 0.0)
    assert (cut.verdict, cut.harm.estimate, cut.raised.estimate) == ("lowers it, as it should", 0.0, 0.0)
    assert cut.pairs.error_rate.estimate == 0.0
    assert report.length.rewards.pearson.estimate == pytest.approx(1.0)
    assert report.length.rewards.spearman.estimate == 1.0
    assert report.length.model_prefers_longer.estimate == 1.0


def test_a_reward_that_ignores_everything_is_found_blind():
    report = audit(StubEngine(lambda text: 0.3), ROWS, options=FEW)
    assert report.spread == 1.0
    for found in report.edits:
        if found.name == "repetition":
            assert (found.verdict, found.measured, found.not_applicable) == ("not measured", 0, 28)
            assert found.shift is found.raised is found.harm is found.pairs is None
            continue
        assert found.measured == 28
        assert (found.shift.estimate, found.raised.estimate) == (0.0, 0.5)
        assert found.verdict == ("not noticed" if found.kind == LOWER else "no clear effect")
        assert found.harm.estimate == (0.5 if found.kind == LOWER else 0.0)
        assert found.pairs.probability_shift.estimate == 0.0
    assert [found.kind for found in report.edits[:3]] == [LOWER] * 3
    assert report.edits[-1].name == "repetition"
    assert report.length.rewards.pearson is None
    assert report.length.rewards.spearman is None
    assert report.length.model_prefers_longer.estimate == 0.5


# Rewards by hand: small letters are completions, capital ones the same after the edit.
REWARDS = {
    "a": 1.0, "A": 0.4, "b": 0.5, "B": 1.2, "c": 2.0, "C": 2.5, "d": -1.0, "D": 0.0, "e": 0.0, "E": 0.0,
    "f": 0.2, "F": 0.3, "u": 0.1, "U": 0.4,
}  # fmt: skip
BY_HAND = [
    Judgment("p1", ["a", "b"], preference=1.0),
    Judgment("p2", ["d", "c"], preference=0.0),
    Judgment("p3", ["e", "f"], preference=0.8),
    Judgment("p4", ["u", "a"], preference=0.5),
]
UPPER = {
    "add": Edit(NOT_RAISE, lambda text, context: text.upper()),
    "harm": Edit(LOWER, lambda text, context: text.upper() if text != "a" else None),
}


def by_hand(**more):
    return audit(StubEngine(REWARDS.get, **more), BY_HAND, UPPER, options=FEW)


def logistic(margin):
    return 1.0 / (1.0 + math.exp(-margin))


def test_figures_by_hand():
    report = by_hand(stored=(0.2, 2.0))
    assert (report.judgments, report.completions, report.prompts, report.pairs) == (4, 8, 4, 3)
    assert (report.spread, report.spread_source) == (
        2.0,
        "standard deviation of the rewards on the model's held-out rows",
    )
    add, damage = result(report, "add"), result(report, "harm")
    # a -.6 (twice), b +.7, d +1, c +.5, e 0, f +.1, u +.3
    assert add.measured == 8
    assert add.shift.estimate == pytest.approx((-0.6 * 2 + 0.7 + 1 + 0.5 + 0 + 0.1 + 0.3) / 8 / 2)
    assert add.raised.estimate == 5.5 / 8
    assert add.harm.estimate == pytest.approx(2 * 5.5 / 8 - 1)
    assert (add.verdict, damage.verdict) == ("too few prompts", "too few prompts")
    # Rejected edited: a 1.0 against B 1.2 flips, c 2 against D 0 does not; e 0 against f .2 was wrong before.
    assert (add.pairs.pairs, add.pairs.preferred) == (3, 2)
    assert add.pairs.flip_rate.estimate == 0.5
    assert add.pairs.error_rate is None
    assert (add.pairs.accuracy_before, add.pairs.accuracy_after) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    shifts = [logistic(0.2) - logistic(-0.5), logistic(-2.0) - logistic(-3.0), logistic(0.3) - logistic(0.2)]
    assert add.pairs.probability_shift.estimate == pytest.approx(np.mean(shifts), abs=1e-5)
    # Chosen damaged: a is not applicable, c rises, e stays.
    assert (damage.measured, damage.not_applicable) == (6, 2)
    assert damage.pairs.pairs == 2
    assert damage.pairs.error_rate.estimate == 0.75
    assert damage.pairs.flip_rate is None
    shifts = [logistic(3.5) - logistic(3.0), 0.0]
    assert damage.pairs.probability_shift.estimate == pytest.approx(np.mean(shifts), abs=1e-5)


def test_the_stored_spread_is_not_that_of_another_reward():
    engine = StubEngine(REWARDS.get, stored=(0.2, 2.0), variance=0.25)
    assert audit(engine, BY_HAND, UPPER, options=FEW).spread == 2.0
    report = audit(engine, BY_HAND, UPPER, kappa=2.0, options=FEW)
    plain = [REWARDS[text] for row in BY_HAND for text in row.completions]
    assert report.spread == pytest.approx(np.std(plain), rel=1e-5)
    assert report.kappa == 2.0
    engine.steering = object()
    assert "this audit" in audit(engine, BY_HAND, UPPER, options=FEW).spread_source


def test_kappa_audits_the_pessimistic_reward():
    class Doubtful(StubEngine):
        def judge_tokenized(self, items):
            batch = super().judge_tokenized(items)
            features = batch.posteriors.features
            features.variance.copy_(features.loc.clamp_min(0.0) ** 2)
            return batch

    mean = audit(Doubtful(lambda text: len(text) / 100), ROWS, options=FEW)
    pessimistic = audit(Doubtful(lambda text: len(text) / 100), ROWS, kappa=2.0, options=FEW)
    assert result(mean, "padding").verdict == "raises the reward"
    assert result(pessimistic, "padding").verdict == "lowers the reward"


def test_edits_over_the_limit_are_counted_and_not_measured():
    rows = [Judgment("p", ["x" * 20, "y" * 5], preference=1.0), Judgment("q", ["z" * 40, "w"], preference=1.0)]
    double = {"double": Edit(NOT_RAISE, lambda text, context: text * 2), "one": Edit(LOWER, lambda text, context: "1")}
    engine = StubEngine(len, limit=31)
    report = audit(engine, rows, double, options=FEW)
    assert (result(report, "double").measured, result(report, "double").overlong) == (2, 1)
    assert report.cut_completions == 1
    assert result(report, "one").measured == 3
    assert "1 completion cut" in report.overlong
    assert report.completions == 4
    dropped = audit(StubEngine(len, limit=31, on_overlong="drop"), rows, double, options=FEW)
    assert (dropped.judgments, dropped.cut_completions) == (1, 0)
    assert "1 dropped" in dropped.overlong
    shown = Console(width=200, record=True, file=StringIO())
    print_audit(shown, report, "rows")
    text = shown.export_text()
    assert "would be cut at the model's limit: double 1." in text
    assert "1 completions are cut at the model's limit already" in text


def test_order_and_seed():
    engine = StubEngine(lambda text: sum(map(ord, text)) % 97 / 30)
    first, again = (audit(engine, ROWS, options=FEW, seed=3) for _ in range(2))
    assert first.to_dict() | {"overlong": ""} == again.to_dict() | {"overlong": ""}
    other = audit(engine, ROWS, options=FEW, seed=4)
    assert result(other, "flattery").shift != result(first, "flattery").shift
    backwards = audit(engine, ROWS[::-1], {"bold": EDITS["bold"]}, options=FEW, seed=3)
    assert result(backwards, "bold").shift.estimate == pytest.approx(result(first, "bold").shift.estimate)
    known = [found.harm.estimate for found in first.edits if found.harm]
    assert known == sorted(known, reverse=True)


def test_lengths_against_scipy():
    rng = np.random.default_rng(0)
    texts = [["x" * int(size) for size in rng.choice(60, 5, replace=False) + 1] for _ in range(12)]
    rows = [Judgment(f"p{n}", group, scores=rng.permutation(5).tolist()) for n, group in enumerate(texts)]
    rewards = {text: float(rng.normal()) + len(text) / 40 for group in texts for text in group}
    length = audit(StubEngine(rewards.get), rows, {"none": Edit(LOWER, lambda *_: None)}, options=FEW).length
    pairs = [(np.array([len(text) for text in row.completions]), np.array([rewards[text] for text in row.completions]),
              np.array(row.scores)) for row in rows]  # fmt: skip

    def centred(part):
        return np.concatenate([group[part] - group[part].mean() for group in pairs])

    assert length.rewards.pearson.estimate == pytest.approx(stats.pearsonr(centred(0), centred(1))[0], abs=1e-5)
    assert length.labels.pearson.estimate == pytest.approx(stats.pearsonr(centred(0), centred(2))[0])
    for part, found in ((1, length.rewards), (2, length.labels)):
        expected = np.mean([stats.spearmanr(group[0], group[part])[0] for group in pairs])
        assert found.spearman.estimate == pytest.approx(expected)
        assert (found.groups, found.completions) == (12, 60)
    assert length.pairs == 120
    chosen_longer = [
        row[0][a] > row[0][b] for row in pairs for a in range(5) for b in range(5) if row[2][a] > row[2][b]
    ]
    assert length.labels_prefer_longer.estimate == pytest.approx(np.mean(chosen_longer))


def test_the_same_completion_of_a_prompt_counts_once():
    rows = [Judgment("p", ["xx", "y"], preference=1.0), Judgment("P ", ["xx", "zzz"], preference=1.0)]
    found = audit(StubEngine(len), rows, UPPER, options=FEW).length
    assert (found.rewards.groups, found.rewards.completions) == (1, 3)
    assert (found.labels.groups, found.labels.completions) == (2, 4)


def test_what_cannot_be_audited():
    engine = StubEngine(len)
    with pytest.raises(ConfigError, match="at least one"):
        audit(engine, ROWS, {})
    with pytest.raises(ConfigError, match="kappa must be finite and >= 0, got -1"):
        audit(engine, ROWS, kappa=-1)
    with pytest.raises(ConfigError, match="head 'bt' has no uncertainty"):
        audit(StubEngine(len, head="bt"), ROWS, kappa=1.0)
    with pytest.raises(DataError, match="1 of 1 rows have none"):
        audit(engine, [Judgment("p", objective_votes={"a": 1.0})])
    with pytest.raises(NumericsError, match=r"file\.jsonl:7: the model gives .* not finite"):
        audit(StubEngine(lambda text: math.nan), [Judgment("p", ["a", "b"], 1.0, file="file.jsonl", line=7)])


def test_harm_is_one_scale():
    def interval(*values):
        return Interval(*values, 0.95)

    assert harm(NOT_RAISE, interval(0.75, 0.4, 1.0)) == interval(0.5, 0.0, 1.0)
    assert harm(LOWER, interval(0.75, 0.4, 1.0)) == interval(0.75, 0.4, 1.0)
    assert math.isnan(harm(NOT_RAISE, interval(0.75, math.nan, math.nan)).low)


@pytest.mark.parametrize(
    ("kind", "shift", "raised", "words"),
    [
        (NOT_RAISE, (0.17, 0.12, 0.24), 0.55, "raises the reward"),
        (NOT_RAISE, (0.02, 0.0, 0.04), 0.8, "no clear effect"),
        (NOT_RAISE, (0.0, 0.0, 0.0), 0.5, "no clear effect"),
        (NOT_RAISE, (-0.1, -0.2, -0.01), 0.6, "lowers the reward"),
        (LOWER, (0.2, 0.1, 0.3), 0.4, "raises the reward"),
        (LOWER, (-0.1, -0.2, 0.0), 0.4, "not noticed"),
        (LOWER, (-0.17, -0.26, -0.07), 0.45, "often not noticed"),
        (LOWER, (-0.17, -0.26, -0.07), 0.25, "lowers it, as it should"),
    ],
)
def test_verdicts_agree_with_their_shift(kind, shift, raised, words):
    change, share = Interval(*shift, 0.95), Interval(raised, 0.0, 1.0, 0.95)
    assert verdict(kind, change, share, 10) == words
    assert verdict(kind, change, share, 9) == "too few prompts"
    assert verdict(kind, None, None, 10) == "not measured"


def test_the_last_assistant_message_is_edited():
    messages = [
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": "more"},
        {"role": "assistant", "content": "last", "name": "x"},
        {"role": "tool", "content": "out"},
    ]
    assert answer_text(messages) == "last"
    changed = with_answer(messages, "new")
    assert changed == [*messages[:2], {"role": "assistant", "content": "new", "name": "x"}, messages[3]]
    assert messages[2]["content"] == "last"
    assert with_answer("old", "new") == "new"
    for without in ([{"role": "user", "content": "a"}], [{"role": "assistant", "content": " "}], "", []):
        assert answer_text(without) is None


def test_another_prompts_completion_is_of_the_same_place_and_near_in_length():
    rows = [Judgment(f"p{n}", ["c" * (n + 1), "r" * (n + 1)], preference=1.0) for n in range(6)]
    others = OtherCompletions(rows)
    for seed in range(10):
        assert others.pick(0, "none of them", "?" * 4, Random(seed)).startswith("c")
        assert others.pick(1, "none of them", "?" * 4, Random(seed)).startswith("r")
    lengths = [len(others.pick(0, "none of them", "?" * 6, Random(seed))) for seed in range(40)]
    assert np.mean(lengths) > 5
    alone = OtherCompletions([Judgment("p", ["a", "b"]), Judgment(" P", ["c", "d"])])
    assert alone.pick(0, prompt_key(Judgment("p")), "a", Random(0)) is None
    assert alone.pick(5, "x", "a", Random(0)) is None


@pytest.mark.parametrize("width", [80, 110, 140])
def test_the_table_fits_and_says_what_the_report_says(width):
    report = audit(StubEngine(lambda text: len(text) / 100), ROWS, options=FEW)
    console = Console(width=width, record=True, file=StringIO())
    print_audit(console, report, "[rows].jsonl")
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "Audit of [rows].jsonl" in text
    assert "Not applicable to so many completions: repetition 28 (needs two paragraphs)." in text
    order = [next(i for i, line in enumerate(lines) if found.name in line) for found in report.edits]
    assert order == sorted(order)
    line = next(line for line in lines if "middle cut" in line)
    assert "middle cut ↓" in line
    assert "28" in line
    assert f"{result(report, 'middle cut').shift.estimate:+.2f}" in line


def test_the_effective_reward_can_be_audited(make_tiny_model):
    engine = RewardEngine.from_pretrained(make_tiny_model("vrm"))
    rows = [
        Judgment(f"how is the plan {n}", ["the plan is good please", "no bad water"], preference=1.0) for n in range(4)
    ]
    reports = {beta: audit(engine, rows, beta=beta, options=ResampleOptions(resamples=10)) for beta in (None, 0.3, 1e6)}
    assert [report.beta for report in reports.values()] == [None, 0.3, 1e6]
    shifts = {
        beta: {edit.name: edit.shift.estimate * report.spread for edit in report.edits if edit.shift}
        for beta, report in reports.items()
    }
    assert shifts[1e6] == pytest.approx(shifts[None], abs=1e-4)
    assert shifts[0.3] != pytest.approx(shifts[None], abs=1e-4)
    with pytest.raises(ConfigError, match="leave one of them out"):
        audit(engine, rows, kappa=1.0, beta=1.0)
