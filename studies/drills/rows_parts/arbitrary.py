"""Rows that hypothesis makes up, between sound ones: any JSON in any column, and any JSON in place of a row."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from studies.drills.rows_parts.files import write_json, write_jsonl
from studies.drills.rows_parts.planted import Fate, Planted, sound
from studies.drills.rows_parts.reading import Tally, check_rows, check_scoring

from vrm.data.columns import SCORING_COLUMNS, row_columns

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool", "human"]), "content": VALUES}),
    max_size=3,
)
COLUMNS = st.sampled_from([*dict.fromkeys([*row_columns(), *SCORING_COLUMNS]), "id", "extra"])
CHANGES = st.dictionaries(COLUMNS, VALUES | MESSAGES | st.text(min_size=1, max_size=8), max_size=3)


def arbitrary_rows(folder: Path, files: int, each: int, tally: Tally, seed: int) -> None:
    """Files of made-up rows, every second one sound, read as rows to learn from and as rows to be scored."""
    rng, numbers = random.Random(seed), iter(range(files))

    @settings(
        max_examples=files,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(CHANGES, min_size=each // 2, max_size=each // 2))
    def read(changes: list[dict[str, object]]) -> None:
        rows = [Planted(sound(number)) for number in range(each)]
        for place, change in enumerate(changes):
            values = {**sound(2 * place + 1), **change}
            rows[2 * place + 1] = Planted(values, Fate.EITHER, "", "made up", Fate.EITHER)
        number = next(numbers, files)
        path = folder / f"{number}.{'json' if number % 3 == 0 else 'jsonl'}"
        expected = (write_json if number % 3 == 0 else write_jsonl)(path, rows, rng)
        check_rows(path, expected, tally)
        check_scoring(path, expected, tally)
        path.unlink()

    read()
