from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vrm.data.schema import Judgment
from vrm.errors import ConfigError, OverlongError
from vrm.inference import extraction
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.targets import target_encoder
from vrm.metrics import ResampleOptions
from vrm.model import load_model
from vrm.results import RowCounts, to_text
from vrm.train import prepare
from vrm.train.arguments import on_one_device, training_arguments
from vrm.train.processes import to_training_device
from vrm.train.run import run_training
from vrm.train.setup import build_model, load_data, with_ratings_as_votes

# These runs end near the flat weights that they start from.
pytestmark = pytest.mark.filterwarnings("ignore::vrm.core.losses.PromptIgnoredWarning")


def write(path, rows):
    lines = []
    for row in rows:
        entry = {"prompt": row.prompt}
        if row.completions:
            entry |= {"chosen": row.completions[0], "rejected": row.completions[1]}
        if row.ratings:
            entry |= {"chosen_ratings": row.ratings[0], "rejected_ratings": row.ratings[1]}
        if row.objective_votes:
            entry["objective_votes"] = row.objective_votes
        lines.append(json.dumps(entry))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


VOTES_ONLY = [Judgment(f"what {word}", objective_votes={"care": 1.0, "quality": 2.0}) for word in "abcdefgh"]


def test_run_json_says_what_was_done(make_config, run_data, rows):
    config = make_config()
    data = run_data([*rows(16), Judgment("how", ["good " * 200, "bad"], preference=1.0)], rows(8, seed=1))
    result = run_training(config, data=data)
    written = json.loads((Path(config.output_dir) / "run.json").read_text())
    assert written == json.loads(to_text(result.summary))
    assert len({file.stat().st_mode for file in result.model_dir.iterdir()}) == 1, "safetensors' own mode is 0600"
    assert written["config"] == config.model_dump()
    assert written["rows"] == {"train": 16, "eval": 8}
    assert written["overlong"] == {
        "limit": 64, "total": 25, "prompt_truncated": 0, "completion_truncated": 0, "dropped": 1,
        "dropped_identical": 0,
    }  # fmt: skip
    assert written["objectives"] == ["quality", "care", "free_1"]
    assert written["metrics"] == result.metrics
    assert {"nll", "accuracy", "calibration_error", "kl_to_prior"} <= set(result.metrics)
    assert set(written["versions"]) == {
        "python", "vrm", "torch", "transformers", "accelerate", "datasets", "peft", "numpy"
    }  # fmt: skip
    model, _ = load_model(result.model_dir)
    assert written["parameters"]["head"] == sum(p.numel() for p in model.score.parameters())
    assert written["parameters"]["backbone"] == sum(p.numel() for p in model.backbone.parameters())
    assert 0 < written["seconds"]["train"] <= written["seconds"]["total"]


def test_metrics_are_those_of_the_saved_model(make_config, run_data, rows):
    held = rows(8, seed=1)
    config = make_config({"train.epochs": 4, "train.evals": 4})
    result = run_training(config, data=run_data(rows(32), held))
    history = [json.loads(line) for line in (Path(config.output_dir) / "history.jsonl").read_text().splitlines()]
    scores = [entry["eval_nll"] for entry in history if "eval_nll" in entry]
    assert len(set(scores)) > 1
    assert result.metrics["nll"] == pytest.approx(min(scores), abs=1e-6)
    from vrm.evaluate.preferences import evaluate_judgments

    engine = RewardEngine.from_pretrained(result.model_dir, options=ExtractionOptions("float32"))
    found = evaluate_judgments(engine, held, ResampleOptions(resamples=10))
    assert found.pairs.negative_log_likelihood == pytest.approx(result.metrics["nll"], abs=1e-5)
    assert found.pairs.accuracy.estimate == pytest.approx(result.metrics["accuracy"])


def test_the_reward_scale_is_that_of_the_evaluation_completions(make_config, run_data, rows):
    held = rows(6, seed=1)
    result = run_training(make_config(), data=run_data(rows(16), held))
    engine = RewardEngine.from_pretrained(result.model_dir, options=ExtractionOptions("float32"))
    rewards = engine.judge(held).moments.mean.flatten()
    config = engine.model.config
    assert config.reward_mean == pytest.approx(float(rewards.mean()), abs=1e-5)
    assert config.reward_std == pytest.approx(float(rewards.std()), rel=1e-4)


