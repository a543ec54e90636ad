"""How pages of this package look: one palette for the report and the explorer, light and dark."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def look() -> str:
    """The style sheet that every page begins with: colours by name, and what is the same everywhere."""
    return (files(__package__) / "look.css").read_text(encoding="utf-8")
