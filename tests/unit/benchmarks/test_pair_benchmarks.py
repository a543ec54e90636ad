"""JudgeBench, LLMBar, Auto-J, PandaLM, HH-RLHF and MT-Bench: hand-counted accuracies."""

from __future__ import annotations

import pytest

from vrm.benchmarks import get_benchmark
from vrm.errors import DataError


def test_judgebench_by_group_and_as_micro_average(load, figures):
    # a 0 > b 1 wrong, a 1 = b 1 wrong (a tie), a 2 > b 1 right, label B>A with a 3 wrong, a 4 > b 1 right.
    found = figures(load("judgebench", file="data.jsonl"))
    assert found["all", "accuracy"] == 2 / 5
    assert found["knowledge", "accuracy"] == 0.0
    assert found["math", "accuracy"] == found["reasoning", "accuracy"] == 1.0
    assert found["coding", "accuracy"] == 0.0
    assert found["gpt", "accuracy"] == 2 / 5


def test_llmbar_sets_are_named_by_folders(samples, figures, tmp_path):
    rows = samples.rows("llmbar")
    samples.write(tmp_path / "Natural" / "dataset.json", rows)
    samples.write(tmp_path / "Adversarial" / "Neighbor" / "dataset.json", rows[:1])
    samples.write(tmp_path / "Adversarial" / "GPTInst" / "dataset.json", [{**rows[2], "input": "other"}])
    samples.write(tmp_path / "README.json.txt", [])
    loaded = get_benchmark("llmbar").load(str(tmp_path))
    # o 0 < u 1 wrong; o 1 = u 1 half; o 2 right; label 2 with o 3 wrong.
    found = figures(loaded)
    assert found["Natural", "accuracy"] == 1.5 / 4
    assert (found["Neighbor", "accuracy"], found["GPTInst", "accuracy"]) == (0.0, 1.0)
    assert found["adversarial, mean of sets", "accuracy"] == 0.5
    assert found["all", "accuracy"] == 2.5 / 6
    assert loaded.notes == ("Sets that are absent: GPTOut, Manual.",)


def test_llmbar_from_one_file_knows_its_folder(load, figures):
    assert ("Manual", "accuracy") in figures(load("llmbar", file="LLMBar/Adversarial/Manual/dataset.json"))


def test_autoj_leaves_ties_out_of_accuracy_and_has_them_in_agreement(load, figures):
    # label 0: x 0 < y 1 wrong; tie: x 1 = y 1, agreed; label 0: x 2 right; label 1: x 3 wrong.
    found = figures(load("autoj", file="data.jsonl"))
    assert found["all", "accuracy"] == 1 / 3
    assert found["all", "agreement"] == 2 / 4
    assert found["poem", "accuracy"] == 0.0
    assert found["poem", "agreement"] == 0.5


def test_pandalm_takes_the_majority_and_counts_rows_without(load, figures, samples):
    rows = samples.rows("pandalm")
    rows += [{**rows[0], "idx": 9, "annotator1": 0, "annotator2": 1, "annotator3": 2}]
    loaded = load("pandalm", rows)
    # 2: x 0 < y 1 right; tie: x 1 = y 1 agreed; 1: x 2 right; 2: x 3 wrong.
    found = figures(loaded)
    assert found["all", "accuracy"] == 2 / 3
    assert found["all", "agreement"] == 3 / 4
    assert found["all three", "accuracy"] == 1.0
    (reason,) = loaded.unusual.reasons
    assert "no majority" in reason
    assert loaded.unusual.left_out == 1
    prompts = {example.judgment.prompt for example in loaded.examples}
    assert {"do 0\n\nwith this", "do 1"} <= prompts


def test_hh_dialogues_share_their_beginning(load, figures):
    loaded = load("hh-rlhf", file="helpful-base/test.jsonl.gz")
    # yes 0 < no 1 wrong, yes 1 = no 1 half, yes 2 and yes 3 right.
    assert figures(loaded) == {("all", "accuracy"): 2.5 / 4, ("helpful", "accuracy"): 2.5 / 4} | {
        ("helpful-base", "accuracy"): 2.5 / 4
    }
    judgment = loaded.examples[0].judgment
    assert [turn["content"] for turn in judgment.prompt][1:] == ["hi", "go on"]
    assert judgment.completions[1] == [{"role": "assistant", "content": "no 1"}]


def test_hh_dialogues_that_differ_earlier_are_judged_from_there(load, samples):
    odd = {
        "chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d 1",
        "rejected": "\n\nHuman: a\n\nAssistant: x\n\nHuman: y\n\nAssistant: z 2",
    }
    twice = {
        "chosen": "\n\nHuman: a\n\nHuman: b\n\nAssistant: 1",
        "rejected": "\n\nHuman: a\n\nHuman: b\n\nAssistant: 2",
    }
    strangers = {"chosen": "\n\nHuman: a\n\nAssistant: 1", "rejected": "\n\nHuman: b\n\nAssistant: 2"}
    unended = {"chosen": "\n\nHuman: a\n\nAssistant: 1", "rejected": "\n\nHuman: a"}
    plain = {"chosen": "no turns", "rejected": "\n\nHuman: a\n\nAssistant: 1"}
    loaded = load("hh-rlhf", [odd, twice, strangers, unended, plain])
    by_prompt = {str(example.judgment.prompt): example.judgment for example in loaded.examples}
    first = by_prompt[str([{"role": "user", "content": "a"}])]
    assert [[turn["content"] for turn in side] for side in first.completions] == [["b", "c", "d 1"], ["x", "y", "z 2"]]
    assert by_prompt["a\n\nb"].completions == ["1", "2"]
    assert loaded.unusual.left_out == 3
    assert {reason.action for reason in loaded.unusual.reasons.values()} == {"kept", "left out"}


def test_mt_bench_judges_up_to_the_turn(load, figures):
    loaded = load("mt-bench-human")
    # turn 1: a 0 < b 1 wrong, a 2 > b 1 right; turn 2: label b, aa 2 > bb 1 wrong; tie with aa 0, bb 1: not agreed.
    found = figures(loaded)
    assert found["1", "accuracy"] == 0.5
    assert found["2", "accuracy"] == 0.0
    assert found["all", "accuracy"] == 1 / 3
    assert found["all", "agreement"] == 1 / 4
    second = next(example for example in loaded.examples if example.id == "81:m1:m2:expert_1:2")
    assert [turn["content"] for turn in second.judgment.completions[0]] == ["a 1", "more", "aa 2"]
    assert len({example.prompt_group for example in loaded.examples}) == 2
    assert not loaded.unusual.reasons


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("judgebench", "label", "A=B"),
        ("llmbar", "label", 3),
        ("llmbar", "label", True),
        ("autoj", "label", "0"),
        ("pandalm", "annotator2", 5),
        ("mt-bench-human", "winner", "model_c"),
        ("mt-bench-human", "turn", 3),
        ("rewardbench2", "subset", "Poetry"),
        ("rm-bench", "domain", "poetry"),
        ("ppe", "winner", "nobody"),
    ],
)
def test_a_label_that_no_row_may_have_is_an_error(load, samples, name, field, value):
    rows = samples.rows(name)
    rows[1][field] = value
    with pytest.raises(DataError, match=rf"data\.json:2: field '{field}'.*{value}.*expected one of"):
        load(name, rows)
