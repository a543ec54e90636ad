"""`vrm certify` from end to end: both halves, both heads, what the document says, and what the table says of it."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from vrm.cli.main import main
from vrm.data.planted import write_planted
from vrm.data.splits import halves_by_prompt, prompt_key
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.results import CertificateDocument, Kind, Latents, read_document
from vrm.train.output import run_config
from vrm.train.run import run_training
from vrm.train.setup import load_data

# A moment's training on a random backbone leaves the weights near where they start.
pytestmark = pytest.mark.filterwarnings("ignore::vrm.core.losses.PromptIgnoredWarning")


@pytest.fixture(scope="module")
def train(tmp_path_factory, tiny_decoder_backbone):
    """train({"a.b": value}): the directory of a run on a part of the corpus."""
    folder = tmp_path_factory.mktemp("certify")
    paths = write_planted(folder, raters=False)
    rows = {name: paths[name].read_text(encoding="utf-8").splitlines() for name in ("train", "dev")}
    # A few prompts of the evaluation rows are training prompts too, which a user should not do and may.
    for name, lines in (("train", rows["train"][:120]), ("dev", rows["dev"][:16] + rows["train"][:8])):
        paths[name].write_text("\n".join(lines) + "\n", encoding="utf-8")

    def make(changes=None):
        output = folder / f"run-{len(list(folder.glob('run-*')))}"
        values = {
            "output_dir": str(output),
            "data": {"train": str(paths["train"]), "eval": str(paths["dev"])},
            "model": {
                "backbone": str(tiny_decoder_backbone),
                "num_features": 4,
                "hidden_size_head": 16,
                "max_input_tokens": 512,
            },
            "loss": {"num_nodes": 6},
            "train": {"epochs": 3, "batch_size": 16, "evals": 3, "precision": "float32"},
            "features": {"cache": "none"},
        }
        for dotted, value in (changes or {}).items():
            section, _, key = dotted.rpartition(".")
            values[section][key] = value
        (folder / "run.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        run("train", folder / "run.yaml")
        return output

    return make


@pytest.fixture(scope="module")
def trained(train):
    return train()


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert (stop.value.code or 0) == code


def certified(capsys, directory, *options):
    """The document that the command prints."""
    capsys.readouterr()  # what training has printed
    run("certify", directory, "--json", "-", *options)
    return json.loads(capsys.readouterr().out)


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if "features" not in path.parts}


def test_both_heads_are_bounded_by_one_protocol(trained, tmp_path, capsys):
    before = files(trained)
    run("certify", trained, "--json", tmp_path / "certificate.json", "--seed", 3)
    document = read_document(tmp_path / "certificate.json", [Kind.CERTIFICATE])
    assert isinstance(document, CertificateDocument)
    assert [(head.head, head.latents) for head in document.heads] == [
        ("vrm", Latents.MEAN), ("vrm", Latents.DRAWN), ("bt", Latents.MEAN),
    ]  # fmt: skip
    assert [head.parameters for head in document.heads] == [document.heads[0].parameters] * 2 + [32]
    for head in document.heads:
        assert 0 < head.test_error < head.test_bound < 1
        assert 0 < head.gibbs_error < head.bound < 1
        assert head.kl_divergence >= 0
    config = run_config(trained)
    prompts = {prompt_key(row) for row in load_data(config.data, config.seed).train}
    assert document.rows.prompts == len(prompts) - len(prompts) // 2
    assert files(trained) == before, "the run is as it was"
    printed = capsys.readouterr().out
    assert f"{100 * document.heads[0].bound:.1f}" in printed
    assert "Neither speaks of the model in the run" in " ".join(printed.split())


def test_the_error_is_that_of_a_head_trained_on_the_first_half_alone(trained, tmp_path, capsys):
    """Retrained here by hand; the bound's prompts are in neither its rows nor those that chose its checkpoint."""
    document = certified(capsys, trained)
    config = run_config(trained)
    data = load_data(config.data, config.seed)
    first, second = halves_by_prompt(data.train, 0)
    keys = {prompt_key(row) for row in second}
    checkpoint = [row for row in data.eval if prompt_key(row) not in keys]
    assert 16 <= len(checkpoint) < len(data.eval)
    assert document["rows"]["checkpoint"] == len(checkpoint)
    assert document["rows"]["refit"] == len(first)
    precise = ExtractionOptions(config.train.precision)
    half = data.__class__(first, checkpoint, data.objectives, "")
    for head, expected in (("vrm", document["heads"][0]), ("bt", document["heads"][-1])):
        model = config.model.model_copy(update={"head": head})
        result = run_training(config.model_copy(update={"output_dir": str(tmp_path / head), "model": model}), data=half)
        judged = RewardEngine.from_pretrained(result.model_dir, options=precise).judge(second)
        wrong = defaultdict(list)
        for row, rewards in zip(judged.judgments, judged.moments.mean.tolist(), strict=True):
            chosen = 0 if row.preference > 0.5 else 1
            wrong[prompt_key(row)].append(float(rewards[chosen] < rewards[1 - chosen]))
        errors = [sum(values) / len(values) for values in wrong.values()]
        assert expected["test_error"] == pytest.approx(sum(errors) / len(errors), abs=1e-9)


def test_a_run_of_the_baseline_has_one_certificate(train, capsys):
    (head,) = certified(capsys, train({"model.head": "bt"}))["heads"]
    assert (head["head"], head["latents"]) == ("bt", "mean")


def test_of_two_stages_the_baseline_has_the_first_alone(train, capsys):
    document = certified(capsys, train({"loss.name": "staged", "train.epochs": 1, "train.evals": 1}))
    # One row of `vrm` for its means, and one more if its second stage has kept a spread.
    assert list(dict.fromkeys(head["head"] for head in document["heads"])) == ["vrm", "bt"]


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_backbone_that_was_tuned_is_tuned_on_the_first_half(train, tuning, capsys):
    changes = {"model.tuning": tuning, "train.epochs": 1, "train.evals": 1, "model.head": "gated"}
    document = certified(capsys, train(changes), "--delta", 0.1)
    assert [head["head"] for head in document["heads"]] == ["gated", "bt"]
    assert document["delta"] == 0.1
    assert all(head["bound"] > head["gibbs_error"] for head in document["heads"])


def test_what_is_no_run_is_refused_in_one_line(trained, tmp_path, capsys):
    for directory, words in (
        (tmp_path, "is no directory of a run"),
        (trained / "model", f"did you mean {trained}?"),
        (tmp_path / "absent", "is no directory of a run"),
    ):
        run("certify", directory, code=1)
        assert words in " ".join(capsys.readouterr().err.split())
    run("certify", trained, "--delta", 1, code=2)
    assert "not between 0 and 1" in " ".join(capsys.readouterr().err.split())
