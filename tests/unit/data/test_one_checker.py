"""Training, scoring, benchmarks and the server refuse the same texts, for the same reason."""

from __future__ import annotations

import pytest

from vrm.benchmarks.base import UnusualRow
from vrm.benchmarks.rows import BenchmarkRow
from vrm.data import InvalidRowError, parse_row, parse_scoring_row
from vrm.serve.errors import RequestError
from vrm.serve.settings import ServeSettings
from vrm.serve.texts import conversation_of
from vrm.wire.schema import ScoreRequest

USER, ANSWER = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}


@pytest.mark.parametrize(
    ("prompt", "completion", "kind"),
    [
        ([USER], [ANSWER, USER], "bad message"),
        ([USER], [{"role": "assistant", "content": "a"}, {"role": "tool", "content": "b"}], "bad message"),
        ("Why?", [ANSWER], "mixed formats"),
    ],
)
def test_the_same_texts_are_refused_everywhere(prompt, completion, kind):
    good = "So it is." if isinstance(prompt, str) else [{**ANSWER, "content": "So it is."}]
    row = {"prompt": prompt, "completions": [good, completion]}
    problems = []
    for parse, more in ((parse_row, {"scores": [0, 1]}), (parse_scoring_row, {})):
        with pytest.raises(InvalidRowError) as caught:
            parse({**row, **more})
        problems += caught.value.problems
    assert {(problem.field, problem.kind) for problem in problems} == {("completions[1]", kind)}
    (reason,) = {problem.reason for problem in problems}
    with pytest.raises(RequestError) as refused:
        conversation_of(ScoreRequest.model_validate(row), ServeSettings())
    assert str(refused.value) == f"completions[1]: {reason.removesuffix('.')}"
    if kind == "bad message":  # a benchmark makes messages of a prompt that is a text
        with pytest.raises(UnusualRow, match=r"completions.1.*bad message"):
            BenchmarkRow({}, "f", 1).example(prompt, row["completions"], [(0, 1)], label=0)


@pytest.mark.parametrize("message", [{"role": "human", "content": "a"}, {"role": "user"}, {"content": "a"}, "a"])
def test_the_same_messages_are_refused_in_files_and_benchmarks(message):
    with pytest.raises(InvalidRowError) as caught:
        parse_scoring_row({"prompt": [USER, message], "completion": "a"})
    with pytest.raises(UnusualRow) as left_out:
        BenchmarkRow({"prompt": [USER, message]}, "f", 1).messages("prompt")
    problem = caught.value.problems[0]
    assert (left_out.value.field, left_out.value.reason) == (problem.field, problem.kind)


@pytest.mark.parametrize("nothing", ["", "\u200b\u200e"])
def test_only_policies_may_say_nothing(nothing):
    row = {"prompt": "Why?", "completions": [nothing, "So."]}
    with pytest.raises(InvalidRowError, match="empty or blank"):
        parse_scoring_row(row)
    assert conversation_of(ScoreRequest.model_validate(row), ServeSettings()).judgment.completions == [nothing, "So."]
    benchmark_row = BenchmarkRow({}, "f", 1)
    benchmark_row.example("Why?", row["completions"], [(0, 1)], label=0)
    assert list(benchmark_row.unusual.reasons) == ["empty completion"]
