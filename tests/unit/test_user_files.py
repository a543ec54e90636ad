"""Where the paths of a configuration and of arguments lead: home directories, and files beside a configuration."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from vrm.choices import EMBEDDED_BACKBONES
from vrm.cli.main import main
from vrm.config import load_config
from vrm.data import load_judgments
from vrm.data.readers import locate
from vrm.user_files import beside

ROW = json.dumps({"prompt": "Name a tree.", "chosen": "An oak.", "rejected": "A stone."}) + "\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home directory, beside the working directory."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def configuration(path: Path, text: str = "output_dir: out\ndata: {train: rows.jsonl}\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert (stop.value.code or 0) == code


def test_every_path_of_a_configuration_may_begin_at_home(home):
    text = (
        "output_dir: ~/runs/a\ndata: {train: [~/rows.jsonl, {path: ~/more.jsonl}], eval: ~/dev.jsonl}\n"
        "model: {backbone: ~/model, tokenizer: ~/model, chat_template: ~/chat.jinja, from_scratch: ~/small.json}\n"
        "features: {cache: ~/cache}\n"
    )
    configuration(home / "run.yaml", text)
    config = load_config("~/run.yaml", ["data.train.0.path=~/other.jsonl"])
    assert config.output_dir == f"{home}/runs/a"
    assert [entry.path for entry in config.data.train] == [f"{home}/other.jsonl", f"{home}/more.jsonl"]
    assert config.data.eval[0].path == f"{home}/dev.jsonl"
    model = config.model
    assert (model.backbone, model.tokenizer) == (f"{home}/model", f"{home}/model")
    assert (model.chat_template, model.from_scratch) == (f"{home}/chat.jinja", f"{home}/small.json")
    assert config.features.cache == f"{home}/cache"


def test_rows_are_read_from_home(home):
    (home / "rows.jsonl").write_text(ROW)
    assert load_judgments("~/rows.jsonl").judgments[0].file == f"{home}/rows.jsonl"
    assert locate(Path("~/rows.jsonl")).path == f"{home}/rows.jsonl"


@pytest.mark.usefixtures("hub_may_be_asked")
def test_arguments_of_commands_may_begin_at_home(home, capsys):
    (home / "rows.jsonl").write_text(ROW * 2)
    run("doctor", "~/rows.jsonl", "--json=~/results/doctor.json")
    assert json.loads((home / "results" / "doctor.json").read_text())["kind"] == "doctor"
    run("report", "~/results/doctor.json", "-o", "~/page.html")
    assert (home / "page.html").is_file()
    capsys.readouterr()
    for command in (("score", "~/absent", "~/rows.jsonl"), ("evaluate", "~/absent", "~/rows.jsonl")):
        run(*command, code=1)
        assert f"{home}/absent" in capsys.readouterr().err
    run("evaluate", "absent/model", "bon=~/nothing.jsonl", code=1)
    assert f"{home}/nothing.jsonl" in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_what_is_read_is_found_beside_the_configuration(home):
    file = configuration(
        home / "project" / "run.yaml",
        "output_dir: out\ndata: {train: data/rows.jsonl, eval: saved:dev}\n"
        "model: {backbone: models/small, tokenizer: models/small, chat_template: chat.jinja}\n"
        "features: {cache: cache}\n",
    )
    project = file.parent
    for name in ("data", "saved", "models/small", "out", "cache"):
        (project / name).mkdir(parents=True)
    (project / "data" / "rows.jsonl").write_text(ROW)
    (project / "chat.jinja").write_text("x")
    config = load_config(file)
    assert config.data.train[0].path == f"{project}/data/rows.jsonl"
    assert config.data.eval[0].path == f"{project}/saved:dev"
    assert config.model.backbone == config.model.tokenizer == f"{project}/models/small"
    assert config.model.chat_template == f"{project}/chat.jinja"
    # What is written stays where the command runs.
    assert (config.output_dir, config.features.cache) == ("out", "cache")


def test_the_working_directory_comes_first_and_two_files_are_named(home, capsys):
    file = configuration(home / "run.yaml")
    Path("rows.jsonl").write_text(ROW)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_config(file).data.train[0].path == "rows.jsonl"
    (home / "rows.jsonl").write_text(ROW)
    with pytest.warns(UserWarning, match=r"data.train.0.path: 'rows.jsonl' is taken from the working directory"):
        assert load_config(file).data.train[0].path == "rows.jsonl"
    (home / "rows.jsonl").unlink()
    (home / "rows.jsonl").symlink_to(Path("rows.jsonl").resolve())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_config(file)


@pytest.mark.parametrize("name", ["absent.jsonl", "openbmb/UltraFeedback", "hub:openbmb/UltraFeedback:train", "-", ""])
def test_what_is_in_neither_place_stays_as_it_is(home, name):
    assert beside(name, home, "data.train.0.path") == name


@pytest.mark.parametrize("name", EMBEDDED_BACKBONES)
def test_an_embedded_backbone_is_no_folder_beside_the_configuration(home, name):
    file = configuration(
        home / "run.yaml", f"output_dir: out\ndata: {{train: rows.jsonl}}\nmodel: {{backbone: {name}}}\n"
    )
    (home / name).mkdir()
    assert load_config(file).model.backbone == name
