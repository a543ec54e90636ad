"""Ways of several processes that are refused by name, and checkpoints in parts that are not whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import checkpoint as sharded

from vrm.errors import ConfigError, LostProcessError
from vrm.train.checkpoints import SHARDS, whole_checkpoint
from vrm.train.output import compare_configuration
from vrm.train.parallel import Copies, Shards, average_gradients, parallel_of
from vrm.train.processes import among_others


@pytest.fixture
def launched(monkeypatch):
    """As a process that a launcher has started."""
    monkeypatch.setenv("LOCAL_RANK", "0")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.tuning": "frozen"}, r"train\.parallel is fsdp, but with model\.tuning: frozen .* set train\.parallel"),
        ({"model.compile": True}, r"model\.compile: true does not go with train\.parallel: fsdp"),
    ],
)
def test_what_does_not_go_with_parts_is_named(make_config, launched, changes, words):
    with pytest.raises(ConfigError, match=words):
        parallel_of(make_config({"model.tuning": "full", "train.parallel": "fsdp", **changes}))


def test_parts_need_a_launcher(make_config, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    config = make_config({"model.tuning": "full", "train.parallel": "fsdp"})
    with pytest.raises(ConfigError, match=r"needs processes that a launcher starts: `torchrun"):
        parallel_of(config)
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert isinstance(parallel_of(config), Shards)


def test_a_launcher_that_asks_for_parts_is_not_passed_over(make_config, monkeypatch):
    assert type(parallel_of(make_config())) is Copies
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match=r"the launcher asks for FSDP, and train\.parallel is ddp"):
        parallel_of(make_config())


def test_an_old_run_without_the_key_is_one_of_copies(make_config):
    config = make_config()
    output = Path(config.output_dir)
    output.mkdir()
    stored = json.loads(config.model_dump_json())
    del stored["train"]["parallel"]
    (output / "config.json").write_text(json.dumps(stored))
    compare_configuration(config)
    with pytest.raises(ConfigError, match=r"train\.parallel: 'fsdp' now, 'ddp' before"):
        compare_configuration(make_config({"train.parallel": "fsdp"}))


def test_gradients_are_averaged_and_absent_ones_stay_absent(monkeypatch):
    """Of two processes, the other of which has gradients of 4 for the first and last parameter."""
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(1, 3))]
    frozen = nn.Parameter(torch.zeros(2), requires_grad=False)
    parameters[0].grad = torch.tensor([1.0, 2.0])
    other = torch.tensor([1.0, 0.0, 1.0, *[4.0] * 2, 0.0, *[4.0] * 3])
    monkeypatch.setattr(dist, "all_reduce", lambda message: message.add_(other))
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    average_gradients([*parameters, frozen])
    assert parameters[0].grad.tolist() == [2.5, 3.0]
    assert parameters[1].grad is None
    assert parameters[2].grad.tolist() == [[2.0] * 3]
    assert frozen.grad is None


@pytest.mark.parametrize(
    "error", [RuntimeError("[gloo/transport/tcp/pair.cc] Read error: reset\nmore"), dist.DistBackendError("NCCL: lost")]
)
def test_a_message_that_is_lost_tells_of_the_other_process(error):
    with (
        pytest.raises(LostProcessError, match=r"has ended or does not answer \(.*Error: .*\)\. .* --resume"),
        among_others(),
    ):
        raise error


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes differ"), among_others():
        raise RuntimeError("shapes differ")


@pytest.fixture
def checkpoint(tmp_path):
    """A whole checkpoint in parts, of one process."""
    place = tmp_path / "run" / "checkpoint-3"
    place.mkdir(parents=True)
    for name in SHARDS:
        with pytest.warns(UserWarning, match="single process"):
            sharded.save({"a": torch.ones(500), "b": torch.zeros(3)}, checkpoint_id=str(place / name), no_dist=True)
    (place / "trainer_state.json").write_text("{}")
    for name in ("scheduler.pt", "rng_state_0.pth"):
        torch.save({}, place / name)
    return place


def test_a_checkpoint_in_parts_is_whole(checkpoint):
    assert whole_checkpoint(checkpoint.parent) == (checkpoint, "")


@pytest.mark.parametrize(
    "name", ["pytorch_model_fsdp_0/__0_0.distcp", "optimizer_0/__0_0.distcp", "optimizer_0/.metadata"]
)
@pytest.mark.parametrize("damage", ["cut", "emptied", "removed"])
def test_a_checkpoint_with_a_damaged_part_is_not(checkpoint, name, damage):
    file = checkpoint / name
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: 40 if damage == "cut" else 0])
    words = "is missing" if damage == "removed" else "is cut or damaged"
    with pytest.raises(ConfigError, match=rf"checkpoint-3 is incomplete \({name} {words}\)"):
        whole_checkpoint(checkpoint.parent)


@pytest.mark.parametrize("name", SHARDS)
def test_a_checkpoint_without_one_of_its_folders_is_not(checkpoint, name):
    (checkpoint / name / ".metadata").unlink()
    (checkpoint / name / "__0_0.distcp").unlink()
    (checkpoint / name).rmdir()
    with pytest.raises(ConfigError, match=rf"\({name}/\.metadata is missing\)"):
        whole_checkpoint(checkpoint.parent)