def test_what_is_read_of_a_text_is_chosen_by_the_kind_of_backbone(make_config, run_data, rows, tiny_decoder_backbone):
    choice = {"model.decoder_poolings": ["mean", "last"]}
    encoder, _ = build_model(make_config(choice), run_data(rows(8)))
    decoder, _ = build_model(make_config({**choice, "model.backbone": str(tiny_decoder_backbone)}), run_data(rows(8)))
    assert (encoder.config.kind_poolings, encoder.config.num_blocks) == (["mean"], 1)
    assert (decoder.config.kind_poolings, decoder.config.num_blocks) == (["mean", "last"], 2)


def test_ratings_are_standardized_over_the_training_data(make_config, run_data, rows):
    train = rows(16)
    data = run_data(train, rows(8, seed=1))
    model, _ = build_model(make_config(), data)
    values = [side["quality"] for row in train for side in row.ratings or [] if "quality" in side]
    assert model.config.rating_mean["quality"] == pytest.approx(statistics.fmean(values))
    assert model.config.rating_std["quality"] == pytest.approx(statistics.pstdev(values))
    assert model.config.rating_std["care"] == 1.0, "all ratings alike: a spread of zero must not divide"
    labels = target_encoder(model.config)(train)["ratings"]
    quality = labels[..., 0][~labels[..., 0].isnan()]
    assert float(quality.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(quality.std(correction=0)) == pytest.approx(1.0, abs=1e-6)
    assert model.config.objectives_with_ratings == ["quality", "care"]
    assert model.config.objectives_with_votes == ["care"]


@pytest.mark.parametrize("head", ["bt", "mlp", "bottleneck"])
def test_heads_without_objectives_leave_votes_only_rows_out_and_say_so(make_config, run_data, rows, head, capsys):
    config = make_config({"model.head": head})
    result = run_training(config, data=run_data([*rows(16), *VOTES_ONLY], [*rows(8, seed=1), *VOTES_ONLY[:2]]))
    assert result.summary.rows == RowCounts(16, 8)
    assert result.summary.objectives == ("reward",)
    # Rows 0, 2, .. have ratings, rows 0, 3, .. votes: 11 of 16 have some, and the 8 have votes alone.
    assert (
        f"head '{head}' has no objectives: ratings and votes of 19 rows are not used, and 8 of them, "
        "which have no completions, are left out"
    ) in capsys.readouterr().err
    alone = run_training(make_config({"model.head": head}, output="alone"), data=run_data(rows(16), rows(8, seed=1)))
    assert alone.metrics["nll"] == pytest.approx(result.metrics["nll"], abs=1e-6)


def test_a_head_without_objectives_cannot_learn_from_votes_alone(make_config, run_data):
    with pytest.raises(ConfigError, match="no training rows remain that head 'bt' can learn from"):
        run_training(make_config({"model.head": "bt"}), data=run_data(VOTES_ONLY))


def test_plain_pairs_get_free_objectives_where_none_was_asked_for(make_config, run_data, capsys):
    pairs = run_data([Judgment(f"how {word}", ["good", "bad"], preference=1.0) for word in "abcdefgh"])
    model, _ = build_model(make_config({"model.num_free_objectives": 0}), pairs)
    assert model.config.objective_names == [f"free_{number}" for number in range(1, 17)]
    assert "model.num_free_objectives is 0: the head gets 16 free ones, the default of that key" in (
        capsys.readouterr().err
    )
    model, _ = build_model(make_config({"model.num_free_objectives": 0, "model.head": "mlp"}), pairs)
    assert model.config.objective_names == ["reward"]
    assert "num_free_objectives" not in capsys.readouterr().err


@pytest.mark.parametrize("tuning", ["frozen", "full"])
@pytest.mark.parametrize("loss", ["variational", "marginal"])
def test_votes_alone_train_the_objective_weights(make_config, run_data, tuning, loss):
    config = make_config({"model.tuning": tuning, "loss.name": loss, "train.epochs": 20, "train.learning_rate": 0.01})
    result = run_training(config, data=run_data(VOTES_ONLY, VOTES_ONLY))
    assert "nll" not in result.metrics
    assert math.isfinite(result.metrics["loss"])
    model, _ = load_model(result.model_dir)
    assert (model.config.reward_mean, model.config.reward_std) == (0.0, 1.0)
    weights = RewardEngine.from_pretrained(result.model_dir).judge(VOTES_ONLY).posteriors.weights.mean.mean(0)
    names = model.config.objective_names
    quality, care, free = (float(weights[names.index(name)]) for name in ("quality", "care", "free_1"))
    assert quality > care > free


def test_ranked_lists_alone_are_trained_on(make_config, run_data):
    ranked = [Judgment(f"how {n}", ["good plan", "the plan", "bad plan"], scores=[2.0, 1.0, 0.0]) for n in range(16)]
    config = make_config({"train.epochs": 20, "train.learning_rate": 0.02})
    result = run_training(config, data=run_data(ranked, ranked[:4]))
    assert "nll" not in result.metrics
    rewards = RewardEngine.from_pretrained(result.model_dir).judge(ranked).moments.mean
    assert bool((rewards[:, 0] > rewards[:, 1]).all())
    assert bool((rewards[:, 1] > rewards[:, 2]).all())


def test_early_stopping_ends_a_run_that_gets_no_better(make_config, run_data, rows, capsys):
    reverse = [replace(row, preference=0.0, ratings=None, objective_votes=None) for row in rows(16)]
    changes = {"train.epochs": 40, "train.evals": 40, "train.learning_rate": 0.01, "train.early_stopping": 2}

    def evaluations(config):
        lines = (Path(config.output_dir) / "history.jsonl").read_text().splitlines()
        return [(entry["eval_nll"], entry["step"]) for entry in map(json.loads, lines) if "eval_nll" in entry]

    config = make_config(changes, output="patient")
    # The evaluation rows are the training rows with their labels turned round: every step makes them worse.
    run_training(config, data=run_data(rows(16), reverse))
    scores, steps = zip(*evaluations(config), strict=True)
    assert len(scores) < 40
    best = scores.index(min(scores))
    # The last of the history is the evaluation of the best checkpoint.
    assert len(scores) == best + 2 + 2
    said = capsys.readouterr().err
    assert f"stopped early, at step {steps[-2]} of " in said
    assert f"step {steps[best]} is kept, with the lowest nll of held-out rows, {scores[best]:.4g}\n" in said
    config = make_config({**changes, "train.early_stopping": None, "train.epochs": 5, "train.evals": 5}, output="all")
    run_training(config, data=run_data(rows(16), reverse))
    assert len(evaluations(config)) >= 6
    assert "stopped early" not in (said := capsys.readouterr().err)
    assert "is kept, with the lowest nll of held-out rows" in said
    assert "it is the last step" not in said


def test_rows_over_the_limit_stop_the_run_if_so_configured(make_config, run_data, rows):
    config = make_config({"data.on_overlong": "error", "model.max_input_tokens": 8})
    with pytest.raises(OverlongError, match=r"f:\d+: \d+ tokens, limit 8"):
        run_training(config, data=run_data(rows(8)))


def test_a_limit_beyond_what_the_backbone_reads(make_config, run_data, rows):
    with pytest.raises(ConfigError, match="max_input_tokens is 400, but the backbone reads at most 256"):
        build_model(make_config({"model.max_input_tokens": 400}), run_data(rows(8)))


@pytest.mark.parametrize(
    ("model_fields", "positions"), [({"model_type": "roberta", "pad_token_id": 1}, 62), ({"model_type": "bert"}, 64)]
)
def test_what_a_backbone_reads_depends_on_where_it_starts_to_count(
    make_config, run_data, rows, tmp_path, model_fields, positions
):
    small = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
        "max_position_embeddings": 64,
    }  # fmt: skip
    file = tmp_path / "backbone.json"
    file.write_text(json.dumps({**small, **model_fields}))
    changes = {"model.from_scratch": str(file), "model.tuning": "full"}
    with pytest.raises(ConfigError, match=f"at most {positions} positions"):
        build_model(make_config({**changes, "model.max_input_tokens": positions + 1}), run_data(rows(8)))
    model, tokenizer = build_model(make_config({**changes, "model.max_input_tokens": positions}), run_data(rows(8)))
    ids = torch.full((1, positions), 9)
    assert model(input_ids=ids, completion_start=torch.tensor([3])).logits.isfinite().all()
    assert model.config.backbone_config.vocab_size == len(tokenizer)


