"""The output directory of a run: what is in it is not replaced, gone on from or mixed without being told so."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from vrm.data.schema import Judgment
from vrm.errors import ConfigError, OutputError
from vrm.train import callbacks
from vrm.train.checkpoints import forget_old, whole_checkpoint
from vrm.train.output import alone, checkpoints, compare_configuration
from vrm.train.run import run_training

pytestmark = pytest.mark.filterwarnings("ignore::vrm.core.losses.PromptIgnoredWarning")


class Interrupt(BaseException):
    pass


@pytest.fixture
def interrupted(make_config, run_data, rows, monkeypatch):
    """A run with two checkpoints that stopped before its last one, its configuration and its rows."""

    def interrupt(self, args, state, control, **kwargs):
        if state.global_step == 6:
            raise Interrupt

    config = make_config({"train.epochs": 4, "train.evals": 4, "train.early_stopping": None})
    data = run_data(rows(16), rows(8, seed=1))
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.ProgressBar, "on_step_end", interrupt)
        with pytest.raises(Interrupt):
            run_training(config, data=data)
    assert [path.name for path in checkpoints(Path(config.output_dir))] == ["checkpoint-4", "checkpoint-2"]
    return config, data


def test_a_finished_run_is_kept_unless_it_is_to_be_replaced(make_config, run_data, rows):
    config = make_config()
    data = run_data(rows(16), rows(8, seed=1))
    with pytest.raises(ConfigError, match="--resume: there is no checkpoint"):
        run_training(config, resume=True, data=data)
    first = run_training(config, data=data)
    output = Path(config.output_dir)
    before = (output / "run.json").read_bytes()
    with pytest.raises(ConfigError, match=r"holds a finished run: choose another output_dir, or .*--overwrite"):
        run_training(config, data=data)
    assert run_training(config, data=data, resume=True).metrics == first.metrics, "nothing is left to do"
    assert (output / "run.json").read_bytes() == before
    stale = output / "checkpoint-900"
    stale.mkdir()
    again = run_training(config, data=data, overwrite=True)
    assert not stale.exists()
    assert again.metrics["nll"] == pytest.approx(first.metrics["nll"], abs=1e-6)
    (output / "run.json").unlink()
    with pytest.raises(ConfigError, match="holds a finished run"):
        run_training(config, data=data)
    shutil.rmtree(output / "model")
    with pytest.raises(ConfigError, match="unfinished run: continue it with --resume, replace it with --overwrite"):
        run_training(config, data=data)


def test_a_finished_run_is_told_before_anything_is_read(make_config, run_data, rows, monkeypatch):
    config = make_config()
    first = run_training(config, data=run_data(rows(16), rows(8, seed=1)))
    monkeypatch.setattr("vrm.train.run.load_data", lambda *_: pytest.fail("read"))
    monkeypatch.setattr("vrm.train.run.check_backbone", lambda *_: pytest.fail("looked at"))
    assert run_training(config, resume=True).metrics == first.metrics


def test_of_another_configuration_the_part_that_differs_is_named(make_config):
    config = make_config({"data.train": ["a.jsonl", "b.jsonl"]})
    output = Path(config.output_dir)
    output.mkdir()
    (output / "config.json").write_text(config.model_dump_json())
    compare_configuration(config)
    with pytest.raises(ConfigError) as raised:
        compare_configuration(make_config({"data.train": ["a.jsonl", "c.jsonl"]}))
    lines = [line for line in str(raised.value).splitlines() if line.startswith("  ")]
    assert lines == ["  data.train.1.path: 'c.jsonl' now, 'b.jsonl' before"]


def test_an_output_directory_that_is_no_run(make_config, run_data, rows):
    config = make_config()
    output = Path(config.output_dir)
    output.write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        run_training(config, data=run_data(rows(8)))
    output.unlink()
    output.mkdir()
    model = '{"model_type": "bert"}'
    (output / "config.json").write_text(model)
    with pytest.raises(ConfigError, match="holds something else than a run"):
        run_training(config, data=run_data(rows(8)), overwrite=True)
    assert (output / "config.json").read_text() == model


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("labels", r"other rows for training \(16 now, 16 before\)\. Restore"),
        ("more", r"other rows for training \(24 now, 16 before\)"),
        ("eval", r"other rows for evaluation \(4 now, 8 before\)"),
        ("order", r"other rows for training \(16 now"),
    ],
)
def test_a_run_goes_on_with_the_rows_that_it_was_started_with(interrupted, rows, change, words):
    config, data = interrupted
    other = {
        "labels": replace(data, train=[replace(row, preference=0.0) for row in data.train]),
        "more": replace(data, train=rows(24)),
        "eval": replace(data, eval=data.eval[:4]),
        "order": replace(data, train=data.train[::-1]),
    }[change]
    with pytest.raises(ConfigError, match=words) as caught:
        run_training(config, data=other, resume=True)
    assert "\n" not in str(caught.value)


def test_where_a_row_stands_is_no_part_of_it(interrupted):
    config, data = interrupted
    moved = [replace(row, file="elsewhere", line=row.line + 5, source="b", category="c") for row in data.train]
    assert run_training(config, data=replace(data, train=moved), resume=True).metrics


def test_a_run_goes_on_with_backbone_tokenizer_and_template_of_its_start(interrupted, tmp_path):
    config, data = interrupted
    original, backbone = Path(config.model.backbone), tmp_path / "backbone"
    record = Path(config.output_dir) / "config.json"

    def attempt(words):
        with pytest.raises(ConfigError, match=words):
            run_training(config, data=data, resume=True)

    shutil.copytree(original, backbone)
    record.write_text(record.read_text().replace(str(original), str(backbone)))
    config.model.backbone = str(backbone)
    weights = load_file(backbone / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][3, 0] += 1.0
    save_file(weights, backbone / "model.safetensors", metadata={"format": "pt"})
    attempt("was started with has changed: other weights of the backbone")
    shutil.copy(original / "model.safetensors", backbone)
    settings = json.loads((backbone / "config.json").read_text())
    (backbone / "config.json").write_text(json.dumps({**settings, "layer_norm_eps": 0.1}))
    attempt("changed: another configuration of the backbone")
    (backbone / "config.json").write_text(json.dumps(settings))
    tokenizer = AutoTokenizer.from_pretrained(original)
    tokenizer.add_tokens(["plan"], special_tokens=True)
    tokenizer.save_pretrained(backbone)
    attempt("changed: another tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(original)
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }} no {% endfor %}"
    tokenizer.save_pretrained(backbone)
    attempt("changed: another chat template")
    shutil.rmtree(backbone)
    shutil.copytree(original, backbone)
    assert run_training(config, data=data, resume=True).metrics


def test_a_run_of_an_older_version_goes_on(interrupted, capsys):
    config, data = interrupted
    (Path(config.output_dir) / "run_inputs.json").unlink()
    run_training(config, data=data, resume=True)
    assert "run_inputs.json is missing" in capsys.readouterr().err


FILES = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]


def test_what_is_half_replaced_is_not_gone_on_from(interrupted, monkeypatch):
    """Killed while --overwrite removes a run, whose checkpoints are then not those of the new configuration."""
    config, data = interrupted
    new = config.model_copy(update={"seed": config.seed + 1})
    removed = shutil.rmtree

    def killed(path, *args, **kwargs):
        if Path(path).name == "checkpoint-2":
            raise Interrupt
        removed(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(Interrupt):
            run_training(new, data=data, overwrite=True)
    with pytest.raises(ConfigError, match="started with another configuration"):
        run_training(new, data=data, resume=True)


def test_two_runs_into_one_directory(interrupted):
    config, data = interrupted
    output = Path(config.output_dir)
    left = output / f".vrm-{'0' * 32}"
    left.mkdir()
    with alone(output), pytest.raises(ConfigError, match=f"another process trains into {output}"):
        run_training(config, data=data, resume=True)
    with pytest.raises(ConfigError, match="unfinished run"):
        run_training(config, data=data)
    assert not left.exists()
    assert not (output / "run.lock").exists()


def test_a_refused_run_leaves_no_directory(tmp_path):
    with alone(tmp_path / "runs" / "a"):
        assert (tmp_path / "runs" / "a").is_dir()
    assert not (tmp_path / "runs" / "a").exists()


@pytest.mark.parametrize("damage", ["cut", "emptied", "removed"])
def test_incomplete_checkpoints_are_passed_over(interrupted, damage, tmp_path):
    config, _ = interrupted
    output = Path(config.output_dir)
    assert whole_checkpoint(output) == (output / "checkpoint-4", "")
    for name in FILES:
        copy = tmp_path / f"{damage}-{name}"
        shutil.copytree(output, copy)
        file = copy / "checkpoint-4" / name
        if damage == "removed":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[: 40 if damage == "cut" else 0])
        state = json.loads((copy / "checkpoint-2" / "trainer_state.json").read_text())
        assert state["best_global_step"] == 2
        found, note = whole_checkpoint(copy)
        reason = "is missing" if damage == "removed" else "is cut or damaged"
        assert (found.name, note) == (
            "checkpoint-2", f"checkpoint-4 is incomplete ({name} {reason}); going on from checkpoint-2"
        )  # fmt: skip
        shutil.rmtree(copy / "checkpoint-2")
        with pytest.raises(ConfigError, match=r"no checkpoint in .* is whole: checkpoint-4 is incomplete"):
            whole_checkpoint(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt"])
def test_a_checkpoint_with_a_changed_bit_is_passed_over(interrupted, name):
    config, _ = interrupted
    file = Path(config.output_dir) / "checkpoint-4" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    found, note = whole_checkpoint(Path(config.output_dir))
    assert (found.name, note) == (
        "checkpoint-2", f"checkpoint-4 is incomplete ({name} is cut or damaged); going on from checkpoint-2"
    )  # fmt: skip


class AsksForCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1 + 1",)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt"])
def test_a_checkpoint_whose_state_asks_for_code_is_passed_over(interrupted, name):
    config, _ = interrupted
    torch.save({"state": AsksForCode()}, Path(config.output_dir) / "checkpoint-4" / name)
    found, note = whole_checkpoint(Path(config.output_dir))
    assert found.name == "checkpoint-2"
    assert f"checkpoint-4 is incomplete ({name} asks for code, builtins.eval, which is not run)" in note


def test_a_checkpoint_without_its_best_one_is_incomplete(interrupted):
    config, _ = interrupted
    output = Path(config.output_dir)
    state = json.loads((output / "checkpoint-4" / "trainer_state.json").read_text())
    state["best_model_checkpoint"], state["best_global_step"] = str(output / "checkpoint-2"), 2
    (output / "checkpoint-4" / "trainer_state.json").write_text(json.dumps(state))
    (output / "checkpoint-2" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"its best one, checkpoint-2: model\.safetensors is cut or damaged"):
        whole_checkpoint(output)


def test_what_is_written_beside_is_no_checkpoint(interrupted, monkeypatch, capsys):
    """A full disk, or a kill, while the third is written."""
    from transformers import Trainer

    config, data = interrupted
    output = Path(config.output_dir)
    written = Trainer._save_checkpoint

    def fail(self, *args):
        written(self, *args)
        assert (output / ".vrm-checkpoint-6" / "checkpoint-6" / "trainer_state.json").exists()
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save_checkpoint", fail)
        patch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 0}))
        with pytest.raises(OutputError) as caught:
            run_training(config, data=data, resume=True)
    assert str(caught.value) == f"no space left on the device while writing {output / 'checkpoint-6'}"
    assert [path.name for path in checkpoints(output)] == ["checkpoint-4", "checkpoint-2"]
    assert not list(output.glob(".vrm-*"))
    run_training(config, data=data, resume=True)
    newest = checkpoints(output)[0]
    state = json.loads((newest / "trainer_state.json").read_text())
    assert Path(state["best_model_checkpoint"]).parent == output
    assert Path(state["best_model_checkpoint"]).is_dir()


def test_a_copied_run_ends_with_the_best_of_its_own_checkpoints(interrupted, tmp_path):
    config, data = interrupted
    copy = tmp_path / "copy"
    shutil.copytree(config.output_dir, copy)
    best = json.loads((copy / "checkpoint-4" / "trainer_state.json").read_text())["best_global_step"]
    shutil.rmtree(config.output_dir)
    config.output_dir = str(copy)
    assert best in (2, 4)
    run_training(config, data=data, resume=True)
    state = json.loads((checkpoints(copy)[0] / "trainer_state.json").read_text())
    assert Path(state["best_model_checkpoint"]).parent == copy


def test_the_latest_and_the_best_checkpoint_stay(tmp_path):
    for step in (2, 4, 10, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
    forget_old(tmp_path, "elsewhere/checkpoint-2", 2)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-12", "checkpoint-2"]
    (tmp_path / "checkpoint-20").mkdir()
    forget_old(tmp_path, None, 2)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-20", "checkpoint-12"]
    forget_old(tmp_path, str(tmp_path / "checkpoint-20"), 2)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-20", "checkpoint-12"]


def test_a_row_that_is_no_pair_is_hashed_too(make_config, run_data, monkeypatch):
    votes = [Judgment(f"what {word}", objective_votes={"care": 1.0}) for word in "abcdefgh"]
    config = make_config()
    run_training(config, data=run_data(votes))
    stored = json.loads((Path(config.output_dir) / "run_inputs.json").read_text())
    assert stored["train"]["rows"] == 8
    assert stored["eval"]["rows"] == 0
    assert stored["train"]["sha256"] != stored["eval"]["sha256"]
