"""Reading a run's configuration: what it becomes, and what is said about what is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from vrm.config import RunConfig, SourceConfig, apply_override, config_keys, load_config, parse_config
from vrm.errors import ConfigError

MINIMAL: dict[str, Any] = {"output_dir": "runs/a", "data": {"train": ["pairs.jsonl"]}}


@pytest.fixture
def write(tmp_path: Path):
    def write(values: Any) -> Path:
        file = tmp_path / "run.yaml"
        file.write_text(values if isinstance(values, str) else yaml.safe_dump(values), encoding="utf-8")
        return file

    return write


def problems(values: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(values, "run.yaml")
    first, *rest = str(caught.value).splitlines()
    assert first == f"run.yaml: {len(rest)} problem(s)"
    return [line.strip() for line in rest]


def test_a_minimal_file_gets_the_defaults(write):
    config = load_config(write(MINIMAL))
    assert config.data.train == [SourceConfig(path="pairs.jsonl")]
    assert (config.seed, config.model.backbone, config.model.head, config.loss.name) == (
        0,
        "embedded",
        "vrm",
        "variational",
    )
    assert config.data.eval == []


@pytest.mark.parametrize("entry", ["a.jsonl", {"path": "a.jsonl"}, ["a.jsonl"], [{"path": "a.jsonl"}]])
def test_sources_may_be_written_short(entry):
    config = parse_config({"output_dir": "o", "data": {"train": entry, "eval": entry}})
    assert [source.path for source in config.data.train + config.data.eval] == ["a.jsonl", "a.jsonl"]


def test_settings_of_a_source_are_kept():
    source = {"path": "org/name", "recipe": "nectar", "weight": 0.5, "split": "train", "limit": 7, "name": "n"}
    (read,) = parse_config(MINIMAL | {"data": {"train": [source]}}).data.train
    assert read.model_dump() == source | {"mapping": None}


def test_mutable_defaults_are_not_shared():
    first, second = parse_config(MINIMAL), parse_config(MINIMAL)
    first.model.feature_layers.append(3)
    first.train.report_to.append("tensorboard")
    assert second.model.feature_layers == [-1]
    assert second.train.report_to == []


def test_what_was_parsed_parses_again_to_the_same():
    config = parse_config(MINIMAL | {"model": {"head": "gated", "lora": {"r": 4}}})
    assert parse_config(config.model_dump()) == config


def test_a_number_without_a_point_is_a_number():
    # YAML 1.1 reads 2e-5 as a text.
    assert parse_config(MINIMAL | {"train": yaml.safe_load("learning_rate: 2e-5")}).train.learning_rate == 2e-5


# What is wrong is named.


@pytest.mark.parametrize("where", ["file", "set"])
def test_old_names_of_keys_are_read_with_a_warning_that_names_the_new_one(tmp_path, where):
    file = tmp_path / "run.yaml"
    loss = "loss: {kl_weights: 0.25, kl_features: 0.5}" if where == "file" else "loss: {beta_weights: 0.125}"
    file.write_text(f"output_dir: o\ndata: {{train: [a.jsonl]}}\n{loss}\n")
    overrides = [] if where == "file" else ["loss.kl_weights=0.25", "loss.kl_features=0.5"]
    with pytest.warns(FutureWarning, match="loss.kl_weights is now called loss.beta_weights"):
        config = load_config(file, overrides)
    assert (config.loss.beta_weights, config.loss.beta_features) == (0.25, 0.5)


def test_a_new_name_overrides_the_old_one_in_a_file(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("output_dir: o\ndata: {train: [a.jsonl]}\nloss: {kl_weights: 0.25}\n")
    with pytest.warns(FutureWarning):
        assert load_config(file, ["loss.beta_weights=0.5"]).loss.beta_weights == 0.5


def test_a_key_by_both_its_names_is_refused():
    with pytest.raises(ConfigError, match=r"loss\.kl_weights is the old name of loss\.beta_weights"):
        parse_config(MINIMAL | {"loss": {"kl_weights": 1, "beta_weights": 1}})


def test_every_problem_is_listed_with_its_key():
    values = {
        "data": {"train": ["a.jsonl"], "held_out": 1.5, "on_bad_rows": "drop"},
        "model": {"head": "linear", "num_features": 0},
        "train": {"epochs": "many"},
        "speed": 3,
    }
    lines = problems(values)
    keys = [line.split(":")[0] for line in lines]
    assert sorted(keys) == sorted(
        ["output_dir", "data.held_out", "data.on_bad_rows", "model.head", "model.num_features", "train.epochs", "speed"]
    )
    found = dict(zip(keys, lines))
    assert found["output_dir"] == "output_dir: required"
    assert "less than 1" in found["data.held_out"]
    assert "1.5" in found["data.held_out"]
    assert "'skip'" in found["data.on_bad_rows"]
    assert "'drop'" in found["data.on_bad_rows"]
    assert all(f"'{head}'" in found["model.head"] for head in ("vrm", "gated", "bottleneck", "mlp", "bt", "linear"))


@pytest.mark.parametrize(
    ("section", "key", "meant"),
    [
        ("train", "learning_rte", "train.learning_rate"),
        ("model", "hed", "model.head"),
        ("loss", "beta_weight", "loss.beta_weights"),
        ("model", "learning_rate", "train.learning_rate"),
        ("features", "cach", "features.cache"),
    ],
)
def test_an_unknown_key_gets_the_close_one(section, key, meant):
    assert problems(MINIMAL | {section: {key: 1}}) == [f"{section}.{key}: unknown key; did you mean {meant}?"]


def test_an_unknown_key_of_a_source_gets_the_close_one():
    values = MINIMAL | {"data": {"train": [{"path": "a.jsonl", "wieght": 2}]}}
    assert problems(values) == ["data.train.0.wieght: unknown key; did you mean data.train.0.weight?"]


def test_a_key_at_the_top_that_belongs_in_a_section_is_named_there():
    assert problems(MINIMAL | {"held_out": 0.2}) == ["held_out: unknown key; did you mean data.held_out?"]


def test_a_far_off_key_gets_no_suggestion():
    assert problems(MINIMAL | {"zzzzzz": 1}) == ["zzzzzz: unknown key"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.train", []),
        ("data.train.0.weight", 0),
        ("data.train.0.limit", 0),
        ("data.held_out", -0.1),
        ("data.votes_total", 0),
        ("model.max_input_tokens", 7),
        ("model.feature_layers", []),
        ("model.poolings", "[last]"),
        ("model.decoder_poolings", "[cls]"),
        ("model.lora.r", 0),
        ("model.prior_concentration", 0),
        ("loss.num_nodes", 1),
        ("loss.beta_weights", -1),
        ("loss.kl_warmup", 1.1),
        ("train.learning_rate", 0),
        ("train.warmup", 1),
        ("train.batch_size", 2.5),
        ("train.precision", "float16"),
        ("features.token_budget", 15),
        ("seed", -1),
    ],
)
def test_values_out_of_range_are_refused(key, value):
    values = {"output_dir": "runs/a", "data": {"train": [{"path": "pairs.jsonl"}]}}
    apply_override(values, f"{key}={value}")
    (line,) = problems(values)
    assert line.startswith(key)
    assert str(value).strip("[]") in line


def test_assignment_is_checked_too():
    config = parse_config(MINIMAL)
    with pytest.raises(ValueError, match="greater than 0"):
        config.train.epochs = 0


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "3", "just text"])
def test_a_file_that_is_no_mapping(write, text):
    with pytest.raises(ConfigError, match="expected a mapping at the top"):
        load_config(write(text))


def test_a_file_that_is_no_yaml(write):
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(write("output_dir: [a, b"))


def test_a_file_that_is_no_utf8(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_bytes(b"output_dir: \xff\xfe\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.yaml: no such file"):
        load_config(tmp_path / "missing.yaml")


# --set


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("seed=3", lambda c: c.seed == 3),
        ("model.head=bt", lambda c: c.model.head == "bt"),
        ("train.learning_rate=1e-4", lambda c: c.train.learning_rate == 1e-4),
        ("train.early_stopping=null", lambda c: c.train.early_stopping is None),
        ("model.feature_layers=[1, 3, -1]", lambda c: c.model.feature_layers == [1, 3, -1]),
        ("data.train.0.path=b.jsonl", lambda c: c.data.train[0].path == "b.jsonl"),
        ("data.train.0=b.jsonl", lambda c: c.data.train[0].path == "b.jsonl"),
        ("data.train=b.jsonl", lambda c: c.data.train[0].path == "b.jsonl"),
        ("output_dir=runs/x=y", lambda c: c.output_dir == "runs/x=y"),
        ("model.lora.r=4", lambda c: c.model.lora.r == 4),
    ],
)
def test_an_override_replaces_one_key(write, override, read):
    file = write({"output_dir": "runs/a", "data": {"train": [{"path": "a.jsonl"}]}})
    assert read(load_config(file, [override]))


def test_later_overrides_win(write):
    assert load_config(write(MINIMAL), ["seed=3", "seed=4"]).seed == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "the form is A.B=VALUE"),
        ("=3", "the form is A.B=VALUE"),
        ("seed.a=3", "lies inside a value|is not a section"),
        ("output_dir.a.b=3", "lies inside a value"),
        ("data.train.5=b.jsonl", "'5' is not a position in a list of 1"),
        ("data.train.first=b.jsonl", "'first' is not a position"),
        ("data.train.5.path=b.jsonl", "'5' is not a position"),
        ("model.poolings=[mean", "not valid YAML"),
        ("model.haed=bt", r"model\.haed: unknown key; did you mean model\.head\?"),
    ],
)
def test_a_wrong_override_is_named(write, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(MINIMAL | {"seed": 1}), [override])


def test_a_section_written_as_a_value_is_refused(write):
    with pytest.raises(ConfigError, match="model"):
        load_config(write(MINIMAL | {"model": "bt"}))


def test_keys_are_those_that_a_full_configuration_has():
    def leaves(values: dict[str, Any], prefix: str = "") -> list[str]:
        found = []
        for name, value in values.items():
            found += leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
        return found

    assert sorted(config_keys()) == sorted(leaves(parse_config(MINIMAL).model_dump()))
    assert len(config_keys(RunConfig)) == len(set(config_keys()))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("seed: 1\noutput_dir: x\nseed: 2\n", "the key 'seed' is given twice, in lines 1 and 3"),
        ("train: {evals: 1}\n\ntrain: {}\n'train': {}\n", "the key 'train' is given 3 times, in lines 1, 3 and 4"),
        ("data:\n  train:\n  - path: a\n    path: b\n", "the key 'path' is given twice, in lines 3 and 4"),
        ("model: {head: vrm, head: vrm}\n", "the key 'head' is given twice, in line 1"),
    ],
)
def test_a_key_that_stands_twice_is_named_with_its_lines(tmp_path, text, named):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(f"run.yaml: {named}; keep one of them")):
        load_config(tmp_path / "run.yaml")


def test_a_key_that_stands_twice_in_an_override_is_named(tmp_path):
    (tmp_path / "run.yaml").write_text("output_dir: out\ndata: {train: rows.jsonl}\n")
    with pytest.raises(ConfigError, match="--set train: the key 'evals' is given twice"):
        load_config(tmp_path / "run.yaml", ["train={evals: 1, evals: 2}"])


def test_a_merged_key_may_be_given_anew(tmp_path):
    text = "data:\n  train: a\n  eval:\n  - &b {path: b}\n  - {<<: *b, path: c}\n"
    (tmp_path / "run.yaml").write_text("output_dir: out\n" + text)
    assert [entry.path for entry in load_config(tmp_path / "run.yaml").data.eval] == ["b", "c"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_a_configuration_in_another_encoding_is_named(tmp_path, encoding):
    (tmp_path / "run.yaml").write_text("output_dir: out\ndata: {train: rows.jsonl}\n", encoding=encoding)
    with pytest.raises(ConfigError, match=f"run.yaml: the text is {encoding[:6].upper()}"):
        load_config(tmp_path / "run.yaml")


def test_a_configuration_with_a_mark_is_read(tmp_path):
    (tmp_path / "run.yaml").write_text("output_dir: out\ndata: {train: rows.jsonl}\n", encoding="utf-8-sig")
    assert load_config(tmp_path / "run.yaml").output_dir == "out"
