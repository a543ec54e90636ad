"""What a worker does: it loads the model once and judges one batch of rows after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from vrm.choices import OnBadRows, OnOverlong, Precision
from vrm.data.parse import parse_scoring_row
from vrm.data.problems import InvalidRowError
from vrm.errors import ConfigError
from vrm.inference.devices import resolve_device
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import DEFAULT_TOKEN_BUDGET, ExtractionOptions
from vrm.inference.score import ScoreOptions, Scorer, ScoringRow
from vrm.inference.steering import Steering

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker loads and runs the model.

    Attributes:
        model: directory that every worker can read, or Hub name.
        device: `auto`, `cpu` or `cuda`; a worker sees no other GPU than its own.
        precision: one of `vrm.choices.Precision`.
        on_overlong: what to do with rows over the model's limit; see `vrm.choices.OnOverlong`.
        steering: applied to every judgment.
        token_budget: token positions of one pass.
        threads: of a worker on the CPU; None leaves it to torch.
    """

    model: str
    device: str = "auto"
    precision: str = Precision.FLOAT32
    on_overlong: str = OnOverlong.TRUNCATE
    steering: Steering | None = None
    token_budget: int = DEFAULT_TOKEN_BUDGET
    threads: int | None = None

    def engine(self, on_bad_rows: str = OnBadRows.ERROR) -> RewardEngine:
        """Load it; raises as `RewardEngine.from_pretrained`."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return RewardEngine.from_pretrained(
            self.model,
            device=resolve_device(self.device),
            options=ExtractionOptions(self.precision, self.token_budget),
            on_overlong=self.on_overlong,
            steering=self.steering,
            on_bad_rows=on_bad_rows,
        )


class ScoreRows:
    """Rewards for the batches of a Ray dataset; for `map_batches` with `batch_format="pyarrow"`.

    Rows have the columns that `vrm score` reads. They keep them and get those that it writes, `line` excepted. An actor
    loads the model once; completions of one prompt share its computation if they are in one batch, so keep them
    together.

    Args:
        settings: of the model.
        options: which rewards; `keep` is not needed here. With `on_bad_rows` `skip` a row that cannot be read has
            `error`, and no rewards.
        columns: {schema's column: the dataset's column}, where they differ.
    """

    def __init__(
        self, settings: WorkerSettings, options: ScoreOptions | None = None, columns: Mapping[str, str] | None = None
    ) -> None:
        self._scorer = Scorer(settings.engine(), options or ScoreOptions())
        self._columns = columns

    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table:
        """The batch with rewards.

        Raises:
            ConfigError: the batch is no Arrow table.
            InvalidRowError, OverlongError: a row cannot be read, where the options say so.
            NumericsError: a reward is not finite.
        """
        if not hasattr(batch, "to_pylist"):
            raise ConfigError(f'a batch is {type(batch).__name__}: give map_batches batch_format="pyarrow"')
        rows = (self._row(number, columns) for number, columns in enumerate(batch.to_pylist(), 1))
        outputs = list(chain.from_iterable(self._scorer.stream(rows)))
        names = dict.fromkeys(name for output in outputs for name in output if name not in ("line", "id", "input"))
        for name in dict.fromkeys([*names, "error"]):
            batch = batch.append_column(name, [_array([output.get(name) for output in outputs])])
        return batch

    def _row(self, number: int, columns: dict[str, Any]) -> ScoringRow:
        try:
            judgment = parse_scoring_row(columns, file="<batch>", line=number, mapping=self._columns)
        except InvalidRowError as error:
            return ScoringRow(number, columns, error=error)
        return ScoringRow(number, columns, judgment)


def _array(values: list[Any]) -> pyarrow.Array:
    import pyarrow

    # A column that is empty in one batch, and is not in another, must have one type.
    return pyarrow.array(values, pyarrow.string() if all(value is None for value in values) else None)
