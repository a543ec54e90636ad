"""A sixth head is one file and one line: every command takes it, though none has heard of it."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import vrm.model.heads
from vrm.choices import HEADS
from vrm.cli.main import main
from vrm.inference.engine import RewardEngine
from vrm.serve.app import create_app
from vrm.serve.service import Service
from vrm.serve.settings import ServeSettings

TOY = '''"""The head `toy`."""

from __future__ import annotations

from torch import Tensor

from vrm.core.distributions import MIN_CONCENTRATION, ObjectiveWeights
from vrm.model.heads.objectives import ObjectivesHead


class ToyHead(ObjectivesHead):
    """Dirichlet weights of a fixed total, and features without variance: what no other head combines."""

    has_weight_uncertainty = True
    description = "a toy of the tests"

    def weights_from(self, outputs: Tensor) -> ObjectiveWeights:
        """A total of 5, whatever the last output."""
        return ObjectiveWeights.from_concentration(MIN_CONCENTRATION + 5.0 * outputs[..., :-1].softmax(-1))
'''

LOAD = """
import importlib.util, json, sys
assert importlib.util.find_spec("vrm") is None
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)
batch = tokenizer(sys.argv[2], return_tensors="pt", add_special_tokens=False)
output = model.eval()(**batch)
print(json.dumps([type(model.score).__name__, output.logits.item(), output.reward_variance.item()]))
"""


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert not stop.value.code


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The head as a contributor adds it: its file beside the others, and its line in the table."""
    folder = tmp_path / "heads"
    folder.mkdir()
    (folder / "toy.py").write_text(TOY, encoding="utf-8")
    monkeypatch.setattr(vrm.model.heads, "__path__", [*vrm.model.heads.__path__, str(folder)])
    monkeypatch.setitem(HEADS, "toy", "ToyHead")
    yield
    sys.modules.pop("vrm.model.heads.toy", None)


@pytest.fixture
def trained(toy, tiny_decoder_backbone, tmp_path) -> Path:
    """A finished run of the head on comparisons with votes."""
    words = ["the", "good", "bad", "safe", "plan", "water"]
    rows = [
        {
            "prompt": [{"role": "user", "content": f"how {words[n % 6]} {n}"}],
            "chosen": [{"role": "assistant", "content": f"very {words[n % 5]}"}],
            "rejected": [{"role": "assistant", "content": "no"}],
            "objective_votes": {("safety", "brevity")[n % 2]: 1.0},
        }
        for n in range(40)
    ]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = {
        "output_dir": str(tmp_path / "run"),
        "data": {"train": str(pairs), "held_out": 0.2},
        "model": {"backbone": str(tiny_decoder_backbone), "max_input_tokens": 64, "head": "toy"},
        "train": {"epochs": 2, "batch_size": 16},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    run("train", tmp_path / "config.yaml")
    return tmp_path


@pytest.mark.filterwarnings("ignore::vrm.core.losses.PromptIgnoredWarning")
def test_every_command_takes_a_new_head(trained, capsys):
    model, pairs = trained / "run" / "model", trained / "pairs.jsonl"
    run("evaluate", model, pairs, "--resamples", 20, "--json", trained / "result.json")
    (evaluation,) = json.loads((trained / "result.json").read_text())["files"].values()
    assert evaluation["votes"]["count"] == 40
    capsys.readouterr()
    run("explain", model, pairs, "--line", 1, "--emphasize", "safety=3", "--json")
    explanation = json.loads(capsys.readouterr().out)
    assert explanation["head"] == "toy"
    assert explanation["total_concentration"] == pytest.approx(8.2, abs=0.1)
    _serve(model)
    _export(model, trained)


def _serve(model: Path) -> None:
    service = Service(RewardEngine.from_pretrained(model), ServeSettings(name="toy", queue_delay=0))
    with TestClient(create_app(service), "http://localhost") as client:
        assert client.get("/version").json()["head"] == "toy"
        request = {"prompt": "how good", "completions": ["very safe", "no"], "kappa": 1.0, "emphasis": {"safety": 2}}
        answer = client.post("/v1/score", json=request).json()
    assert min(answer["reward_std"]) > 0


def _export(model: Path, directory: Path) -> None:
    run("export", model, directory / "shared", "--remote-code", "--results", directory / "result.json")
    card = (directory / "shared" / "README.md").read_text(encoding="utf-8")
    assert "its head is `toy`, a toy of the tests." in card
    assert "its variance, the objective weights and every objective's score stand beside it" in card
    packages = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    text = "<|im_start|>user\nhow good<|im_end|>\n<|im_start|>assistant\nvery safe<|im_end|>\n"
    script = f"import sys; sys.path += {packages!r}\n{LOAD}"
    command = [sys.executable, "-S", "-c", script, str(directory / "shared"), text]
    environment = {"HF_HOME": str(directory / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=directory)
    assert done.returncode == 0, done.stderr
    name, _, variance = json.loads(done.stdout)
    assert name == "ToyHead"
    assert variance > 0