def test_from_scratch_needs_a_file_with_a_model_type(make_config, run_data, rows, tmp_path):
    with pytest.raises(ConfigError, match=r"from_scratch: .*absent\.json: no such file"):
        build_model(make_config({"model.from_scratch": str(tmp_path / "absent.json")}), run_data(rows(8)))
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ConfigError, match="has no model_type"):
        build_model(make_config({"model.from_scratch": str(tmp_path / "a.json")}), run_data(rows(8)))


def test_from_scratch_a_backbone_that_sees_ahead_is_an_encoder(make_config, run_data, rows, tmp_path):
    small = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
        "intermediate_size": 16, "use_bidirectional_attention": True,
    }  # fmt: skip
    file = tmp_path / "backbone.json"
    file.write_text(json.dumps({"model_type": "gemma3_text", **small}))
    config = make_config({"model.from_scratch": str(file), "model.tuning": "full"})
    assert build_model(config, run_data(rows(8)))[0].config.backbone_kind == "encoder"


@pytest.mark.parametrize(
    ("model_fields", "words"),
    [
        ({"model_type": "pegasus"}, r"the backbone is an encoder-decoder \(pegasus\)"),
        ({"model_type": "berd"}, "transformers has no architecture 'berd'"),
        ({"model_type": "bert", "max_position_embeddings": 9}, "the backbone reads at most 9 positions"),
    ],
)
def test_a_backbone_that_cannot_be_used_stops_the_run_before_rows_are_read(make_config, tmp_path, model_fields, words):
    file = tmp_path / "backbone.json"
    file.write_text(json.dumps(model_fields))
    changes = {"model.from_scratch": str(file), "model.tuning": "full", "model.max_input_tokens": 10}
    with pytest.raises(ConfigError, match=words):
        run_training(make_config({**changes, "data.train": str(tmp_path / "absent.jsonl")}))


