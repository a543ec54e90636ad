"""RewardBench's own program (0.1.4), in its own environment, scores with a model that `vrm serve` holds.

`VRM_REWARDBENCH_PYTHON` may name an interpreter that has `rewardbench==0.1.4` and `transformers==4.51.*`; otherwise an
environment with both is made, which takes minutes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vrm.data.schema import Judgment
from vrm.export.directory import write_model
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions

ROWS = [
    ("how can i help", "the plan is very good", "no"),
    ("is the city safe ?", "no sorry", "yes very safe"),
    ("why [not]\n", "\nwe can not", "<sorry>"),
]
SOURCE = Path(sys.modules["vrm"].__file__).parents[1]

PROGRAM = """
import sys
from rewardbench import REWARD_MODEL_CONFIG
from rewardbench.rewardbench import main
from vrm.integrations.rewardbench import registry_entry

REWARD_MODEL_CONFIG["vrm"] = registry_entry(sys.argv.pop(1))
main()
"""


@pytest.fixture(scope="module")
def rewardbench_python(tmp_path_factory) -> str:
    """An interpreter that can import rewardbench."""
    given = os.environ.get("VRM_REWARDBENCH_PYTHON")
    if given:
        return given
    own = tmp_path_factory.mktemp("rewardbench") / "venv"
    venv.create(own, with_pip=True)
    python = str(own / "bin" / "python")
    # wavedrom, five dependencies down, is built from source and does not build with newer tools.
    for packages in (
        ["-U", "pip", "setuptools<81", "wheel", "setuptools_scm<9"],
        ["--no-build-isolation", "wavedrom"],
        ["torch==2.13.0", "transformers==4.51.*", "rewardbench==0.1.4"],
    ):
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    return python


@contextmanager
def served(model: Path) -> Iterator[str]:
    """URL of a server that holds a model."""
    command = [sys.executable, "-m", "vrm.cli.main", "serve", str(model), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stderr is not None
            urls = (re.search(r"serving .* on (http://\S+)", line) for line in server.stderr)
            yield next(url[1] for url in urls if url)
        finally:
            server.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_rewardbench_computes_with_our_rewards(make_tiny_model, rewardbench_python, tmp_path, kind):
    pytest.importorskip("vrm.cli.serve")
    model = tmp_path / "model"
    write_model(make_tiny_model(kind=kind), model)
    rows = [
        {
            side: [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}]
            for side, text in (("chosen", chosen), ("rejected", rejected))
        }
        for prompt, chosen, rejected in ROWS
    ]
    (tmp_path / "rows.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "program.py").write_text(PROGRAM)
    arguments = ["--model", "vrm", "--tokenizer", str(model), "--dataset", "rows.json", "--load_json"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "HF_HOME": str(tmp_path / "hf"), "WANDB_MODE": "disabled"}
    with served(model) as url:
        subprocess.run(
            [rewardbench_python, "program.py", url, *arguments, "--output_dir", "out/"],
            check=True, cwd=tmp_path, env=environment,
        )  # fmt: skip
    found = [json.loads(line) for line in (tmp_path / "out" / "vrm_outputs.jsonl").read_text().splitlines()]
    engine = RewardEngine.from_pretrained(model, options=ExtractionOptions(precision="float32"))
    wanted = engine.judge([Judgment(prompt, [chosen, rejected]) for prompt, chosen, rejected in ROWS]).moments.mean
    for row, (chosen, rejected) in zip(found, wanted.tolist(), strict=True):
        assert row["scores_chosen"] == pytest.approx(chosen, rel=1e-5, abs=1e-5)
        assert row["scores_rejected"] == pytest.approx(rejected, rel=1e-5, abs=1e-5)
        assert row["results"] == int(chosen > rejected)
    summary = json.loads((tmp_path / "out" / "vrm.json").read_text())
    assert summary["accuracy"] == pytest.approx(float((wanted[:, 0] > wanted[:, 1]).float().mean()))


LOAD = """
import json, sys
import torch, transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
texts = [tokenizer.apply_chat_template(messages, tokenize=False) for messages in json.loads(sys.argv[2])]
batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False)
with torch.no_grad():
    rewards = model(**batch).logits[:, 0].tolist()
print(json.dumps({"version": transformers.__version__, "rewards": rewards}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_plain_student_gives_its_rewards_in_transformers_4_too(make_tiny_model, rewardbench_python, tmp_path, kind):
    """Servers that load students often run on it; RewardBench's environment has it."""
    from vrm.cli.main import main

    words = ["good", "bad", "safe", "plan", "water"]
    rows = [{"prompt": f"how {words[n % 5]}", "completions": [words[n % 3], words[n % 4]]} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["distill-linear", make_tiny_model(kind=kind), tmp_path / "rows.jsonl", "-o", tmp_path / "student"]
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in [*arguments, "--held-out", 0.4]])
    assert not stop.value.code
    conversations = [
        [{"role": "user", "content": prompt.strip()}, {"role": "assistant", "content": text.strip()}]
        for prompt, *texts in ROWS
        for text in texts
    ]
    found = [
        json.loads(
            subprocess.run(
                [python, "-c", LOAD, str(tmp_path / "student"), json.dumps(conversations)],
                check=True, capture_output=True, text=True, cwd=tmp_path,
            ).stdout
        )
        for python in (sys.executable, rewardbench_python)
    ]  # fmt: skip
    assert [entry["version"].split(".")[0] for entry in found] == ["5", "4"]
    assert found[1]["rewards"] == pytest.approx(found[0]["rewards"], rel=1e-5, abs=1e-5)
