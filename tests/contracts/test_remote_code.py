"""`vrm export --remote-code`: what loads the directory is transformers alone, in a process that cannot import vrm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from studies.backbones import DECODERS, ENCODERS, save_backbone
from studies.backbones import load as load_backbone
from transformers import AutoTokenizer

from vrm.choices import StagePart
from vrm.export.directory import write_model
from vrm.model import load_model, save_model

CONVERSATIONS = [
    [{"role": "user", "content": "how can i help"}, {"role": "assistant", "content": "the plan is very good"}],
    [{"role": "user", "content": "is the city safe ?"}, {"role": "assistant", "content": "no sorry"}],
]

LOAD = """
import importlib.util, json, sys
assert importlib.util.find_spec("vrm") is None, "vrm can be imported here"

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

def rewards(path, texts):
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=True)
    model = AutoModelForSequenceClassification.from_pretrained(path, trust_remote_code=True, num_labels=1).eval()
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False)
    with torch.no_grad():
        output = model(**batch)
    return model, tokenizer, output

def found(directory, again, texts):
    model, tokenizer, output = rewards(directory, texts)
    assert not any(name == "vrm" or name.startswith("vrm.") for name in sys.modules)
    model.save_pretrained(again)
    tokenizer.save_pretrained(again)
    _, _, second = rewards(again, texts)
    return {"module": type(model).__module__, "dtype": str(output.logits.dtype), "output": type(output).__name__,
            "backbone": str(next(model.backbone.parameters()).dtype), "score": str(model.score.decoder.dtype),
            "rewards": output.logits[:, 0].tolist(), "variance": output.reward_variance[:, 0].tolist(),
            "weights": output.weights.tolist(), "again": second.logits[:, 0].tolist()}

print(json.dumps([found(*arguments) for arguments in json.loads(sys.argv[1])]))
"""


def texts_of(directory: Path) -> list[str]:
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return [tokenizer.apply_chat_template(messages, tokenize=False) for messages in CONVERSATIONS]


def expected(source: Path) -> torch.Tensor:
    model, tokenizer = load_model(source)
    batch = tokenizer(
        texts_of(source), return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False
    )
    with torch.no_grad():
        return model(**batch).logits[:, 0]


def run_script(script: str, *arguments: object, python: list[str], cache: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    command = [*python, "-c", script, *(str(argument) for argument in arguments)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=cache, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def without_vrm(script: str, *arguments: object, cache: Path) -> str:
    """Run in a process that has this environment's packages, but neither its .pth files nor vrm."""
    packages = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    return run_script(
        f"import sys; sys.path += {packages!r}\n{script}", *arguments, python=[sys.executable, "-S"], cache=cache
    )


SHARED = [
    ("vrm", "encoder", "float32"),
    ("vrm", "decoder", "float32"),
    ("vrm", "smollm2", "float32"),
    ("bt", "decoder", "float32"),
]
HALF = ("vrm", "decoder", "bfloat16")


@dataclass
class Loaded:
    """A model, the directory that was made of it, and what a process without vrm says of that."""

    source: Path
    directory: Path
    again: Path
    found: dict[str, Any]


@pytest.fixture(scope="module")
def loaded(make_tiny_model, tmp_path_factory) -> dict[tuple[str, str, str], Loaded]:
    """Every directory, loaded by one process."""
    made = {}
    for head, kind, dtype in (*SHARED, HALF):
        folder, source = tmp_path_factory.mktemp("shared"), make_tiny_model(head, kind)
        # The name becomes that of a Python package.
        directory = folder / f"shared-{head}-{kind}-{dtype}.v1"
        write_model(source, directory, remote_code=True, dtype=None if dtype == "float32" else dtype)
        made[head, kind, dtype] = Loaded(source, directory, folder / f"again-{head}-{kind}-{dtype}", {})
    arguments = [(str(one.directory), str(one.again), texts_of(one.source)) for one in made.values()]
    printed = without_vrm(LOAD, json.dumps(arguments), cache=tmp_path_factory.mktemp("cache"))
    for one, found in zip(made.values(), json.loads(printed), strict=True):
        one.found = found
    return made


