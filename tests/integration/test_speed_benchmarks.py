"""The benchmarks of `studies/speed` at toy size: their tables and counts, and that both sides do the same work."""

from __future__ import annotations

import importlib
import io
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from studies.speed import gpu, inputs, loading, parts, step_profile, training
from studies.speed.measure import Alone, PeakMemory, Spread, in_turn
from studies.speed.routes import tokens_packed
from studies.speed.tables import Table
from transformers.utils import logging

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.embedded


Run = Callable[..., tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run a benchmark with --quick in this process; what it printed, and its figures."""
    verbosity = logging.get_verbosity()

    def run(name: str, *options: str) -> tuple[str, dict[str, Any]]:
        file = tmp_path_factory.mktemp(name) / "figures.json"
        printed = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
            patch.setattr(sys, "argv", [name, "--quick", "--markdown", "--json", str(file), *options])
            importlib.import_module(f"studies.speed.{name}").main()
        document = json.loads(file.read_text("utf-8"))
        assert document["quick"]
        assert document["environment"]["torch"]
        return printed.getvalue(), document["figures"]

    yield run
    logging.set_verbosity(verbosity)
    logging.enable_progress_bar()


KINDS = ("extraction", "bare")


def header(*columns: str) -> str:
    return f"| {' | '.join(columns)} |"


def test_the_estimate_counts_what_the_shapes_say(run: Run):
    text, figures = run("estimate")
    layer, shape = figures["layer"], replace(gpu.TOY_LLAMA, layers=1)
    products = 2 * shape.matrix_parameters * layer["positions"]
    assert layer["forward"] == layer["backward"]["LoRA"] == products
    assert layer["backward"]["full"] == 2 * products
    kept = {(one["way"], one["cards"]): one["kept"] for one in figures["estimates"]}
    assert kept["full", 1] == 16 * kept["full", 16] == 4 * kept["LoRA", 1] == 8 * kept["frozen", 16]
    assert "| full, 8 |" in text


@pytest.fixture(scope="module")
def trained(run: Run) -> tuple[str, dict[str, Any]]:
    """The benchmark of training with all of its sides."""
    pytest.importorskip("trl")
    return run("training", "--routes", "--compiled")


def test_training_compares_like_with_like(trained):
    printed, figures = trained
    assert header(*training.COLUMNS) in printed
    sides = figures["float32, gradient checkpointing off"]
    first = {name: runs[0] for name, runs in sides.items()}
    assert list(first)[:4] == ["TRL", "TRL, sorted by length", "VRM, bt head", "VRM, vrm head"]
    assert list(first)[-3:] == ["TRL, compiled", "VRM, bt head, compiled", "VRM, vrm head, compiled"]
    # The same pairs on every side, tokenized alike, and the same loss of the same weights.
    assert len({(one["pairs"], one["tokens"]) for one in first.values()}) == 1
    assert figures["tokenized_alike"] == 1.0
    assert figures["losses"][0] == pytest.approx(figures["losses"][1], abs=1e-5)
    assert max(figures["gradients"].values()) < 1e-4
    assert list(figures["defaults"]) == ["TRL, its defaults", training.SHORT, training.LONG]
    # TRL pads both completions to the longest row of the batch, packed rows hold no padding.
    assert first["TRL"]["positions"] - first["TRL"]["padding"] == first["TRL"]["tokens"]
    assert first["VRM, bt head"]["padding"] == 0
    assert first["VRM, bt head"]["positions"] < first["TRL, sorted by length"]["positions"]


@pytest.mark.slow
@pytest.mark.usefixtures("smollm2_backbone")
def test_adapters_compare_like_with_like(run):
    pytest.importorskip("trl")
    printed, figures = run("adapters")
    assert header(*training.COLUMNS) in printed
    sides = {name: runs[0] for name, runs in figures["LoRA, float32, gradient checkpointing off"].items()}
    assert list(sides) == ["TRL", "TRL, sorted by length", "VRM, bt head", "VRM, vrm head"]
    assert len({(one["pairs"], one["tokens"]) for one in sides.values()}) == 1
    assert figures["tokenized_alike"] == 1.0
    assert figures["losses"][0] == pytest.approx(figures["losses"][1], abs=1e-5)


def test_positions_of_the_packed_route_are_the_unique_tokens(trained):
    _, figures = trained
    rows = inputs.read_rows([], 64, 256)
    timed = training.orders(rows, batch=4, warmup=1, steps=2).random.take(range(4, 12))
    unique = sum(len(item.prompt) + sum(map(len, item.completions)) for item in timed.tokenized)
    (packed,) = figures["float32, gradient checkpointing off"]["VRM, bt head"]
    assert packed["positions"] == unique == tokens_packed(timed)
    assert figures["positions"]["packed (prompt once)"] == pytest.approx(tokens_packed(rows) / len(rows))


def test_both_orders_hold_the_same_pairs_and_the_sorted_one_pads_less():
    rows = inputs.read_rows([], 200, 512)
    plan = training.orders(rows, batch=8, warmup=2, steps=5)
    for part in (slice(0, 16), slice(16, 56)):
        random, grouped = ({id(row) for row in one.judgments[part]} for one in (plan.random, plan.grouped))
        assert random == grouped
        assert len(random) == part.stop - part.start

    def padded(items: list[Any]) -> int:
        batches = [items[first : first + 8] for first in range(16, 56, 8)]
        return sum(step_profile.needed_scores(batch, "padded")[0] for batch in batches)

    assert padded(plan.grouped.tokenized) < padded(plan.random.tokenized)


def test_generated_lengths_are_those_stated():
    lengths = inputs.read_rows([], 1500, 8192).lengths()
    # Seven tokens of the template come with a prompt, one with a completion.
    assert abs(lengths[:, 0].mean() - 7 - 120) < 15
    assert abs(lengths[:, 1:].mean() - 1 - 75) < 6


@pytest.mark.slow
def test_beside_busy_processes(run):
    pytest.importorskip("trl")
    printed, figures = run("company")
    assert list(figures["scoring"]) == [
        f"{load}, default" for load in ("short pairs, encoder", "short pairs, decoder", "long trees, decoder")
    ]
    for by_company in figures["scoring"].values():
        assert list(by_company) == ["alone", "beside one"]
        assert all(set(seconds) == {"engine", "bare padded backbone"} for seconds in by_company.values())
    assert list(figures["training"]) == ["default, alone", "default, beside one"]
    assert printed.count("Processor: ") == 2
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_training_beside_a_busy_process_has_its_own_columns(run):
    pytest.importorskip("trl")
    printed, figures = run("training", "--beside", "--no-defaults")
    assert header(*training.COLUMNS, *training.BESIDE) in printed
    sides = figures["float32, gradient checkpointing off"]
    assert list(figures["float32, gradient checkpointing off beside one busy process"]) == list(sides)


def test_scoring(run):
    printed, figures = run("scoring")
    columns = ("prompt, completions", "VRM texts/s", "TRL's way texts/s", "x TRL's way", "x pipeline, batches of 2")
    assert header(*columns) in printed
    assert set(figures) == {"decoder, float32", "one prompt", "encoder, float32"}
    assert list(figures["decoder, float32"]) == [
        f"{name} ({length} tokens), {count}" for name, length in (("short", 10), ("long", 40)) for count in (1, 4)
    ]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of pairs that a tiny tokenizer reads in few tokens."""
    file = tmp_path_factory.mktemp("spoken") / "pairs.jsonl"
    rows = [{"prompt": "how do you help" * (1 + number % 3), "chosen": "very good", "rejected": "no"}
            for number in range(32)]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def test_extraction_beside_the_same_calls(run, tiny_decoder_backbone, spoken):
    printed, figures = run("extraction", "--backbone", str(tiny_decoder_backbone), "--data", spoken)
    columns = ("side", "pairs/s", "tokens/s", "positions a pair", "of the bare calls", "x padded")
    assert header(*columns) in printed
    found = figures["float32"]
    assert list(found["seconds"]) == [f"{kind}, {route}" for route in ("packed", "padded") for kind in KINDS]
    assert found["positions"]["packed"] < found["positions"]["padded"]


def test_scoring_and_profile_of_another_decoder(run, tiny_decoder_backbone, spoken):
    backbone = str(tiny_decoder_backbone)
    _, figures = run("scoring", "--backbone", backbone, "--prompts", "long")
    assert set(figures) == {"decoder, float32", "one prompt"}
    assert list(figures["decoder, float32"]) == ["long (40 tokens), 1", "long (40 tokens), 4"]
    full, lora = (
        run("step_profile", "--backbone", backbone, "--tuning", tuning, "--data", spoken)[1]["profiles"]["float32"]
        for tuning in ("full", "lora")
    )
    for route, one in lora.items():
        # No gradient of what is frozen: two passes over the matrices, not three.
        assert 0.6 < one["operations"] / full[route]["operations"] < 0.8
        assert one["groups"]["head and loss"] > 0


@pytest.mark.slow
def test_growth_and_its_plot(run, tmp_path):
    pytest.importorskip("matplotlib")
    plot = tmp_path / "growth.png"
    printed, figures = run("growth", "--plot", str(plot))
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert header("tokens of prompt and completion", "seconds", "x before", "size x before", "peak MiB") in printed
    assert [len(curve["points"]) for curve in figures["curves"].values()] == [2, 2, 2, 2]


def test_profile_names_where_the_time_goes(run):
    printed, figures = run("step_profile")
    assert header("what", "padded, ms", "share", "packed, ms", "share") in printed
    for route in figures["profiles"]["float32"].values():
        assert set(route["groups"]) == set(step_profile.GROUPS)
        named = sum(milliseconds for group, milliseconds in route["groups"].items() if group != "other")
        assert named > 0.5 * sum(route["groups"].values())
        for group in ("matrix products", "attention", "head and loss", "optimizer", "data loading"):
            assert route["groups"][group] > 0
        assert route["operations"] > 0


def test_operations_equal_those_that_torch_counts():
    """Of the matrices, by torch's own counter; attention is counted apart, since it computes what no token sees."""
    from torch.utils.flop_counter import FlopCounterMode

    rows = inputs.read_rows([], 8, 256)
    stepper = step_profile.make_stepper(inputs.TOY, "padded", "float32", 256)
    (part,) = stepper.passes(rows.tokenized[:2])
    with FlopCounterMode(display=False) as counter:
        stepper.forward(part).backward()
    found = counter.get_flop_counts()["Global"]
    positions = part["input_ids"].numel()
    expected = 3 * inputs.TOY.forward_operations(positions, 0)
    matrices = sum(count for name, count in found.items() if "mm" in str(name))
    head = 3 * 2 * sum(p.numel() for p in stepper.model.score.parameters()) * len(rows)
    assert expected * 0.99 <= matrices <= expected + head


def test_tokenizing_counts_the_same_tokens_on_any_number_of_cores(run):
    printed, figures = run("tokenizing", "--rounds", "1")
    assert header("cores, side", "tokens/s", "x one batch") in printed
    assert len({one["tokens"] for one in figures.values()}) == 1


@pytest.mark.slow
def test_gpu_runs_toy_shapes_without_a_gpu(run):
    pytest.importorskip("trl")
    printed, figures = run("gpu")
    assert (
        header("model, route", "steps", "pairs/s", "tokens/s", "positions a pair", "utilization", "peak GiB") in printed
    )
    jobs = figures["jobs"]
    assert [name for name, one in jobs.items() if isinstance(one, str)] == []
    assert jobs["toy Qwen3, TRL"]["positions"] == jobs["toy Qwen3, padded"]["positions"]
    assert jobs["toy Qwen3, packed"]["positions"] < jobs["toy Qwen3, padded"]["positions"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is at hand")
def test_gpu_without_a_gpu_says_so(monkeypatch):
    from studies.speed import gpu

    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit, match="no CUDA device"):
        gpu.main()


def test_what_processes_hold_is_that_of_the_largest():
    """What each process reports is tested where parts are trained."""
    whole = {"weights": 4e6, "gradients": 4e6, "optimizer": 8e6, "resident": 900e6, "seconds": [1.0, 3.0, 2.0]}
    part = {"weights": 2e6, "gradients": 1e6, "optimizer": 4e6, "resident": 700e6, "seconds": [2.0]}
    figures = {"1": [[whole]], "2, parts": [[part, {**part, "gradients": 2e6}], [part, {**part, "seconds": [4.0]}]]}
    assert parts.measured_table(figures, inputs.TOY).rows == [
        ["1", "4", "4", "8", "100%", "900", "2.0 (2.0-2.0)"],
        ["2, parts", "2", "2", "4", "50%", "700", "5.0 (4.0-6.0)"],
    ]


@pytest.mark.slow
def test_compiled():
    done = subprocess.run(
        [sys.executable, "-m", "studies.speed.compiled", "--quick", "--markdown"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert header("step of", "eager, ms", "compiled, ms", "times faster", "compiler, s", "pays after") in done.stdout


def test_loading(capsys):
    loading.main(["--quick", "--markdown", "--rounds", "1", "--precision", "bfloat16"])
    printed = capsys.readouterr().out
    columns = ("backbone", "parameters", "load, s", "peak, MB", "draws of a run, s", "their peak, MB")
    assert header(*columns) in printed
    assert "| random decoder, bfloat16 | 1.0 M |" in printed


def test_measuring():
    assert Alone()(os.getpid) != os.getpid()
    assert Alone(here=True)(os.getpid) == os.getpid()
    found = in_turn({"a": lambda: 1, "b": lambda: 2}, 3)
    assert found == {"a": [1, 1, 1], "b": [2, 2, 2]}
    ratios = Spread.of_ratios([2.0, 6.0, 4.0], [1.0, 2.0, 4.0])
    assert (ratios.median, ratios.lowest, ratios.highest) == (2.0, 1.0, 3.0)
    assert ratios.text(1) == "2.0 (1.0..3.0)"


def test_peak_memory_sees_what_was_freed():
    memory = PeakMemory()
    memory.start()
    block = torch.ones(64, 2**20)
    del block
    assert 200 * 2**20 < memory.bytes() < 400 * 2**20


def test_tables_in_markdown():
    table = Table("Title", ["side", "speed"], notes=["How to read it."])
    table.add("ours", "2.0")
    assert table.markdown() == "**Title**\n\n| side | speed |\n| --- | ---: |\n| ours | 2.0 |\n\nHow to read it."
