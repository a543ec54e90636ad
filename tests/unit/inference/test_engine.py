from __future__ import annotations

import itertools

import pytest
import torch

from vrm.core.predictive import reward_moments
from vrm.data.schema import Judgment
from vrm.errors import ConfigError, OverlongError
from vrm.inference import extraction
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.steering import Steering
from vrm.model import load_model

FLOAT32 = ExtractionOptions(precision="float32")
WORDS = ["the", "good", "bad", "safe", "unsafe", "plan", "water", "city", "story", "number", "help"]
ROWS = [
    Judgment(" ".join(["how", *WORDS[: n % 7]]), [" ".join(WORDS[k : k + 2 + n % 5]) for k in range(1 + n % 4)], line=n)
    for n in range(23)
]
NAMES = ("helpfulness", "safety", "brevity", "free_1")


@pytest.fixture(scope="module")
def loaded(make_tiny_model):
    return load_model(make_tiny_model("vrm", "encoder"))


def engine(loaded, **more):
    return RewardEngine(*loaded, **{"options": FLOAT32, **more})


def flat(batches):
    """Reward of every completion by row."""
    found = {}
    for batch in batches:
        for index, row in enumerate(batch.judgments):
            found[row.line] = batch.moments.mean[index][batch.mask[index]]
    return found


@pytest.mark.parametrize("window", [1, 4, 23, 100])
def test_windows_keep_the_order_and_do_not_change_rewards(loaded, window):
    batches = list(engine(loaded).stream(iter(ROWS), window))
    assert [row.line for batch in batches for row in batch.judgments] == list(range(23))
    assert [len(batch) for batch in batches][:-1] == [window] * (len(batches) - 1)
    reference = flat([engine(loaded).judge(ROWS)])
    for line, rewards in flat(batches).items():
        assert len(rewards) == len(ROWS[line].completions)
        assert torch.allclose(rewards, reference[line], atol=1e-5)


@pytest.mark.parametrize("cached", [True, False])
def test_the_backbones_hash_is_that_of_its_cache(loaded, cached, tmp_path, monkeypatch):
    expected = extraction.backbone_fingerprint(loaded[0])
    read = []
    monkeypatch.setattr(extraction, "tensors_sha256", lambda tensors: read.append(tensors) or expected)
    options = ExtractionOptions("float32", cache=str(tmp_path) if cached else None)
    assert engine(loaded, options=options).backbone_sha256 == expected
    assert len(read) == 1


@pytest.mark.parametrize("head", ["vrm", "bt"])
def test_the_head_reads_a_batch_in_slices_of_bounded_size(make_tiny_model, monkeypatch, head):
    loaded = load_model(make_tiny_model(head, "encoder"))
    reference = engine(loaded).judge(ROWS)
    sizes = []
    loaded[0].score.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[1].numel()))
    longest = max(len(row.completions) for row in ROWS) * loaded[0].config.feature_size
    monkeypatch.setattr("vrm.inference.engine.HEAD_VALUES", 4 * longest)
    found = engine(loaded).judge(ROWS)
    assert len(sizes) == 6
    assert max(sizes) == 4 * longest
    assert torch.allclose(found.moments.mean, reference.moments.mean, atol=1e-5)
    assert torch.allclose(found.moments.variance, reference.moments.variance, atol=1e-5)


def test_a_stream_reads_no_more_than_a_window_ahead(loaded):
    read = []

    def rows():
        for number in itertools.count():
            read.append(number)
            yield ROWS[number % len(ROWS)]

    next(engine(loaded).stream(rows(), 5))
    assert 5 <= len(read) <= 10


def test_rewards_are_those_of_the_models_forward(loaded):
    model, tokenizer = loaded
    batch = engine(loaded).judge(ROWS[3:4])
    text = f"[CLS] {ROWS[3].prompt} [SEP] {ROWS[3].completions[1]} [SEP]"
    with torch.no_grad():
        output = model(**tokenizer([text], return_tensors="pt", add_special_tokens=False))
    assert torch.allclose(batch.moments.mean[0, 1], output.logits[0, 0], atol=1e-5)
    assert torch.allclose(batch.moments.variance[0, 1], output.reward_variance[0, 0], atol=1e-5)


def test_one_row_of_a_batch_is_that_row_without_padding(loaded):
    batch = engine(loaded).judge(ROWS[:4])
    for index in range(4):
        row = batch.row(index)
        count = len(ROWS[index].completions)
        assert row.judgments == [ROWS[index]]
        assert row.mask.tolist() == [[True] * count]
        assert torch.allclose(row.moments.mean[0], batch.moments.mean[index, :count], atol=1e-6)
        assert torch.allclose(row.moments.variance[0], batch.moments.variance[index, :count], atol=1e-6)


def test_a_part_of_a_batch_is_its_rows_padded_to_the_longest_of_them(loaded):
    batch = engine(loaded).judge(ROWS[:6])
    part = batch.part(3, 5)
    assert part.judgments == ROWS[3:5]
    assert part.mask.tolist() == [[True] * 4, [True] + [False] * 3]
    assert torch.equal(part.moments.mean[part.mask], batch.moments.mean[3:5][batch.mask[3:5]])


