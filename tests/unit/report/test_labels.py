"""Short names tell paths apart with as few folders as possible."""

from __future__ import annotations

from vrm.report.view import benchmark_names, short_names, steering_words


def test_the_last_part_does_where_it_is_unique():
    assert short_names(["runs/a/model", "runs/b/model"]) == {"runs/a/model": "a", "runs/b/model": "b"}
    assert short_names(["model"]) == {"model": "model"}
    assert short_names(["org/name"]) == {"org/name": "name"}


def test_folders_are_added_where_it_is_not():
    names = short_names(["x/runs/a/model", "y/runs/a", "b"])
    assert names == {"x/runs/a/model": "x/runs/a", "y/runs/a": "y/runs/a", "b": "b"}


def test_paths_that_are_equal_but_for_model_keep_what_they_are():
    assert short_names(["a", "a/model"]) == {"a": "a", "a/model": "model"}
    assert short_names(["runs/a/model", "./runs/a/model"]) == {"runs/a/model": "a", "./runs/a/model": "a"}


def test_a_benchmark_goes_by_its_name_where_there_is_one_of_it():
    assert benchmark_names(["rm-bench", "rm-bench=data/rm", "rm-bench=./data/rm", "llmbar"]) == {
        "rm-bench": "rm-bench", "rm-bench=data/rm": "rm-bench", "rm-bench=./data/rm": "rm-bench", "llmbar": "llmbar"
    }  # fmt: skip


def test_a_benchmark_on_several_files_goes_by_them_too():
    names = benchmark_names(["bon=data/x/bon.jsonl", "bon=data/y/bon.jsonl", "bon=other.jsonl", "bon"])
    assert list(names.values()) == ["bon=x/bon.jsonl", "bon=y/bon.jsonl", "bon=other.jsonl", "bon"]


def test_steering_in_words():
    assert steering_words({}) == ""
    assert steering_words({"steering": {"emphasis": None, "without": None}}) == ""
    assert steering_words({"steering": {"emphasis": ["safety=5"], "without": ["wit", "style"]}}) == (
        "safety=5, without wit, style"
    )
    assert steering_words({"steering": {"emphasis": {"safety": 5}}}) == "safety=5"
