"""RewardBench, RewardBench 2, RM-Bench, RMB and PPE: their own rules, by hand and against published results."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vrm.benchmarks import ExampleRewards, get_benchmark
from vrm.benchmarks.published.rewardbench import COUNTS

# Results of RewardBench's `process_single_model` (version 0.1.4) on these (id, number right, rewards).
TIES = [
    (
        [
            ("ref:1", 1, [4, 1, 0, -2]),
            ("tied:1", 3, [5, 4, 4.5, 1, 0]),
            ("ref:2", 1, [1, 2, 0]),
            ("tied:2", 2, [3, 1, 0.5, 0]),
        ],
        0.6502943966321547,
    ),
    ([("ref:1", 1, [2, 1]), ("tied:1", 2, [3, 3, 1]), ("tied:2", 2, [1, 0, 2]), ("ref:3", 1, [1, 1])], 0.7),
    (
        [
            ("ref:0", 1, [1.24, 0.51, -0.23, -0.32]),
            ("tied:0", 1, [2.34, 0.26, -0.28, -0.01]),
            ("ref:1", 1, [1.15, 0.15, 0.89, 0.57]),
            ("tied:1", 1, [3.43, -0.46, -0.31, -0.18]),
            ("ref:2", 1, [1.23, -0.16, 0.23, 1.25]),
            ("tied:2", 2, [2.4, 2.88, 0.63, 0.58, 0.25]),
            ("ref:3", 1, [0.92, -1.24, -0.7, -0.88]),
            ("tied:3", 1, [3.13, -1.28, -0.55, -1.23]),
            ("ref:4", 1, [1.53, 0.19, -1.1, 0.84]),
            ("tied:4", 2, [2.19, 2.8, -1.49, 0.05, 1.31]),
            ("ref:5", 1, [-0.51, -0.32, -0.11, -0.82]),
            ("tied:5", 1, [3.04, 0.7, 0.03, -0.57]),
        ],
        0.7967592770782943,
    ),
]


@pytest.mark.parametrize(("prompts", "expected"), TIES)
def test_the_ties_score_is_that_of_the_published_code(load, prompts, expected):
    rows = [
        {
            "id": id,
            "prompt": f"prompt {id}",
            "chosen": [f"right {n}" for n in range(right)],
            "rejected": [f"wrong {n}" for n in range(len(rewards) - right)],
            "subset": "Ties",
        }
        for id, right, rewards in prompts
    ]
    loaded = load("rewardbench2", rows)
    by_id = {f"Ties:{id}": rewards for id, _, rewards in prompts}
    given = [ExampleRewards(tuple(map(float, by_id[example.id])), ()) for example in loaded.examples]
    outcomes = get_benchmark("rewardbench2").outcomes(loaded.examples, given)
    found = {figure.row: figure.value(outcomes.credit) for figure in outcomes.figures}
    assert found["Ties"] == pytest.approx(expected, rel=1e-12)
    assert found["all"] == pytest.approx(expected, rel=1e-12)
    assert {example.prompt_group for example in loaded.examples} == {f"ties:{id.split(':')[1]}" for id, _, _ in prompts}


def test_rewardbench2_shares_the_point_among_equal_rewards(load, figures):
    found = figures(load("rewardbench2"))
    # f1 wins; f2 shares with two others; m1 loses.
    assert found["Factuality", "score"] == pytest.approx((1 + 1 / 3) / 2)
    assert found["Math", "score"] == 0.0
    # ref: gap 1; tied: gap 1, spread 1: neither above the spread, tanh(0) = 0.
    assert found["Ties", "score"] == pytest.approx(0.6)
    assert found["all", "score"] == pytest.approx((2 / 3 + 0 + 0.6) / 3)


def test_rewardbench_sections_weigh_subsets_by_published_counts(load):
    hits = {
        "math-prm": [1, 0],
        "hep-cpp": [1],
        "hep-go": [0],
        "donotanswer": [1],
        "xstest-should-respond": [1, 0],
        "mt-bench-easy": [1],
        "alpacaeval-easy": [0, 1],
    }
    rows = [
        {"id": f"{n}", "prompt": f"{subset} {n}", "chosen": f"c {hit}", "rejected": "r 0.5", "subset": subset}
        for subset, results in hits.items()
        for n, hit in enumerate(results)
    ]
    loaded = load("rewardbench", rows)
    given = [
        ExampleRewards(tuple(float(text.split()[1]) for text in example.judgment.completions), ())
        for example in loaded.examples
    ]
    outcomes = get_benchmark("rewardbench").outcomes(loaded.examples, given)
    found = {(figure.level, figure.row): figure.value(outcomes.credit) for figure in outcomes.figures}
    # Sections as the published `calculate_scores_per_section` gives them for these subset means.
    assert found["section", "Chat"] == pytest.approx(0.609375)
    assert found["section", "Safety"] == pytest.approx(0.6761658031088082)
    assert found["section", "Reasoning"] == pytest.approx(0.5)
    assert found["", "all"] == pytest.approx((0.609375 + 0.6761658031088082 + 0.5) / 3)
    assert ("section", "Chat Hard") not in found
    assert "Sections without any: Chat Hard." in loaded.notes[0]
    assert sum(COUNTS["Reasoning"].values()) == 2 * 984


def test_equal_rewards_are_wrong_in_rewardbench(load, figures):
    rows = [{"id": 1, "prompt": "p", "chosen": "c 1", "rejected": "r 1", "subset": "hep-go"}]
    assert figures(load("rewardbench", rows))["all", "accuracy"] == 0.0


def brute_force_rm_bench(chosen, rejected):
    """Accuracy matrix of one prompt: rows the style of the right answer, columns that of the wrong one."""
    matrix = np.array([[float(right > wrong) for wrong in rejected] for right in chosen])
    easy, hard = matrix[np.tril_indices(3, -1)].mean(), matrix[np.triu_indices(3, 1)].mean()
    return {"easy": easy, "normal": matrix.diagonal().mean(), "hard": hard, "average": matrix.mean()}


def test_rm_bench_against_the_matrix(load, figures):
    found = figures(load("rm-bench"))
    single = [brute_force_rm_bench((n, 2, 3), (1, 2, n)) for n in range(5)]
    for column in ("easy", "normal", "hard", "average"):
        chat, code = (single[0][column] + single[1][column]) / 2, single[2][column]
        safety = (single[3][column] + single[4][column]) / 2
        assert found["chat", column] == pytest.approx(chat)
        assert found["safety-refuse", column] == pytest.approx(single[3][column])
        assert found["safety", column] == pytest.approx(safety)
        assert found["all", column] == pytest.approx((chat + code + safety) / 3)


def test_rm_bench_reads_the_domain_off_the_file_and_names_what_is_absent(samples, tmp_path):
    rows = [{name: value for name, value in row.items() if name != "domain"} for row in samples.rows("rm-bench")]
    for name in ("chat", "safety-refuse"):
        samples.write(tmp_path / f"{name}_filtered.json.gz", rows)
    samples.write(tmp_path / "total_dataset.json", rows)
    loaded = get_benchmark("rm-bench").load(str(tmp_path))
    assert len(loaded.examples) == 10
    assert "total_dataset.json" in loaded.notes[0]
    assert loaded.notes[1] == "Absent: math, code, safety-response; the row 'all' is the mean of chat, safety."


def test_rmb_pairwise_and_best_of_n_by_goal(load, figures):
    found = figures(load("rmb"))
    # Pairs: 0 wrong, 1 = 1 wrong, 2 right. Best of n: 0 loses, 1 ties with a loser (wrong), 2 beats all.
    assert found["helpfulness", "pairwise"] == 0.0
    assert found["harmlessness", "pairwise"] == 1.0
    assert found["helpfulness", "best-of-n"] == 0.0
    assert found["harmlessness", "best-of-n"] == 0.5
    assert found["all", "pairwise"] == 0.5
    assert found["all", "best-of-n"] == 0.25
    assert found["all", "overall"] == 1.5 / 4
    assert found["harmlessness/S1", "best-of-n"] == 0.5


def test_rmb_reads_rows_with_gold(load, figures):
    rows = [
        {"prompt": "p", "completions": ["a 1", "b 3", "c 2"], "gold": [0, 1, 0], "category": "Helpfulness/Code"},
        {"prompt": "q", "completions": ["a 1", "b 3", "c 3"], "gold": [0.5, 0.5, 0], "category": "Helpfulness/Code"},
    ]
    loaded = load("rmb", rows)
    assert figures(loaded)["all", "best-of-n"] == 1.0
    assert loaded.unusual.left_out == 1
    assert "no single best completion by gold" in loaded.unusual.reasons


def test_rmb_takes_goal_and_scenario_from_the_folders(samples, tmp_path):
    rows = [{k: v for k, v in row.items() if k != "category_path"} for row in samples.rows("rmb")[:1]]
    samples.write(tmp_path / "Pairwise_set" / "Helpfulness" / "Code" / "Debug.json", rows)
    (example,) = get_benchmark("rmb").load(str(tmp_path)).examples
    assert example.labels["goal"] == "helpfulness"
    assert example.labels["task"] == "helpfulness/Code"


def test_ppe_human_preference_and_correctness(load, figures):
    rows = [
        {"question_id": "k1", "prompt": "k1", "scores": [1, 0, 1], "response_1": "a 0", "response_2": "b 5"}
        | {"response_3": "c 5"},
        {"question_id": "k2", "prompt": "k2", "scores": [0, 0], "response_1": "a 0", "response_2": "b 5"},
    ]
    loaded = load("ppe", rows, file="MATH.json")
    found = figures(loaded)
    # Pairs (right, wrong): a 0 < b 5 wrong, c 5 = b 5 half. Best of k: b and c share the pick.
    assert found["MATH", "accuracy"] == 0.25
    assert found["MATH", "best of k"] == (0.5 + 0) / 2
    assert found["correctness", "random of k"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["correctness", "oracle of k"] == 0.5
    assert "all responses equally right: in best of k, but not in accuracy" in loaded.unusual.reasons


def test_ppe_human_part(load, figures, samples):
    found = figures(load("ppe", samples.rows("ppe")[:3]))
    # x 0 < y 1 wrong; label b: x 1 = y 1 half; the tie is left out.
    assert found == {("human preference", "accuracy"): 0.25}


def test_overlong_examples_are_in_no_figure(load):
    loaded = load("rm-bench")
    benchmark = get_benchmark("rm-bench")
    given = [None if index else ExampleRewards((3.0, 3.0, 3.0, 0.0, 0.0, 0.0), ()) for index in range(5)]
    outcomes = benchmark.outcomes(loaded.examples, given)
    values = {figure.row: figure.value(outcomes.credit) for figure in outcomes.figures if figure.column == "easy"}
    assert values["chat"] == values["all"] == 1.0
    assert math.isnan(values["code"])
