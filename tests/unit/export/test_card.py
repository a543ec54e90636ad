"""The card: valid front matter, figures as measured, unknown where nothing is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from vrm.choices import EMBEDDED_BACKBONES
from vrm.errors import ConfigError, DataError
from vrm.export.card import CardFacts, model_card, read_results, read_run_beside
from vrm.export.directory import hub_name
from vrm.export.markdown import number, share, table
from vrm.metrics import Interval
from vrm.model import load_model
from vrm.model.checkpoint import weights_sha256
from vrm.results import (
    BenchmarkEntry,
    EvaluationDocument,
    FigureResult,
    RowCounts,
    RunDocument,
    from_json,
    read_object,
    to_text,
)

WRITTEN = Path(__file__).parents[2] / "fixtures" / "written_by_0_1" / "results" / "evaluation.json"


@pytest.fixture(scope="module")
def model(tiny_model_dir):
    return load_model(tiny_model_dir)[0]


def run_document(**data) -> RunDocument:
    source = {"path": "/home/me/secret/train.jsonl", "weight": 1.0, "recipe": None}
    config = {
        "seed": 7,
        "data": {"train": [source], "eval": [], "held_out": 0.1, "held_out_by": "prompt", **data},
        "model": {"tuning": "lora"},
        "loss": {"name": "marginal", "ratings": 0.5, "votes": 1.0, "beta_weights": 0.001, "beta_features": 0.001},
        "train": {"epochs": 3.0, "batch_size": 32, "learning_rate": 1e-3, "backbone_learning_rate": 2e-5},
        "nuisance": {"measures": ["log_length"]},
    }
    return RunDocument(
        config=config,
        rows=RowCounts(2400, 1),
        overlong={"limit": 128, "total": 2401, "prompt_truncated": 3, "dropped": 0},
        metrics={"accuracy": 0.8333, "nll": 0.481},
        versions={"torch": "2.13.0"},
        seconds={"train": 12.4},
    )


def evaluation(**more) -> EvaluationDocument:
    """A document of a file with pairs, one without, a benchmark and best-of-n curves."""
    real = from_json(EvaluationDocument, read_object(WRITTEN), WRITTEN)
    (entry,) = real.files.values()
    pairs = replace(
        entry.pairs,
        count=504,
        accuracy=Interval(0.8075, 0.7698, 0.8393, 0.95),
        length_controlled=replace(entry.pairs.length_controlled, value=0.656),
        longer_wins=replace(entry.pairs.longer_wins, value=0.798),
        negative_log_likelihood=0.5146,
        calibration=replace(entry.pairs.calibration, value=0.1593),
    )
    figure = FigureResult("subset", "Chat", "hard", 0.5, math.nan, math.nan, 0.95, 1200)
    benchmark = BenchmarkEntry("rm-bench", "RM-Bench", "nothing", 1200, 1200, 1200, 0, 0, (figure,), ())
    files = {"/secret/test.jsonl": replace(entry, pairs=pairs), "votes.jsonl": replace(entry, pairs=None)}
    return replace(real, files=files, benchmarks=real.benchmarks | {"rm-bench": benchmark}, **more)


def sections(text: str) -> dict[str, str]:
    """Text of a card by heading; the front matter under an empty one."""
    parts = text.split("\n## ")
    return {"": parts[0], **{part.partition("\n")[0]: part.partition("\n")[2] for part in parts[1:]}}


def test_without_a_run_nothing_is_claimed(model):
    text = model_card(CardFacts("m", model))
    found = sections(text)
    assert found["Training data"].strip().startswith("Unknown")
    assert found["Training"].strip() == "Unknown."
    assert found["Results"].strip() == "No results on other data were given when this card was written."
    assert "| backbone | unknown; encoder, `bert` |" in found["Model"]
    assert "not stated" in found["Model"]
    data = ModelCard(text).data.to_dict()
    assert set(data) == {"library_name", "pipeline_tag", "tags"}
    assert "custom_code" not in data["tags"]
    assert "trust_remote_code" not in text


def test_the_run_is_told_without_paths_of_the_machine(model):
    facts = CardFacts("m", model, "/home/me/secret/qwen", run=run_document(), license="mit", remote_code=True)
    text = model_card(facts)
    found = sections(text)
    assert "secret" not in text
    assert "| `train.jsonl` (local) | training | unknown | 1 | – |" in found["Training data"]
    assert "2,400 rows for training and 1 row for choosing the checkpoint, held out by prompt (0.0 %)" in text
    assert "Over the limit of 128 tokens: prompt truncated 3 of 2,401 rows." in text
    assert "`qwen`, as its training run called it; encoder" in found["Model"]
    assert "| tuning | lora |" in found["Training"]
    assert "head 0.001, backbone 2e-05" in found["Training"]
    assert "`log_length`" in found["Training"]
    assert "accuracy 0.833, nll 0.481" in found["Results"]
    assert "torch 2.13.0" in found["Versions"]
    data = ModelCard(text).data.to_dict()
    assert (data["license"], "custom_code" in data["tags"]) == ("mit", True)
    assert text.count("trust_remote_code=True") == 2


def test_names_of_the_hub_are_in_the_front_matter(model):
    source = {"path": "owner/data:train", "weight": 2.0, "recipe": "ultrafeedback"}
    text = model_card(CardFacts("m", model, "embedded", run=run_document(train=[source, source])))
    data = ModelCard(text).data.to_dict()
    assert data["base_model"] == EMBEDDED_BACKBONES["embedded"]
    assert data["datasets"] == ["owner/data"]
    assert "(https://huggingface.co/datasets/owner/data) | training | unknown | 2 | ultrafeedback |" in text


def test_counts_and_adapters_are_told_and_terms_where_there_are_some(model):
    run = run_document()
    run.config["model"] |= {"lora": {"r": 8, "alpha": 32, "dropout": 0.05, "target_modules": None}}
    run = replace(run, source_rows={"train": [2668], "eval": []})
    found = sections(model_card(CardFacts("m", model, "embedded", run=run)))
    assert "| `train.jsonl` (local) | training | 2,668 | 1 | – |" in found["Training data"]
    assert "lora, rank 8, alpha 32, dropout 0.05, modules: those of PEFT's default" in found["Training"]
    assert "not stated by whoever exported it; the backbone's terms apply too" in found["Model"]
    run.config["model"]["lora"]["target_modules"] = ["q_proj", "v_proj"]
    run.config["model"]["from_scratch"] = "small.json"
    found = sections(model_card(CardFacts("m", model, run=run)))
    assert "modules: q_proj, v_proj |" in found["Training"]
    assert "| backbone | trained from random weights" in found["Model"]
    assert "| license | not stated by whoever exported it |" in found["Model"]


@pytest.mark.parametrize(
    ("name", "hub"),
    [
        *EMBEDDED_BACKBONES.items(),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("hub:owner/data/config:train", "owner/data"),
        ("data/train.jsonl", None),
        ("/a/b", None),
        ("./x", None),
        (None, None),
    ],
)
def test_what_is_taken_for_a_name_of_the_hub(name, hub):
    assert hub_name(name) == hub


def test_a_directory_that_is_there_is_no_name_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub_name("owner/data") == "owner/data"
    Path("owner/data").mkdir(parents=True)
    assert hub_name("owner/data") is None


def test_results_have_intervals_and_dashes(model):
    steered = evaluation(settings={"steering": {"emphasis": None, "without": ["brevity"]}}, versions={"vrm": "0.1.0"})
    text = model_card(CardFacts("m", model, results=[steered]))
    found = sections(text)["Results"]
    assert "| test.jsonl | 504 | 80.8 % [77.0, 83.9] | 65.6 % | 79.8 % | 0.515 | 0.159 |" in found
    assert "| rm-bench / Chat / hard | 1,200 | 50.0 % | – | – | – | – |" in found
    assert "votes.jsonl" not in found
    assert "bon" not in found
    assert "Steered at inference: without brevity." in found
    assert "vrm 0.1.0, torch unknown" in found
    assert "stored as" not in found
    rounded = model_card(CardFacts("m", model, results=[evaluation()], rounded_to="bfloat16"))
    assert "before the backbone's weights were stored as bfloat16" in sections(rounded)["Results"]


def test_limits_say_what_can_be_read_into_the_weights(model):
    from vrm.inference.identifiability import identifiability

    limits = sections(model_card(CardFacts("m", model)))["Limits"]
    for statement in identifiability(model).statements:
        assert f"- {statement}" in limits
    assert "- Counts of `--emphasize` are pseudo-observations" in limits  # the tiny model's loss is marginal


def test_a_backbone_of_random_weights_and_a_scale_never_recorded_are_said_to_be(make_tiny_model):
    run = run_document()
    run.config["model"]["from_scratch"] = "tiny.json"
    model = load_model(make_tiny_model(reward_mean=0.0, reward_std=1.0))[0]
    found = sections(model_card(CardFacts("m", model, None, run=run)))["Model"]
    assert "| backbone | trained from random weights; encoder, `bert` |" in found
    assert "| scale of rewards | not recorded |" in found


def test_the_scale_of_rewards_names_its_rows(model):
    run = run_document()
    assert "standard deviation 1.500, on the run's held-out rows" in model_card(CardFacts("m", model, run=run))
    run = replace(run, rows=RowCounts(2400, 0))
    assert "standard deviation 1.500, on the run's training rows" in model_card(CardFacts("m", model, run=run))
    assert "on the run's held-out or training rows" in model_card(CardFacts("m", model))


@pytest.mark.parametrize("head", ["bt", "gated"])
def test_heads_without_uncertainty_claim_none(make_tiny_model, head):
    text = model_card(CardFacts("m", load_model(make_tiny_model(head))[0]))
    assert "variance says" not in text
    assert "pseudo-observations" not in text


def test_plain_text_models_are_loaded_as_such(make_tiny_model):
    text = model_card(CardFacts("m", load_model(make_tiny_model(conversational=False))[0]))
    assert "completion_start=start" in text
    assert "apply_chat_template" not in text


def test_results_are_read_and_belong_to_the_model(tiny_model_dir, tiny_decoder_dir, tmp_path):
    file = tmp_path / "result.json"
    document = evaluation(model_sha256=weights_sha256(str(tiny_model_dir)))
    file.write_text(to_text(document))
    (found,) = read_results([file], tiny_model_dir)
    assert found.files["/secret/test.jsonl"].pairs.accuracy == Interval(0.8075, 0.7698, 0.8393, 0.95)
    assert to_text(found) == to_text(document)
    with pytest.raises(ConfigError, match=r"result\.json was measured on the weights [0-9a-f]{64}"):
        read_results([file], tiny_decoder_dir)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", r"x\.json: not JSON"),
        ("[]", "must be a JSON object, got list"),
        ('{"kind": "audit"}', "its kind is 'audit'. Allowed is a document of `vrm evaluate --json`"),
    ],
)
def test_other_documents_are_refused(tiny_model_dir, tmp_path, text, reason):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=reason):
        read_results([tmp_path / "x.json"], tiny_model_dir)


def test_a_missing_document_is_an_error(tiny_model_dir, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_results([tmp_path / "x.json"], tiny_model_dir)


def test_the_run_is_the_one_beside_the_model(tmp_path):
    (tmp_path / "model").mkdir()
    assert read_run_beside(tmp_path / "model") is None
    assert read_run_beside("owner/name") is None
    (tmp_path / "run.json").write_text(to_text(run_document()))
    assert read_run_beside(tmp_path / "model") == run_document()
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(DataError, match=r"run\.json lacks config, metrics, rows, versions"):
        read_run_beside(tmp_path / "model")


def test_cells_cannot_break_a_table():
    assert table(["a|b"], [["x\ny"]]) == "| a\\|b |\n| --- |\n| x y |"


def test_numbers():
    assert (share(None), share(0.5), share(0.5, 0.25, 0.75)) == ("–", "50.0 %", "50.0 % [25.0, 75.0]")
    assert (number(None), number(math.nan), number(0.12345)) == ("–", "–", "0.123")


def test_what_was_held_out_and_how_little_the_scale_rests_on(model):
    text = model_card(CardFacts("m", model, run=replace(run_document(), rows=RowCounts(29, 1))))
    assert "29 rows for training and 1 row for choosing the checkpoint, held out by prompt (3.3 %)" in text
    assert "on the run's held-out rows, only 1: a rough scale" in text