@pytest.mark.parametrize(("head", "kind", "dtype"), SHARED)
def test_the_directory_loads_without_vrm_and_rewards_are_the_same(loaded, head, kind, dtype):
    one = loaded[head, kind, dtype]
    found = one.found
    assert found["module"].startswith("transformers_modules.")
    assert found["output"] == "VRMOutput"
    torch.testing.assert_close(torch.tensor(found["rewards"]), expected(one.source), rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.tensor(found["again"]), expected(one.source), rtol=0, atol=1e-6)
    if head == "vrm":
        assert min(found["variance"]) > 0
        assert torch.tensor(found["weights"]).sum(-1).allclose(torch.ones(2))
    code = sorted(path.name for path in one.directory.glob("*.py"))
    assert sorted(path.name for path in one.again.glob("*.py")) == code


def test_in_bfloat16_the_head_stays_in_float32(loaded):
    one = loaded[HALF]
    assert (one.found["backbone"], one.found["score"]) == ("torch.bfloat16", "torch.float32")
    torch.testing.assert_close(torch.tensor(one.found["rewards"]), expected(one.source), rtol=0.1, atol=0.1)


WITH_VRM = """
import json, sys
directory, texts, register = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3] == "registered"
import torch, vrm
from transformers import AutoModelForSequenceClassification, AutoTokenizer
if register:
    vrm.register()
model = AutoModelForSequenceClassification.from_pretrained(directory, trust_remote_code=True).eval()
tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=True)
batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False)
with torch.no_grad():
    rewards = model(**batch).logits[:, 0].tolist()
from vrm.model import load_model
package = type(load_model(directory)[0]).__module__
print(json.dumps({"module": type(model).__module__, "package": package, "rewards": rewards}))
"""


VOTES = """
import json, sys
directory, texts = sys.argv[1], json.loads(sys.argv[2])
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=True)
model = AutoModelForSequenceClassification.from_pretrained(directory, trust_remote_code=True).eval()
batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
with torch.no_grad():
    votes = model(**batch, prompt_rows=torch.tensor([0]), completion_rows=torch.tensor([[0, 1]])).votes()
print(json.dumps({"share": votes.share()[0].tolist(), "disagreement": float(votes.disagreement())}))
"""


def test_the_votes_of_several_raters_are_the_same_without_vrm(make_tiny_model, tmp_path):
    source, directory = make_tiny_model("vrm", "decoder", models_ties=True), tmp_path / "shared"
    write_model(source, directory, remote_code=True)
    model, tokenizer = load_model(source)
    completions = ["the plan is very good", "no sorry"]
    asked = {"role": "user", "content": "how can i help"}
    texts = [
        tokenizer.apply_chat_template([asked, {"role": "assistant", "content": completion}], tokenize=False)
        for completion in completions
    ]
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.no_grad():
        votes = model(**batch, prompt_rows=torch.tensor([0]), completion_rows=torch.tensor([[0, 1]])).votes()
    found = json.loads(without_vrm(VOTES, directory, json.dumps(texts), cache=tmp_path))
    assert min(found["share"]) > 0
    torch.testing.assert_close(torch.tensor(found["share"]), votes.share()[0], rtol=0, atol=1e-6)
    assert found["disagreement"] == pytest.approx(float(votes.disagreement()), abs=1e-6)


SPREAD = """
import json, sys
directory, texts = sys.argv[1], json.loads(sys.argv[2])
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=True)
model = AutoModelForSequenceClassification.from_pretrained(directory, trust_remote_code=True).eval()
batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
with torch.no_grad():
    output = model(**batch)
print(json.dumps({"variance": output.reward_variance[:, 0].tolist(), "rewards": output.logits[:, 0].tolist(),
                  "total": output.posteriors.weights.total.tolist()}))
"""


