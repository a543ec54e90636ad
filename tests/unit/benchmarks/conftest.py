"""Tiny made-up files in the formats of the benchmarks, and rewards that the tests choose.

A completion's reward is the number it ends with: "text 2" has reward 2.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vrm.benchmarks import ExampleRewards, get_benchmark


def rows_of(name: str) -> list[dict[str, Any]]:
    """Good rows of a benchmark, several of each kind."""
    assert name in ROWS, f"give ROWS in {__file__} a few good rows of the benchmark '{name}', several of each kind"
    return json.loads(json.dumps(ROWS[name]))


def messages(*turns: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[index % 2], "content": turn} for index, turn in enumerate(turns)]


ROWS: dict[str, list[dict[str, Any]]] = {
    "rewardbench": [
        {"id": n, "prompt": f"p{n % 3}", "chosen": f"c{n} {n % 4}", "rejected": f"r{n} 1", "subset": subset}
        for n, subset in enumerate(["math-prm", "hep-go", "hep-go", "donotanswer", "alpacaeval-easy", "math-prm"])
    ],
    "rewardbench2": [
        {"id": "f1", "prompt": "p1", "chosen": ["a 3"], "rejected": ["b 1", "c 2", "d 0"], "subset": "Factuality"},
        {"id": "f2", "prompt": "p2", "chosen": ["a 2"], "rejected": ["b 2", "c 2", "d 0"], "subset": "Factuality"},
        {"id": "m1", "prompt": "p3", "chosen": ["a 0"], "rejected": ["b 1", "c 2", "d 0"], "subset": "Math"},
        {"id": "ref:1", "prompt": "p4", "chosen": ["a 3"], "rejected": ["b 1", "c 2"], "subset": "Ties"},
        {"id": "tied:1", "prompt": "p5", "chosen": ["a 3", "e 4"], "rejected": ["b 1", "c 2"], "subset": "Ties"},
    ],
    "rm-bench": [
        {
            "id": n,
            "domain": domain,
            "prompt": f"p{n}",
            "chosen": [f"a {n}", "bb 2", "ccc 3"],
            "rejected": ["d 1", "ee 2", f"fff {n}"],
        }
        for n, domain in enumerate(["chat", "chat", "code", "safety-refuse", "safety-response"])
    ],
    "rmb": [
        {
            "pair_uid": f"u{n}",
            "conversation_input": messages(f"p{n}"),
            "chosen": {"answer": f"good {n}", "llm_name": "x"},
            "reject": {"answer": "bad 1", "llm_name": "y"},
            "category_path": category,
        }
        for n, category in enumerate(["Helpfulness/Code/Debug", "Helpfulness/Chat/Small Talk", "Harmlessness/S1"])
    ]
    + [
        {
            "bon_uid": f"b{n}",
            "conversation_input": messages("first", "reply", f"p{n}"),
            "bon_best": {"answer": f"best {n}", "llm_name": "x"},
            "loser_list": [{"answer": "l 0", "llm_name": "y"}, {"answer": "m 1", "llm_name": "z"}],
            "category_path": category,
        }
        for n, category in enumerate(["Helpfulness/Code/Debug", "Harmlessness/S1", "Harmlessness/S1"])
    ],
    "judgebench": [
        {
            "pair_id": f"j{n}",
            "original_id": "o",
            "source": source,
            "question": f"q{n}",
            "response_model": "gpt",
            "response_A": f"a {n}",
            "response_B": "b 1",
            "label": label,
        }
        for n, (source, label) in enumerate(
            [
                ("mmlu-pro-law", "A>B"),
                ("mmlu-pro-math", "A>B"),
                ("livebench-math", "A>B"),
                ("livecodebench", "B>A"),
                ("livebench-reasoning", "A>B"),
            ]
        )
    ],
    "llmbar": [
        {"input": f"i{n}", "output_1": f"o {n}", "output_2": "u 1", "label": label}
        for n, label in enumerate([1, 2, 1, 2])
    ],
    "autoj": [
        {"scenario": scenario, "label": label, "prompt": f"p{n}", "response 1": f"x {n}", "response 2": "y 1"}
        for n, (scenario, label) in enumerate([("poem", 0), ("poem", 2), ("code", 0), ("code", 1)])
    ],
    "pandalm": [
        {
            "idx": n,
            "instruction": f"do {n}",
            "input": "" if n % 2 else "with this",
            "response1": f"x {n}",
            "response2": "y 1",
            **{f"annotator{k + 1}": vote for k, vote in enumerate(votes)},
        }
        for n, votes in enumerate([(2, 2, 1), (0, 0, 0), (1, 1, 1), (2, 0, 2)])
    ],
    "hh-rlhf": [
        {
            "chosen": f"\n\nHuman: hello {n}\n\nAssistant: hi\n\nHuman: go on\n\nAssistant: yes {n}",
            "rejected": f"\n\nHuman: hello {n}\n\nAssistant: hi\n\nHuman: go on\n\nAssistant: no 1",
        }
        for n in range(4)
    ],
    "mt-bench-human": [
        {
            "question_id": 81 + n // 2,
            "model_a": "m1",
            "model_b": "m2",
            "winner": winner,
            "judge": f"expert_{n}",
            "conversation_a": messages(f"q{n // 2}", f"a {n}", "more", f"aa {3 - n}"),
            "conversation_b": messages(f"q{n // 2}", "b 1", "more", "bb 1"),
            "turn": 1 + n % 2,
        }
        for n, winner in enumerate(["model_a", "model_b", "model_a", "tie"])
    ],
    "ppe": [
        {"question_id": f"h{n}", "prompt": f"p{n}", "response_1": f"x {n}", "response_2": "y 1", "winner": winner}
        for n, winner in enumerate(["model_a", "model_b", "tie (bothbad)"])
    ]
    + [
        {
            "question_id": f"k{n}",
            "prompt": f"k{n}",
            "response_1": "a 0",
            "response_2": f"b {n}",
            "scores": [True, False],
        }
        for n in range(2)
    ],
}


def number_at_end(text: Any) -> float:
    content = text if isinstance(text, str) else text[-1]["content"]
    last = content.split()[-1] if content.split() else "0"
    return float(last) if last.replace(".", "").replace("-", "").isdigit() else 0.0


def rewards_of(examples: Any) -> list[ExampleRewards]:
    """Rewards from the completions' last words."""
    return [
        ExampleRewards(
            tuple(map(number_at_end, example.judgment.completions)), (0.0,) * len(example.judgment.completions)
        )
        for example in examples
    ]


