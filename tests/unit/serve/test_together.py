"""Work of several requests in one step of a thread, and what each gets of a batch that was judged for many."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from vrm.data.schema import Judgment
from vrm.errors import NumericsError
from vrm.inference.reward_choice import RewardChoice
from vrm.inference.rewards import RewardView
from vrm.inference.steering import Steering
from vrm.serve import together
from vrm.serve.shares import Share
from vrm.serve.together import Together, each

LIMIT = 20.0


def run(work, main):
    """Run `main(together)`, of work in a thread."""

    async def started():
        async with asyncio.timeout(LIMIT):
            return await main(Together(work, thread))

    with ThreadPoolExecutor(1) as thread:
        return asyncio.run(started())


def gather(*calls):
    return asyncio.gather(*calls, return_exceptions=True)


def test_what_comes_together_is_one_step_and_results_go_to_their_callers():
    steps = []

    def work(values):
        steps.append(list(values))
        return [10 * value for value in values]

    assert run(work, lambda step: gather(*map(step, range(5)))) == [0, 10, 20, 30, 40]
    assert steps == [[0, 1, 2, 3, 4]]


def test_what_comes_while_a_step_runs_is_the_next(monkeypatch):
    steps, begun, go = [], threading.Event(), threading.Event()
    monkeypatch.setattr(together, "MOST", 3)

    def work(values):
        steps.append(list(values))
        begun.set()
        assert go.wait(LIMIT)
        return values

    async def main(step):
        first = asyncio.ensure_future(step(0))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        others = [asyncio.ensure_future(step(value)) for value in range(1, 6)]
        await asyncio.sleep(0)
        others[1].cancel()
        go.set()
        return await gather(first, *others)

    found = run(work, main)
    assert isinstance(found.pop(2), asyncio.CancelledError)
    assert found == [0, 1, 3, 4, 5]
    assert steps == [[0], [1, 3, 4], [5]]


def test_an_error_is_its_own_callers_and_a_step_that_fails_is_everybodys():
    def inverse(values):
        return each(lambda value: 1 / value, values)

    found = run(inverse, lambda step: gather(step(2), step(0), step(4)))
    assert (found[0], found[2]) == (0.5, 0.25)
    assert isinstance(found[1], ZeroDivisionError)

    def broken(values):
        raise RuntimeError("all of it")

    async def twice(step):
        return await gather(step(1), step(2)), await gather(step(3))

    assert [str(error) for part in run(broken, twice) for error in part] == ["all of it"] * 3


# Shares


ROWS = [("how", ["so"]), ("why", ["because", "the plan is good"]), ("what", ["water"])]


@pytest.fixture(scope="module")
def batch(engine):
    return engine.judge([Judgment(prompt, completions) for prompt, completions in ROWS])


CHOICES = [None, RewardChoice(kappa=1.0), RewardChoice(beta=0.5), RewardChoice("standardized")]


@pytest.mark.parametrize("choice", CHOICES, ids=["mean", "kappa", "beta", "standardized"])
def test_a_share_reads_what_its_judgments_alone_would_give(engine, batch, choice):
    view = RewardView(engine.model.config, choice)
    first, second = Share.of(batch, [2, 1])
    assert (len(first.part), len(second.part)) == (2, 1)
    rows = [*first.rewards(view), *second.rewards(view)]
    assert [row.tokenized.judgment.prompt for row in rows] == [prompt for prompt, _ in ROWS]
    for index, row in enumerate(rows):
        (alone,) = view(batch.row(index)).rows()
        assert row.chosen == pytest.approx(alone.chosen, rel=1e-6)
        found, expected = row.to_dict(), alone.to_dict()
        assert found["rewards"] == pytest.approx(expected["rewards"], rel=1e-6)
        assert found["objective_scores"] == [pytest.approx(scores, rel=1e-6) for scores in expected["objective_scores"]]
        for ours, theirs in zip(row.preference_matrix(), alone.preference_matrix(), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-6)


def test_rewards_that_are_read_alike_are_computed_once(engine, batch):
    view = RewardView(engine.model.config)
    calls = []

    class Counting(RewardView):
        def __call__(self, judged):
            calls.append(len(judged))
            return super().__call__(judged)

    counting = Counting(engine.model.config)
    shares = Share.of(batch, [1, 1, 1])
    found = [row.mean for share in shares for row in share.rewards(counting)]
    assert calls == [3]
    assert found == [row.mean for row in view(batch).rows()]


def test_a_steered_share_is_read_alone(engine, batch):
    steering = Steering({"safety": 4.0})
    view = RewardView(engine.model.config, steering=steering)
    _, second, _ = Share.of(batch, [1, 1, 1])
    (row,) = second.rewards(view)
    (expected,) = view(batch.row(1)).rows()
    assert row.to_dict() == expected.to_dict()


def test_a_reward_that_is_not_finite_is_the_error_of_its_own_request(engine):
    batch = engine.judge([Judgment(prompt, completions) for prompt, completions in ROWS])
    with torch.inference_mode():
        batch.posteriors.features.loc[1] = torch.nan
    view = RewardView(engine.model.config)
    first, second, third = Share.of(batch, [1, 1, 1])
    assert len(first.rewards(view)) == len(third.rewards(view)) == 1
    with pytest.raises(NumericsError, match="not finite"):
        second.rewards(view)
