"""The exception tree: everything can be caught as `VrmError`, and as what Python raises for the same mistake."""

from __future__ import annotations

import inspect

import pytest

from vrm import errors
from vrm.errors import MissingExtraError, RowError, VrmError

EXPECTED = {
    "VrmError": (Exception,),
    "ConfigError": (VrmError, ValueError),
    "CannotFollowError": (errors.ConfigError,),
    "DataError": (VrmError, ValueError),
    "RowError": (errors.DataError, ValueError),
    "OverlongError": (errors.DataError, ValueError),
    "ModelError": (VrmError,),
    "CheckpointError": (errors.ModelError,),
    "BoundaryError": (errors.ModelError, ValueError),
    "NumericsError": (VrmError, ArithmeticError),
    "LostProcessError": (VrmError,),
    "OutputError": (VrmError, OSError),
    "MissingExtraError": (VrmError, ImportError),
    "ServerError": (VrmError,),
    "RefusedError": (errors.ServerError, ValueError),
    "UnavailableError": (errors.ServerError,),
}
CLASSES = {
    name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and kind.__module__ == errors.__name__
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_error_is_what_its_callers_expect(name):
    assert all(issubclass(CLASSES[name], parent) for parent in EXPECTED[name])


def test_the_tree_in_the_docstring_is_the_tree():
    assert set(CLASSES) == set(EXPECTED)
    assert all(name in (errors.__doc__ or "") for name in CLASSES)


def test_wrong_weights_are_not_a_wrong_argument():
    assert not issubclass(errors.CheckpointError, ValueError)


def test_every_error_has_a_docstring():
    assert [name for name, found in CLASSES.items() if not found.__doc__] == []


def test_a_row_error_keeps_its_place():
    error = RowError("pairs.jsonl", 7, "preference", "1.5 is not in [0, 1]")
    assert str(error) == "pairs.jsonl:7: field 'preference': 1.5 is not in [0, 1]"
    assert (error.file, error.line, error.field) == ("pairs.jsonl", 7, "preference")
    assert error.reason == "1.5 is not in [0, 1]"


def test_a_missing_extra_says_how_to_install_it():
    error = MissingExtraError("tensorboard", "tensorboard", "Logging to TensorBoard")
    assert str(error) == (
        "Logging to TensorBoard needs the package 'tensorboard', which is not installed. "
        "Install it with: pip install 'vrm[tensorboard]'"
    )