def test_plain_text_is_wrapped_for_a_model_of_conversations(loaded, make_tiny_model):
    messages = Judgment([{"role": "user", "content": "how"}], [[{"role": "assistant", "content": "good"}]])
    plain = Judgment("how", ["good"])
    wrapped = engine(loaded)
    assert torch.equal(wrapped.judge([plain]).moments.mean, wrapped.judge([messages]).moments.mean)
    bare = load_model(make_tiny_model("vrm", "encoder", conversational=False))
    assert engine(bare).tokenize(plain).completions != wrapped.tokenize(plain).completions


def test_emphasis_adds_counts_to_the_concentration(loaded):
    plain = engine(loaded).judge(ROWS).posteriors
    steered = engine(loaded, steering=Steering({"safety": 5.0})).judge(ROWS).posteriors
    assert torch.allclose(steered.weights.concentration - plain.weights.concentration, torch.tensor([0.0, 5, 0, 0]))
    assert torch.allclose(steered.weights.mean.sum(-1), torch.ones(len(ROWS)))
    assert torch.equal(steered.features.loc, plain.features.loc)


def test_leaving_an_objective_out_keeps_the_others_shares(loaded):
    plain = engine(loaded).judge(ROWS)
    steered = engine(loaded, steering=Steering({}, ("safety",))).judge(ROWS)
    assert steered.objectives == ("helpfulness", "brevity", "free_1")
    kept = plain.posteriors.weights.concentration[:, [0, 2, 3]]
    assert torch.equal(steered.posteriors.weights.concentration, kept)
    assert steered.posteriors.rating_model.offset.shape == (3,)
    assert torch.equal(steered.posteriors.decoder, plain.posteriors.decoder[[0, 2, 3]])
    weights = type(plain.posteriors.weights).from_concentration(kept.unsqueeze(1))
    expected = reward_moments(weights, plain.posteriors.features, plain.posteriors.decoder[[0, 2, 3]])
    assert torch.allclose(steered.moments.mean, expected.mean, atol=1e-6)


@pytest.mark.parametrize(
    ("steering", "named"),
    [
        (Steering({"speed": 1.0}), "steering names speed, but the model's objectives are: helpfulness"),
        (Steering({}, ("speed",)), "steering names speed"),
        (Steering({"safety": -1.0}), "counts must be finite and >= 0"),
        (Steering({"safety": float("inf")}), "counts must be finite"),
        (Steering({"safety": float("nan")}), "counts must be finite"),
        (Steering({}, NAMES), "at least one objective must remain"),
    ],
)
def test_steering_that_cannot_be_followed(loaded, steering, named):
    with pytest.raises(ConfigError, match=named):
        engine(loaded, steering=steering)


def test_heads_without_a_concentration_cannot_be_emphasized_but_can_leave_out(make_tiny_model):
    gated = load_model(make_tiny_model("gated", "encoder"))
    with pytest.raises(ConfigError, match="head 'gated' has no concentration"):
        engine(gated, steering=Steering({"safety": 1.0}))
    steered = engine(gated, steering=Steering({}, ("safety",))).judge(ROWS)
    assert torch.allclose(steered.posteriors.weights.mean.sum(-1), torch.ones(len(ROWS)))


LONG = Judgment("how", [" ".join(["good"] * 200)], line=99)


def test_overlong_rows_are_counted_by_policy(loaded):
    cut = engine(loaded)
    assert len(cut.judge([LONG, ROWS[0]])) == 2
    assert (cut.report.total, cut.report.completion_truncated) == (2, 1)
    cut.reset_report()
    cut.judge([ROWS[0]])
    assert (cut.report.total, cut.report.completion_truncated) == (1, 0)
    assert cut.report is cut.tokenize.report
    drop = engine(loaded, on_overlong="drop")
    assert [row.line for batch in drop.stream([ROWS[1], LONG, ROWS[0]], 1) for row in batch.judgments] == [1, 0]
    assert drop.report.dropped == 1
    with pytest.raises(ValueError, match=r"nothing to judge: .*1 dropped"):
        engine(loaded, on_overlong="drop").judge([LONG])
    with pytest.raises(OverlongError, match="limit 128"):
        engine(loaded, on_overlong="error").judge([LONG])


def test_a_cache_on_disk_is_shared_between_engines(loaded, tmp_path):
    options = ExtractionOptions(precision="float32", cache=str(tmp_path))
    first = flat(engine(loaded, options=options).stream(ROWS, 4))
    calls = []
    handle = loaded[0].backbone.register_forward_pre_hook(lambda *args: calls.append(1))
    second = flat(engine(loaded, options=options).stream(ROWS, 7))
    handle.remove()
    assert calls == []
    assert all(torch.allclose(first[line], second[line], atol=1e-6) for line in first)


def test_from_pretrained_builds_an_engine(make_tiny_model):
    built = RewardEngine.from_pretrained(make_tiny_model("vrm", "decoder"), options=FLOAT32)
    assert built.objectives == NAMES
    assert not built.model.training
    assert built.judge(ROWS[:2]).moments.mean.isfinite().all()
