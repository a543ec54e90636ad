"""docs/config.md says what `vrm.config` does."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import get_origin

import pytest
import yaml
from pydantic import BaseModel

from vrm.config import RunConfig, config_keys, parse_config

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generator(page_generator) -> ModuleType:
    return page_generator("config")


@pytest.fixture(scope="module")
def page() -> str:
    return (DOCS / "config.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_generator_prints(generator, page):
    assert page == generator.render(), "docs/config.md is out of date; run `make docs`"


def test_every_key_is_on_the_page(page):
    documented = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert set(config_keys()) <= set(documented)
    assert len(documented) == len(set(documented))
    assert "data.train[].path" in documented


def test_every_key_has_a_description_and_every_section_a_docstring(generator):
    def check(model: type[BaseModel], prefix: str) -> list[str]:
        lacking = [] if (model.__doc__ or "").strip().endswith(".") else [prefix or "RunConfig"]
        for name, info in model.model_fields.items():
            nested = generator.section_of(info.annotation)
            if nested is not None:
                lacking += check(nested, f"{prefix}{name}.")
            if nested is None or get_origin(info.annotation) is list:
                lacking += [] if (info.description or "").endswith((".", "...")) else [prefix + name]
        return lacking

    assert check(RunConfig, "") == []


def test_the_example_on_the_page_is_valid(page):
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert parse_config(yaml.safe_load(example)).data.train[0].path == "pairs.jsonl"