def test_initial_weights_are_those_of_the_seed(make_config, run_data, rows):
    def weights(seed):
        return build_model(make_config({"seed": seed}), run_data(rows(8)))[0].score.decoder

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_a_chat_template_of_ones_own_is_saved_with_the_model(make_config, run_data, rows, tmp_path):
    template = tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:")
    config = make_config({"model.chat_template": str(template), "train.epochs": 1})
    result = run_training(config, data=run_data(rows(8)))
    _, tokenizer = load_model(result.model_dir)
    assert tokenizer.chat_template == template.read_text()


def test_batches_must_divide(make_config):
    config = make_config({"train.batch_size": 10, "train.gradient_accumulation": 4})
    with pytest.raises(ConfigError, match=r"train\.batch_size \(10\) must be a multiple of processes \(1\)"):
        training_arguments(config, 100, None)


def test_evaluation_labels_on_objectives_that_were_not_trained_are_left_out(make_config, rows, tmp_path):
    held = [replace(row, objective_votes={"speed": 1.0, "care": 1.0}) for row in rows(4, seed=1)]
    only = Judgment("what", objective_votes={"speed": 1.0})
    config = make_config(
        {
            "data.train": [write(tmp_path / "train.jsonl", rows(16))],
            "data.eval": [write(tmp_path / "eval.jsonl", [*held, only])],
        }
    )
    data = load_data(config.data, 0)
    assert data.objectives == ["quality", "care"]
    assert [row.objective_votes for row in data.eval] == [{"care": 1.0}] * 4
    assert "evaluation labels on objectives without training labels are left out: speed (5)" in data.report
    assert run_training(config).summary.rows == RowCounts(16, 4)


