"""What an edit may use beside the text of the completion."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class EditContext:
    """What an edit may use beside the text.

    Attributes:
        random: seeded by the audit's seed, the edit's name, the prompt and the text; the only source of chance.
        other: text of a completion for another prompt of the file, of about the same length where there is a choice;
            None if the file has no other prompt.
    """

    random: Random
    other: str | None = None
