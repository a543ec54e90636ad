"""Choices by name: they are strings wherever they are stored, and nothing spells them a second time."""

from __future__ import annotations

import ast
import json
from enum import StrEnum
from pathlib import Path

import pytest

from vrm import choices
from vrm.choices import LossName, OnOverlong, OnOverlongServed, Pooling, RewardScale, Tuning
from vrm.config import parse_config
from vrm.errors import ConfigError, check_choice

SOURCE = Path(choices.__file__).parent
ENUMERATIONS = [kind for kind in vars(choices).values() if isinstance(kind, type) and issubclass(kind, StrEnum)]
VALUES = [tuple(member.value for member in kind) for kind in ENUMERATIONS if kind is not StrEnum]


def test_a_server_has_the_policies_of_files_except_dropping():
    assert set(OnOverlongServed) == set(OnOverlong) - {OnOverlong.DROP}


def test_a_wrong_value_is_named_with_the_allowed_ones():
    check_choice("tuning", "lora", Tuning)
    check_choice("tuning", Tuning.LORA, Tuning)
    with pytest.raises(ConfigError, match="tuning must be one of frozen, full, lora; got 'half'"):
        check_choice("tuning", "half", Tuning)


def test_a_models_configuration_stores_plain_strings():
    from vrm.model import VRMConfig

    config = VRMConfig(loss=LossName.MARGINAL, reward_scale=RewardScale.STANDARDIZED, poolings=[Pooling.CLS])
    stored = [config.loss, config.reward_scale, *config.poolings]
    assert [type(value) for value in stored] == [str] * 3
    assert stored == ["marginal", "standardized", "cls"]


def test_a_runs_configuration_is_written_and_read_as_strings():
    values = {"output_dir": "x", "data": {"train": ["a"]}, "model": {"tuning": "lora", "poolings": ["max"]}}
    config = parse_config(values)
    assert config.model.tuning is Tuning.LORA
    written = json.loads(json.dumps(config.model_dump()))
    assert (written["model"]["tuning"], written["model"]["poolings"]) == ("lora", ["max"])
    assert parse_config(written) == config


def test_no_module_spells_an_enumeration_again():
    """Tuples, lists, sets and `Literal[...]` that hold the values of an enumeration with three members or more."""
    known = {frozenset(values) for values in VALUES if len(values) > 2}
    spelled = []
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Tuple | ast.List | ast.Set):
                values = {item.value for item in node.elts if isinstance(item, ast.Constant)}
                if len(values) == len(node.elts) and values in known:
                    spelled.append(f"{file.name}:{node.lineno}")
    assert spelled == []
