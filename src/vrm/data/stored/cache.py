"""Where stored rows lie."""

from __future__ import annotations

import os
from pathlib import Path

from vrm.files import cache_home
from vrm.user_files import at_home

VARIABLE = "VRM_ROW_CACHE"
"""Environment variable: the directory."""


def rows_directory() -> Path:
    """`VRM_ROW_CACHE`, else `vrm/rows` in `XDG_CACHE_HOME` or `~/.cache`."""
    named = os.environ.get(VARIABLE)
    return Path(at_home(named)) if named else cache_home() / "rows"