def test_held_out_rows_share_no_prompt_with_training_rows(make_config, rows, tmp_path):
    config = make_config({"data.train": [write(tmp_path / "a.jsonl", rows(60))], "data.held_out": 0.3})
    data = load_data(config.data, 0)
    assert len(data.train) + len(data.eval) == 60
    assert 6 <= len(data.eval) <= 32
    assert not {row.prompt for row in data.train} & {row.prompt for row in data.eval}
    none = load_data(make_config({"data.train": config.data.train[0].path, "data.held_out": 0.0}).data, 0)
    assert none.eval == []


def test_ratings_as_votes_fills_only_rows_without_votes(rows):
    train = [
        Judgment("a", ["x", "y"], 1.0, ratings=[{"p": 3.0, "q": 1.0}, {"p": 1.0, "q": 1.0}]),
        Judgment("b", ["x", "y"], 1.0, ratings=[{"p": 3.0}, {}], objective_votes={"q": 1.0}),
        Judgment("c", ["x", "y"], 1.0),
    ]
    first, second, third = with_ratings_as_votes(train, ["p", "q"])
    assert first.objective_votes == pytest.approx({"p": 0.625, "q": 0.375})
    assert second.objective_votes == {"q": 1.0}
    assert third.objective_votes is None


def test_features_are_extracted_where_the_trainer_will_train(monkeypatch):
    module, moved = torch.nn.Linear(1, 1), []
    monkeypatch.setattr(module, "to", moved.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    to_training_device(module)
    assert moved == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    to_training_device(module)
    monkeypatch.setenv("LOCAL_RANK", "3")
    to_training_device(module)
    assert moved == [torch.device("cuda", 0), torch.device("cuda", 3)]


def test_the_weights_of_a_frozen_backbone_are_read_once_for_all_hashes(make_config, run_data, rows, monkeypatch):
    read = []
    monkeypatch.setattr(extraction, "tensors_sha256", lambda tensors: read.append(tensors) or "hash")
    run_training(make_config({"model.tuning": "frozen"}), data=run_data(rows(16), rows(8, seed=1)))
    assert len(read) == 1


def test_a_process_uses_one_gpu(make_config, capsys):
    arguments = training_arguments(make_config(), 8, None)
    assert on_one_device(arguments).n_gpu <= 1
    assert capsys.readouterr().err == ""
    arguments._n_gpu = 4
    assert on_one_device(arguments).n_gpu == 1
    assert "one of 4 GPUs is used; start with `torchrun --nproc_per_node=4`" in capsys.readouterr().err


def test_only_the_backbone_is_moved_before_frozen_features_are_extracted(make_config, run_data, rows, monkeypatch):
    moved = []
    monkeypatch.setattr(prepare, "to_training_device", moved.append)
    config, data = make_config(), run_data(rows(16), rows(8, seed=1))
    model, tokenizer = build_model(config, data)
    prepare.prepare_rows(config, data, model, tokenizer)
    # The head is fitted to features that are on the CPU, before the trainer moves it.
    assert moved == [model.backbone]


@pytest.mark.parametrize("name", ["compile", "gradient_checkpointing"])
def test_settings_of_a_tuned_backbone_are_refused_for_a_frozen_one(make_config, name):
    with pytest.raises(ConfigError, match=rf"model\.{name}: a frozen backbone is not trained"):
        make_config({f"model.{name}": True})


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [{}, {"model.gradient_checkpointing": True}, {"model.tuning": "lora"}], ids=["full", "recomputed", "lora"]
)
def test_compiled_training_gives_the_same_rewards(make_config, run_data, rows, more):
    plain, compiled = (
        run_training(
            make_config(
                {"model.tuning": "full", "model.head": "gated", "model.compile": asked, **more}, output=f"run-{asked}"
            ),
            data=run_data(rows(16), rows(8, seed=1)),
        )
        for asked in (False, True)
    )
    assert (plain.summary.compiled, compiled.summary.compiled) == (False, True)
    assert compiled.metrics["kl_to_prior"] == plain.metrics["kl_to_prior"] == 0
    assert compiled.metrics["nll"] == pytest.approx(plain.metrics["nll"], abs=0.05)
