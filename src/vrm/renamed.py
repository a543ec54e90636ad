"""Keys of configurations that had another name before."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from vrm.errors import ConfigError

RENAMED = {"loss.kl_weights": "loss.beta_weights", "loss.kl_features": "loss.beta_features"}
"""Keys that had another name before: {old: new}. Files and `--set` may still use the old one."""

UNTIL = "0.4"
"""The version that no longer reads the old names in configurations; `run.json` of earlier versions keeps them."""


def with_new_keys(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A configuration whose keys have the names of `RENAMED`, and the old keys that it had.

    Raises:
        ConfigError: for a key that is there by both its names.
    """
    values, old_keys = dict(values), []
    for old, new in RENAMED.items():
        (section, name), new_name = old.split("."), new.split(".")[1]
        if isinstance(values.get(section), dict) and name in values[section]:
            if new_name in values[section]:
                raise ConfigError(f"{old} is the old name of {new}: give one of the two")
            values[section] = {new_name if key == name else key: value for key, value in values[section].items()}
            old_keys.append(old)
    return values, old_keys


def renamed_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """As `with_new_keys`, with a warning for every old key."""
    values, old_keys = with_new_keys(values)
    for key in old_keys:
        warn_of_old_key(key)
    return values


def warn_of_old_key(key: str) -> None:
    """Tell the new name of a key."""
    words = f"the configuration key {key} is now called {RENAMED[key]}; the old name is read until version {UNTIL}"
    warnings.warn(words, FutureWarning, stacklevel=2)
