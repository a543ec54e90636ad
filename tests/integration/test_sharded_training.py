"""`train.parallel: fsdp`: processes that hold parts of a backbone train it as one process does, and go on after a stop.

Most of these tests are slow; the first is not, and covers packed rows, unequal numbers of passes and the saved model.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.metadata import MetadataIndex

from vrm.cli.main import main

pytestmark = pytest.mark.filterwarnings("ignore::vrm.core.losses.PromptIgnoredWarning")

SAME_IN_ALL = {
    "model.head": "gated",
    "model.head_dropout": 0.0,
    "model.tuning": "full",
    "train.early_stopping": None,
    "train.epochs": 1,
    "train.batch_size": 8,
    "train.evals": 2,
    "train.backbone_learning_rate": 3e-4,
}
"""Without draws and dropout, which differ with the number of processes."""

# So small that processes have several passes a step, and not equally many.
PARTS = {"train.parallel": "fsdp", "train.token_budget": 60}
LORA = {"model.tuning": "lora", "model.lora": {"r": 2, "alpha": 4}, "train.backbone_learning_rate": 1e-2}


def output_of(config):
    return Path(yaml.safe_load(config.read_text())["output_dir"])


def weights_of(config):
    """Without the directions of familiar texts, which turn where two are equally long."""
    weights = load_file(output_of(config) / "model" / "model.safetensors")
    return {name: value for name, value in weights.items() if "familiarity" not in name}


def difference(config, other):
    first, second = weights_of(config), weights_of(other)
    assert first.keys() == second.keys()
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


@pytest.fixture
def alone(write_config):
    """alone(changes): configuration of a run that one process has trained."""

    def train(changes=None):
        config = write_config({**SAME_IN_ALL, **(changes or {})}, "alone")
        with pytest.raises(SystemExit) as stop:
            main(["train", str(config)])
        assert not stop.value.code
        return config

    return train


@pytest.fixture
def parts(write_config):
    """parts(changes, name): configuration of a run in parts."""
    return lambda changes=None, name="parts": write_config({**SAME_IN_ALL, **PARTS, **(changes or {})}, name)


def numbers_by_process(folder):
    """How many numbers each process has written to a checkpoint's folder, in the order of the processes."""
    contents = FileSystemReader(folder).read_metadata()
    written: dict[str, int] = {}
    for name, entry in contents.state_dict_metadata.items():
        for chunk in getattr(entry, "chunks", []):
            file = contents.storage_data[MetadataIndex(name, chunk.offsets)].relative_path
            written[file] = written.get(file, 0) + chunk.sizes.numel()
    return [written[file] for file in sorted(written)]


def test_parts_reach_the_weights_of_one_process(alone, parts, train_in, tiny_decoder_backbone):
    one, two = alone(), parts()
    printed = train_in(2, two)
    assert printed.count("accuracy") == 1, "only one process reports"
    assert difference(one, two) < 1e-5
    before = load_file(tiny_decoder_backbone / "model.safetensors")
    after = weights_of(two)
    assert all(float((after[f"backbone.{name}"] - value).abs().max()) > 1e-4 for name, value in before.items())
    assert {value.dtype for value in after.values()} == {torch.float32}
    summaries = [json.loads((output_of(config) / "run.json").read_text()) for config in (one, two)]
    assert summaries[0]["metrics"]["nll"] == pytest.approx(summaries[1]["metrics"]["nll"], abs=1e-5)
    assert summaries[0]["parameters"] == summaries[1]["parameters"]
    checkpoint = max((output_of(two)).glob("checkpoint-*"))
    for folder in ("pytorch_model_fsdp_0", "optimizer_0"):
        shares = numbers_by_process(checkpoint / folder)
        assert len(shares) == 2
        # The head, which is small, is written by one of them.
        assert max(shares) / sum(shares) < 0.6


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [LORA, {"model.gradient_checkpointing": True}, {**LORA, "model.gradient_checkpointing": True}],
    ids=["lora", "recomputed", "lora recomputed"],
)
def test_other_tunings_reach_the_weights_of_one_process(alone, parts, train_in, changes):
    one, two = alone(changes), parts(changes)
    train_in(2, two)
    assert difference(one, two) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"train.gradient_accumulation": 2}, {"train.batch_size": 12}])