def test_a_second_stage_is_the_same_without_vrm(make_tiny_model, tmp_path):
    parts = [str(part) for part in StagePart]
    source = make_tiny_model("vrm", "decoder", loss="staged", stage_parts=parts, models_ties=True)
    model, tokenizer = load_model(source)
    with torch.no_grad():
        for axes in (model.score.spread.prompt_axes, model.score.spread.completion_axes):
            axes.projection.normal_(std=0.1)
        model.score.spread.variance.copy_(torch.linspace(-1.0, 0.3, 9))
        model.score.spread.log_total.copy_(torch.linspace(1.0, -0.3, 9))
    trained, directory = tmp_path / "trained", tmp_path / "shared"
    save_model(model, tokenizer, trained)
    write_model(trained, directory, remote_code=True)
    texts = texts_of(source)
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.no_grad():
        output = load_model(trained)[0](**batch)
    found = json.loads(without_vrm(SPREAD, directory, json.dumps(texts), cache=tmp_path))
    assert min(found["variance"]) > 0
    assert found["total"][0] != pytest.approx(found["total"][1], rel=1e-3)
    for name, values in (
        ("variance", output.reward_variance[:, 0]),
        ("rewards", output.logits[:, 0]),
        ("total", output.posteriors.weights.total),
    ):
        torch.testing.assert_close(torch.tensor(found[name]), values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("how", "module"), [("registered", "vrm.model.modeling_vrm"), ("unregistered", "transformers_modules.")]
)
def test_where_vrm_is_installed_the_directory_loads_too(tiny_decoder_dir, tmp_path, how, module):
    directory = tmp_path / "shared"
    write_model(tiny_decoder_dir, directory, remote_code=True)
    source = Path(sys.modules["vrm"].__file__).parents[1]
    script = f"import sys; sys.path.insert(0, {str(source)!r})\n{WITH_VRM}"
    arguments = (directory, json.dumps(texts_of(directory)), how)
    found = json.loads(run_script(script, *arguments, python=[sys.executable], cache=tmp_path))
    assert found["module"].startswith(module)
    assert found["package"] == "vrm.model.modeling_vrm"
    torch.testing.assert_close(torch.tensor(found["rewards"]), expected(tiny_decoder_dir), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_in_an_environment_of_its_own(tiny_decoder_dir, tmp_path):
    """torch and transformers from the registry, and nothing else by name."""
    directory, own = tmp_path / "shared", tmp_path / "venv"
    write_model(tiny_decoder_dir, directory, remote_code=True)
    venv.create(own, with_pip=True)
    pins = [f"{name}=={version}" for name, version in wanted_versions().items()]
    subprocess.run([own / "bin" / "python", "-m", "pip", "install", "-q", *pins], check=True)
    arguments = json.dumps([(str(directory), str(tmp_path / "again"), texts_of(tiny_decoder_dir))])
    (found,) = json.loads(run_script(LOAD, arguments, python=[str(own / "bin" / "python")], cache=tmp_path))
    torch.testing.assert_close(torch.tensor(found["rewards"]), expected(tiny_decoder_dir), rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.tensor(found["again"]), expected(tiny_decoder_dir), rtol=0, atol=1e-6)


ARCHITECTURES = ["llama", "gpt_neox", "mixtral", "falcon_h1", "modernbert", "t5"]
"""One of each kind: grouped keys, joined projections, experts, a hybrid, windows of an encoder, half a model."""


@pytest.mark.slow
def test_backbones_of_all_kinds_load_without_vrm(tmp_path):
    sources = {}
    for architecture in (*DECODERS, *ENCODERS):
        if architecture.model_type in ARCHITECTURES:
            backbone, source = tmp_path / f"{architecture.model_type}-backbone", tmp_path / architecture.model_type
            save_backbone(architecture, backbone)
            model, tokenizer = load_backbone(backbone)
            with torch.no_grad():
                for parameter in model.score.parameters():
                    parameter += 0.5 * torch.randn_like(parameter)
            save_model(model, tokenizer, source)
            write_model(source, tmp_path / f"{architecture.model_type}-shared", remote_code=True)
            sources[architecture.model_type] = source
    assert sorted(sources) == sorted(ARCHITECTURES)
    arguments = [
        (str(tmp_path / f"{name}-shared"), str(tmp_path / f"{name}-again"), texts_of(source))
        for name, source in sources.items()
    ]
    printed = json.loads(without_vrm(LOAD, json.dumps(arguments), cache=tmp_path))
    for source, found in zip(sources.values(), printed, strict=True):
        rewards = expected(source)
        assert float(rewards.std()) > 0.01
        for name in ("rewards", "again"):
            torch.testing.assert_close(torch.tensor(found[name]), rewards, rtol=1e-5, atol=1e-5)


def wanted_versions() -> dict[str, str]:
    """torch and transformers as constraints.txt pins them."""
    lines = (Path(__file__).parents[2] / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {name: pins[name] for name in ("torch", "transformers")}
