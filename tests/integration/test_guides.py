"""README and every page of `docs/how-to/` and `docs/tutorial/` work: the ```bash and ```python blocks of each run in
order, in one directory.

A guide finds in that directory, beside what its own blocks leave there,

    runs/quickstart/corpus/*.jsonl        what `vrm quickstart` leaves, cut to a few rows,
    runs/quickstart/{bt,vrm}/model        trained on them for a moment, on a random decoder,
    policy/                               a tiny random language model with a chat template,
    encoder/, decoder/                    tiny random backbones, for `model.backbone`,
    examples/                             the scripts of this repository,

and the environment's programs on its PATH, `vrm` as a fork of one process for all pages. Python blocks of a page see
the names of those before them. Blocks that cannot run here (a server elsewhere, a GPU, minutes) are marked ```text or
```console. A page that needs an extra says so in a comment: `<!-- needs: trl, matplotlib -->` skips it where one of
these modules is not installed. `<!-- slow -->` marks a page that `make test-all` runs and `make test` does not. A page
whose blocks take minutes says what a test puts in place of their sizes: `<!-- in tests: limit: 400 -> limit: 16 -->`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / "docs" / "how-to", ROOT / "docs" / "tutorial"]
ELSEWHERE = {"closed-loop.md"}
"""Pages of long runs alone; test_examples.py runs their scripts at toy size."""

PAGES = [
    ROOT / "README.md",
    *(page for folder in FOLDERS for page in sorted(folder.glob("*.md")) if page.name not in ELSEWHERE),
]
IN_TESTS = re.compile(r"<!-- in tests: (.*?) -> (.*?) -->")
NEEDS = re.compile(r"<!-- needs: (.*?) -->")
SLOW = "<!-- slow -->"
TIMEOUT, TIMEOUT_OF_SLOW = 120, 500

# A moment's training on a random backbone leaves the weights where they start.
pytestmark = pytest.mark.filterwarnings("ignore::vrm.core.losses.PromptIgnoredWarning")


@dataclass(frozen=True)
class Block:
    """A block of code of a page; `line` is that of its opening fence."""

    language: str
    code: str
    line: int


def read_blocks(text: str) -> list[Block]:
    """All fenced blocks of a page that name a language."""
    found, language, start, lines = [], "", 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.fullmatch(r"```(\S*)\s*", line)
        if fence is None:
            lines.append(line)
        elif language or start:
            found.append(Block(language, "\n".join(lines) + "\n", start))
            language, start = "", 0
        else:
            language, start, lines = fence[1], number, []
    return [block for block in found if block.language]


def in_small(text: str) -> str:
    """A page with what its comments say that tests put in place of other words."""
    for size, small in IN_TESTS.findall(text):
        comment = f"<!-- in tests: {size} -> {small} -->"
        rest = text.replace(comment, "")
        assert size in rest, f"{comment}: the page has no {size!r}"
        text = rest.replace(size, small)
    return text


def run_bash(block: Block, directory: Path, programs: Path | None = None, timeout: float = TIMEOUT) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if programs is not None:
        path = f"{programs}{os.pathsep}{path}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.code],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert result.returncode == 0, f"line {block.line}:\n{block.code}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"


def run_page(page: Path, directory: Path, programs: Path | None = None) -> int:
    """Run the blocks of a page in a directory, which is the current one; how many ran."""
    names = {"__name__": "__main__"}
    text = page.read_text("utf-8")
    timeout = TIMEOUT_OF_SLOW if SLOW in text else TIMEOUT
    blocks = [block for block in read_blocks(in_small(text)) if block.language in ("bash", "python")]
    for block in blocks:
        if block.language == "bash":
            run_bash(block, directory, programs, timeout)
        else:
            # Empty lines before it, so that a traceback names the page's own lines.
            exec(compile("\n" * block.line + block.code, str(page), "exec"), names)
    return len(blocks)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory, tiny_encoder_backbone, tiny_decoder_backbone, tiny_policy_dir):
    """The directory that every guide starts from."""
    from vrm.config import parse_config
    from vrm.data.planted import write_planted
    from vrm.train.run import run_training

    directory = tmp_path_factory.mktemp("guides")
    quickstart = directory / "runs" / "quickstart"
    for name, path in write_planted(quickstart / "corpus").items():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(lines[: 96 if name == "train" else 32]), encoding="utf-8")
    for name, source in (
        ("encoder", tiny_encoder_backbone),
        ("decoder", tiny_decoder_backbone),
        ("policy", tiny_policy_dir),
        ("examples", ROOT / "examples"),
    ):
        shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for head in ("bt", "vrm"):
        run_training(
            parse_config(
                {
                    "output_dir": str(quickstart / head),
                    "data": {
                        "train": str(quickstart / "corpus" / "train.jsonl"),
                        "eval": str(quickstart / "corpus" / "dev.jsonl"),
                    },
                    "model": {
                        "backbone": str(tiny_decoder_backbone),
                        "head": head,
                        "num_free_objectives": 0,
                        "num_features": 8,
                        "max_input_tokens": 512,
                    },
                    "train": {"epochs": 2, "batch_size": 32, "precision": "float32"},
                }
            )
        )
    return directory


def marked(page: Path) -> Any:
    """The page, marked as slow if it says so."""
    return pytest.param(page, marks=[pytest.mark.slow] if SLOW in page.read_text("utf-8") else [], id=page.stem)


@pytest.mark.parametrize("page", [marked(page) for page in PAGES])
def test_a_guide_works(page, inputs, forked_vrm, tmp_path, monkeypatch):
    for needed in NEEDS.findall(page.read_text("utf-8")):
        for module in needed.split(","):
            pytest.importorskip(module.strip())
    directory = tmp_path / "guide"
    shutil.copytree(inputs, directory)
    monkeypatch.chdir(directory)
    try:
        assert run_page(page, directory, forked_vrm) > 0
    finally:
        end_servers(directory)


def end_servers(directory: Path) -> None:
    """End what a page that failed has left running; the pages keep process numbers in `server.pid`."""
    for file in directory.glob("*.pid"):
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(file.read_text()), signal.SIGTERM)


def test_there_are_guides():
    assert PAGES


# The reader itself: what it must see, and what must fail.


def test_blocks_are_read_with_language_and_line():
    text = "a\n```bash\necho 1\n```\n```\nno language\n```\n\n```python\nx = 1\n\ny = 2\n```\n```text\nno\n```\n"
    assert read_blocks(text) == [
        Block("bash", "echo 1\n", 2),
        Block("python", "x = 1\n\ny = 2\n", 9),
        Block("text", "no\n", 14),
    ]


def test_blocks_share_a_directory_and_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\necho 3 > n\n```\n```python\nn = int(open('n').read())\n```\n```python\nassert n == 3\n```\n"
    )
    assert run_page(page, tmp_path) == 3


def test_sizes_for_tests_take_the_place_of_the_pages_own():
    page = "<!-- in tests: limit: 400 -> limit: 16 -->\nlimit: 400\n"
    assert in_small(page) == "\nlimit: 16\n"
    with pytest.raises(AssertionError, match="no 'limit: 400'"):
        in_small(page.replace("\nlimit: 400", ""))


@pytest.mark.parametrize("block", ["```bash\nfalse\necho 1\n```\n", "```python\nassert False\n```\n"])
def test_a_block_that_fails_fails(tmp_path, block):
    page = tmp_path / "page.md"
    page.write_text(block)
    with pytest.raises(AssertionError):
        run_page(page, tmp_path)
