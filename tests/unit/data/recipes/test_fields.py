from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vrm.data.recipes.fields import Fields
from vrm.errors import DataError, RowError


def test_values_of_the_right_kind_are_returned():
    fields = Fields({"t": "x", "n": "4", "i": 3.0, "f": 1, "l": (1, 2), "c": {"k": None}, "a": np.array([1, 2])}, "r")
    assert fields.text("t") == "x"
    assert fields.number("n", 1, 5) == 4.0
    assert fields.integer("i", 0, 3) == 3
    assert fields.flag("f") is True
    assert fields.items("l") == [1, 2] == fields.items("a")
    assert fields.child("c").label("k") is None
    assert fields.first_of("absent", "t") == "t"


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (lambda f: f.text("x"), 3, "field 'x': 3 is not allowed; expected a string"),
        (lambda f: f.number("x", 0, 4), 5, "5 is not allowed; expected a number from 0 to 4"),
        (lambda f: f.number("x", 0, 4), float("nan"), "nan is not allowed; expected a number from 0 to 4"),
        (lambda f: f.number("x", 0, 4), True, "True is not allowed; expected a number"),
        (lambda f: f.number("x", 0, 4), "four", "'four' is not allowed; expected a number"),
        (lambda f: f.number("x", 0, 4), None, "None is not allowed; expected a number"),
        (lambda f: f.integer("x", -3, 3), 1.5, "1.5 is not allowed; expected a whole number from -3 to 3"),
        (lambda f: f.flag("x"), "yes", "'yes' is not allowed; expected true or false"),
        (lambda f: f.items("x"), "abc", "'abc' is not allowed; expected a list"),
        (lambda f: f.child("x"), [], "[] is not allowed; expected a mapping"),
        (
            lambda f: f.messages("x"),
            [{"role": "bot", "content": ""}],
            "'x[0].role': 'bot' is not allowed; expected system",
        ),
        (lambda f: f.messages("x"), [{"role": "user"}], "'x[0].content': missing; found: role"),
        (lambda f: f.children("x"), ["s"], "field 'x[0]': 's' is not allowed; expected a mapping"),
        (lambda f: f.text("y"), 1, "field 'y': missing; found: x"),
        (lambda f: f.first_of("y", "z"), 1, "field 'y': missing; found: x"),
        (lambda f: f.first_of("x", "z"), None, "field 'x': None is not allowed; expected a value here or in one of: z"),
    ],
)
def test_errors_name_field_value_and_what_is_allowed(read: Callable[[Fields], Any], value: Any, message: str):
    with pytest.raises(RowError, match=re.escape(message)) as caught:
        read(Fields({"x": value}, "nectar"))
    assert caught.value.file == "<nectar>"
    assert isinstance(caught.value, DataError)


def test_long_values_are_shortened():
    with pytest.raises(RowError) as caught:
        Fields({"x": ["word"] * 1000}, "r").text("x")
    assert len(str(caught.value)) < 200


def test_a_row_that_is_no_mapping_is_an_error():
    with pytest.raises(RowError, match="field 'row': 3 is not allowed; expected a mapping"):
        Fields(3, "r")