def write(path: Path, rows: list[Any]) -> Path:
    """Rows as JSON or JSONL, gzip by name."""
    text = json.dumps(rows) if ".jsonl" not in path.name else "".join(json.dumps(row) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


Loads = Callable[..., Any]


@pytest.fixture
def load(tmp_path: Path) -> Loads:
    """load(name, rows=None, file="data.json"): the benchmark, loaded from a file with these rows."""

    def loaded(name: str, rows: list[Any] | None = None, file: str = "data.json") -> Any:
        path = write(tmp_path / file, rows_of(name) if rows is None else rows)
        return get_benchmark(name).load(str(path))

    return loaded


@pytest.fixture
def figures() -> Callable[[Any], dict[tuple[str, str], float]]:
    """figures(loaded): {(row, column): value} under the rewards that the completions end with."""

    def values(loaded: Any) -> dict[tuple[str, str], float]:
        outcomes = get_benchmark(loaded.name).outcomes(loaded.examples, rewards_of(loaded.examples))
        return {(figure.row, figure.column): figure.value(outcomes.credit) for figure in outcomes.figures}

    return values


@pytest.fixture
def samples() -> Any:
    """Functions and rows of this file."""
    from types import SimpleNamespace

    return SimpleNamespace(names=list(ROWS), rows=rows_of, write=write, rewards=rewards_of, messages=messages)
