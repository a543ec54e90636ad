"""Results are written whole or not at all, under the modes of the umask, and a full disk is named with the place."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from vrm.errors import OutputError
from vrm.files import follow_umask, new_file, new_file_name, new_folder, remove_unfinished, write_text, writing


class RustError(Exception):
    """As safetensors and tokenizers raise it."""


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_written_with_its_folder(tmp_path):
    write_text(tmp_path / "new" / "a.json", "ä\n")
    assert (tmp_path / "new" / "a.json").read_bytes() == "ä\n".encode()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


def test_a_failure_leaves_what_was_there(tmp_path):
    place = tmp_path / "a.json"
    place.write_text("before")
    with pytest.raises(TypeError), new_file(place) as stream:
        stream.writelines(["half", None])
    assert place.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_link_stays_a_link_and_a_mode_stays(tmp_path):
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("before")
    target.chmod(0o640)
    link.symlink_to(target)
    write_text(link, "after")
    assert link.is_symlink()
    assert target.read_text() == "after"
    assert mode(target) == 0o640


def test_devices_and_pipes_are_written_to(tmp_path, capfd):
    write_text("/dev/null", "nothing")
    write_text("/dev/stdout", "shown")
    assert capfd.readouterr().out == "shown"
    assert os.path.exists("/dev/null")
    assert not os.path.isfile("/dev/null")


def test_new_files_follow_the_umask(tmp_path, umask):
    write_text(tmp_path / "a.json", "")
    with new_folder(tmp_path / "model") as folder:
        (folder / "weights").touch(0o600)
    assert mode(tmp_path / "a.json") == mode(tmp_path / "model" / "weights") == 0o666 & ~umask
    assert mode(tmp_path / "model") == 0o777 & ~umask
    (tmp_path / "b").touch(0o600)
    follow_umask(tmp_path / "b")
    assert mode(tmp_path / "b") == 0o666 & ~umask


def test_a_folder_replaces_another_or_leaves_it(tmp_path):
    place = tmp_path / "model"
    with new_folder(place) as folder:
        write_text(folder / "one", "")
    with pytest.raises(TypeError), new_folder(place) as folder:
        write_text(folder / "two", None)
    assert [path.name for path in place.iterdir()] == ["one"]
    with new_folder(place) as folder:
        write_text(folder / "two", "")
    assert [path.name for path in place.iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_has_its_name_at_every_moment_while_it_is_replaced(tmp_path, monkeypatch):
    """Each step of the replacing is the last before a kill."""
    place, seen = tmp_path / "model", []
    with new_folder(place) as folder:
        write_text(folder / "one", "")

    def look(*_, **__):
        seen.append([path.name for path in place.iterdir()] if place.exists() else None)

    monkeypatch.setattr("shutil.rmtree", look)
    monkeypatch.setattr("pathlib.Path.rename", lambda self, target: look())
    with new_folder(place) as folder:
        write_text(folder / "two", "")
    if None in seen:
        pytest.skip("this disk cannot exchange two folders")
    assert seen[-1] == ["two"]


def test_a_folder_that_somebody_else_has_written_meanwhile_is_replaced(tmp_path):
    with new_folder(tmp_path / "model") as folder:
        write_text(folder / "mine", "")
        write_text(tmp_path / "model" / "others", "")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["mine"]


def test_what_killed_writers_have_left_is_removed_and_nothing_else(tmp_path):
    left = [new_file_name(tmp_path / "a"), new_file_name(tmp_path / "b")]
    left[0].touch()
    left[1].mkdir()
    kept = [".vrm-score.json", ".vrm-checkpoint-6", "a.json"]
    for name in kept:
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on the device"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space left on the device"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "read-only file system"),
        (RustError("Error while serializing: I/O error: No space left (os error 28)"), "no space left on the device"),
        (RustError("Permission denied (os error 13)"), "permission denied"),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
            "torch could not go on",
        ),
        (RuntimeError("basic_ios::clear: iostream error"), "torch could not go on"),
    ],
)
def test_what_kept_a_result_from_the_disk_is_named(tmp_path, error, words):
    with pytest.raises(OutputError) as caught, writing(tmp_path / "checkpoint-6"):
        raise error
    assert str(caught.value) == f"{words} while writing {tmp_path / 'checkpoint-6'}"


def test_torchs_writer_on_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 0}))
    with pytest.raises(OutputError, match="no space left on the device while writing"), writing(tmp_path / "a" / "b"):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")


def test_what_is_written_beside_is_called_by_its_place(tmp_path):
    place = tmp_path / "model"
    with pytest.raises(OutputError) as caught, new_folder(place) as folder, writing(folder / "weights"):
        raise OSError(errno.ENOSPC, "full")
    assert str(caught.value) == f"no space left on the device while writing {place}"
    with pytest.raises(OutputError, match=r"writing elsewhere$"), new_folder(place), writing("elsewhere"):
        raise OSError(errno.ENOSPC, "full")


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(errno.ENOENT, "no", "read.me"), OSError("no such model"), RuntimeError("CUDA"), KeyError()],
)
def test_other_errors_pass(tmp_path, error):
    with pytest.raises(type(error)) as caught, writing(tmp_path):
        raise error
    assert caught.value is error


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere")
def test_a_folder_that_takes_no_files(tmp_path):
    (tmp_path / "closed").mkdir(0o500)
    with pytest.raises(OutputError, match="permission denied while writing"):
        write_text(tmp_path / "closed" / "a.json", "")
