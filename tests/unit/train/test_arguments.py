"""The size of a batch, as configured or by the rows."""

from __future__ import annotations

import pytest

from vrm.config import TrainConfig
from vrm.errors import ConfigError
from vrm.train.arguments import batch_size

SIZES = {1: 16, 100: 16, 319: 16, 320: 32, 1000: 64, 2559: 128, 2560: 256, 10**7: 256}


@pytest.mark.parametrize(("rows", "judgments"), SIZES.items())
def test_ten_steps_an_epoch_from_sixteen_to_256(rows, judgments):
    assert batch_size(TrainConfig(), rows, processes=1) == judgments


@pytest.mark.parametrize(
    ("rows", "processes", "accumulation", "judgments"), [(1000, 3, 1, 63), (100, 8, 4, 32), (1000, 2, 4, 64)]
)
def test_every_process_and_pass_gets_as_many(rows, processes, accumulation, judgments):
    assert batch_size(TrainConfig(gradient_accumulation=accumulation), rows, processes) == judgments


def test_a_size_that_is_given_stays():
    assert batch_size(TrainConfig(batch_size=256), 10, processes=2) == 256


def test_a_size_that_cannot_be_divided():
    with pytest.raises(ConfigError, match=r"train.batch_size \(10\) must be a multiple of processes \(4\) times"):
        batch_size(TrainConfig(batch_size=10), 100, processes=4)
