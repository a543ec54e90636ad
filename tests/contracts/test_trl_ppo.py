"""PPOTrainer of TRL 1.12 with a VRM, in an environment of its own: trl 1.12.0 from PyPI before this environment's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

VERSION = "1.12.0"
SCRIPT = Path(__file__).with_name("ppo_step.py")


@pytest.fixture(scope="module")
def old_trl(tmp_path_factory):
    """A directory with trl 1.12.0 alone; all it needs is installed here."""
    directory = tmp_path_factory.mktemp("trl-1.12")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(directory)]
    result = subprocess.run([*command, f"trl=={VERSION}"], capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"trl {VERSION} could not be installed from PyPI: {result.stderr.strip().splitlines()[-1]}")
    return directory


@pytest.mark.slow
def test_a_ppo_step_has_the_rewards_of_vrm_score(old_trl, tiny_decoder_dir, tiny_policy_dir, vrm_score, tmp_path):
    path = os.pathsep.join(filter(None, [str(old_trl), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, str(SCRIPT), str(tiny_decoder_dir), str(tiny_policy_dir), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr[-4000:]
    document = json.loads(result.stdout.splitlines()[-1])
    assert document["trl"] == VERSION
    assert document["moved"]
    assert len(document["trained"]) >= 4
    for name in ("trained", "direct", "pad_is_eos"):
        rows = [(question, text, reward) for question, text, reward in document[name] if text.strip()]
        questions, texts, rewards = zip(*rows, strict=True)
        prompts = [[{"role": "user", "content": question}] for question in questions]
        completions = [[{"role": "assistant", "content": text}] for text in texts]
        assert list(rewards) == pytest.approx(vrm_score(tiny_decoder_dir, prompts, completions), abs=1e-5)
