"""The source archive holds everything that git holds, so that `make test` passes in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.heavy
def test_the_archive_holds_the_whole_tree(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a checkout: what git holds is not known here")
    names = set(listed.stdout.split())
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    code = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
    built = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    with tarfile.open(tmp_path / "dist" / built.stdout.split()[-1]) as archive:
        held = {member.name.partition("/")[2] for member in archive.getmembers()}
    assert names - held == set()