def test_parts_reach_the_weights_of_copies(write_config, parts, train_in, changes):
    """Steps of several batches, and an epoch that ends with a smaller step."""
    copies = write_config({**SAME_IN_ALL, **changes}, "copies")
    train_in(2, copies)
    train_in(2, parts(changes))
    assert difference(copies, parts(changes)) < 1e-5


@pytest.mark.slow
def test_an_encoder_in_parts_without_held_out_rows(write_config, parts, train_in, tiny_encoder_backbone):
    """Adapters of a backbone that has weights outside of its layers, read once more after training."""
    changes = {**LORA, "model.backbone": str(tiny_encoder_backbone), "model.max_input_tokens": 256}
    sources = {**yaml.safe_load(parts().read_text())["data"], "eval": [], "held_out": 0}
    copies = write_config({**SAME_IN_ALL, **changes, "train.token_budget": 4096, "data": sources}, "copies")
    train_in(2, copies)
    two = parts({**changes, "train.token_budget": 4096, "data": sources})
    train_in(2, two)
    assert difference(copies, two) < 1e-5


@pytest.mark.slow
def test_bfloat16_leaves_head_and_saved_weights_float32(parts, train_in):
    losses = []
    for precision in ("float32", "bfloat16"):
        config = parts({"train.precision": precision}, precision)
        train_in(2, config)
        assert {value.dtype for value in weights_of(config).values()} == {torch.float32}
        losses.append(json.loads((output_of(config) / "run.json").read_text())["metrics"]["nll"])
    assert losses[0] == pytest.approx(losses[1], abs=2e-2)
    assert losses[0] != losses[1]


LONG = {"train.epochs": 12, "train.evals": 12, "train.lr_scheduler": "linear"}


def stop_after_a_checkpoint(output, pid, number=1):
    """Kill a process as soon as the run has so many checkpoints."""
    limit = time.monotonic() + 200
    while len(list(output.glob("checkpoint-*"))) < number:
        assert time.monotonic() < limit
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)


def children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *children(child)]
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc")
def test_a_process_that_dies_ends_the_run_and_it_can_go_on(parts, train_in, launch):
    """Draws and dropout included, the weights are those of a run that nobody stopped."""
    changes = {**LONG, "model.head": "vrm", "model.head_dropout": 0.3}
    whole, broken = parts(changes, "whole"), parts(changes, "broken")
    train_in(2, whole)
    process = launch(2, "-m", "vrm.cli.main", "train", broken)
    while len(workers := children(process.pid)) < 2:
        time.sleep(0.05)
    stop_after_a_checkpoint(output_of(broken), workers[-1], 2)
    died = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - died < 60
    assert process.returncode != 0
    assert "SIGKILL" in errors
    assert not (output_of(broken) / "model").exists()
    train_in(2, broken, "--resume")
    assert difference(whole, broken) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_processes_goes_on(alone, parts, train_in, start_processes, planted, tmp_path, count):
    # Whole steps of twelve rows, which two and three processes can share.
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(planted["train"].read_text(encoding="utf-8").splitlines(keepends=True)[:60]))
    sources = {"train": str(rows), "eval": str(planted["dev"])}
    changes = {**LONG, "train.batch_size": 12, "data": sources}
    one, broken = alone(changes), parts(changes)
    processes = start_processes(2, broken)
    limit = time.monotonic() + 200
    while len(list(output_of(broken).glob("checkpoint-*"))) < 2:
        assert time.monotonic() < limit
        time.sleep(0.02)
    processes[1].terminate()
    _, errors = processes[0].communicate(timeout=60)
    assert processes[0].returncode == 1
    assert "error: another process of this run has ended" in errors
    train_in(count, broken, "--resume")
    assert difference(one, broken) < 1e-5


@pytest.mark.slow
def test_a_process_holds_half_of_weights_gradients_and_optimizer_state(
    write_config, parts, launch, tmp_path, monkeypatch
):
    sizes = {}
    for count, config in ((1, write_config(SAME_IN_ALL, "copies")), (2, parts())):
        folder = tmp_path / str(count)
        folder.mkdir()
        monkeypatch.setenv("VRM_PARTS_FOLDER", str(folder))
        process = launch(count, "-m", "studies.speed.parts", "--child", "train", config)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
        sizes[count] = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(count)]
    for kind in ("weights", "gradients", "optimizer"):
        for process in sizes[2]:
            assert 0.45 < process[kind] / sizes[1][0][kind] < 0.62, (kind, sizes)
