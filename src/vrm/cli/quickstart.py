"""`vrm quickstart`: four heads on the built-in corpus, what they learned, and one explanation."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vrm.cli import options
from vrm.cli.console import Meter, note, print_json, quiet_libraries, results
from vrm.files import write_text

if TYPE_CHECKING:
    from vrm.config import RunConfig
    from vrm.data.planted import PlantedCorpus
    from vrm.inference.engine import RewardEngine
    from vrm.results import Evaluation
    from vrm.results.adaptation import RecoveredRater
    from vrm.results.evaluation import SeveralRatersSummary
    from vrm.train.setup import RunData

HEADS = ("bt", "mlp", "gated", "vrm")
SPLITS = ("test", "test_reversed")
WEIGHING = ("gated", "vrm")
"""Heads whose weights and raters are compared with the true ones."""

TOKEN_BUDGET = 2048
"""Positions of one pass of the backbone: on a processor, what stays in its cache is faster."""


def quickstart(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where models and results go.")] = Path(
        "runs/quickstart"
    ),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the corpus, initial weights and samples.")] = 0,
    overwrite: options.OverwriteOption = False,
    as_json: options.JsonFlag = False,
    threads: options.ThreadsOption = None,
) -> None:
    """Train on the built-in corpus, compare with baselines, explain one pair, write a report.

    Trains the heads bt, mlp, gated and vrm on frozen features of the embedded backbone; one to two minutes on 2 cores.
    """
    from vrm.cli.quickstart_tables import print_quickstart

    started = time.perf_counter()
    _check_output(output, overwrite)
    with Meter("loading libraries") as meter:
        quiet_libraries()
        from vrm.data.planted import planted_corpus
        from vrm.results import QuickstartDocument, to_text
        from vrm.train.setup import load_data

        meter.update("and writing the corpus")
        corpus = planted_corpus(seed)
        corpus.write(output / "corpus")
        # The heads' rows are the same, and so are read once.
        data = load_data(quickstart_config(HEADS[0], output, seed).data, seed)
    trained = {head: _train_and_measure(head, corpus, data, output, seed) for head in HEADS}
    document = QuickstartDocument(
        seed=seed,
        seconds=time.perf_counter() - started,
        heads={head: evaluations for head, (_, evaluations) in trained.items()},
        weight_distance={head: _weight_distances(trained[head][0], corpus) for head in WEIGHING},
        weight_distance_uniform=_uniform_distances(corpus),
        votes_by_truth={split: _votes_by_truth(corpus, split) for split in SPLITS},
        raters={head: _recovered_raters(trained[head][0], corpus) for head in WEIGHING},
    )
    write_text(output / "results.json", to_text(document))
    report = _write_report(output)
    if as_json:
        print_json(to_text(document))
        return
    console = results()
    print_quickstart(console, document)
    _explain_one(trained["vrm"][0], corpus)
    console.print(f"\nModels, data and results are in {output}. Try:", markup=False)
    console.print(f"  vrm evaluate {output}/vrm/model {output}/corpus/test.jsonl", markup=False, soft_wrap=True)
    console.print(f"  vrm explain {output}/vrm/model {output}/corpus/test.jsonl --line 1", markup=False, soft_wrap=True)
    if report is not None:
        console.print(f"The same and more as one page: {report}", markup=False, soft_wrap=True)
    note(f"{time.perf_counter() - started:.0f} s in all")


def _check_output(output: Path, overwrite: bool) -> None:
    from vrm.errors import ConfigError

    ours = {"results.json", "report.html", "corpus", *HEADS}
    there = sorted(entry.name for entry in output.iterdir()) if output.is_dir() else []
    others = [name for name in there if name not in ours and not name.startswith(".")]
    if others:
        raise ConfigError(f"{output} holds something else ({', '.join(others[:3])}): choose another --output")
    kept = [name for name in ("results.json", *HEADS) if name in there]
    if kept and not overwrite:
        raise ConfigError(
            f"{output} holds results ({', '.join(kept)}): choose another --output, or replace them with --overwrite"
        )


def _write_report(output: Path) -> Path | None:
    """One page of the results and runs; None, with a note, where the library that draws it is not installed."""
    from vrm.errors import MissingExtraError
    from vrm.report import read_inputs, render_report

    try:
        with Meter("report"):
            page = render_report(read_inputs([output]), title="VRM quickstart")
    except MissingExtraError as error:
        note(f"no report: {error}")
        return None
    target = output / "report.html"
    write_text(target, page)
    return target


def quickstart_config(head: str, output: Path, seed: int) -> RunConfig:
    """The configuration of one head; chosen on the dev split, the same for all heads where it applies."""
    from vrm.config import parse_config

    return parse_config(
        {
            "output_dir": str(output / head),
            "seed": seed,
            "data": {"train": str(output / "corpus" / "train.jsonl"), "eval": str(output / "corpus" / "dev.jsonl")},
            "model": {
                "head": head,
                "feature_layers": [1, 3, 6],
                "num_free_objectives": 0,
                "num_features": 8,
                "head_dropout": 0.1,
                "max_input_tokens": 128,
            },
            "loss": {"ratings": 0.3, "beta_weights": 0.003, "beta_features": 0.003},
            "train": {
                "epochs": 10,
                "batch_size": 128,
                "learning_rate": 1e-3,
                "weight_decay": 0.01,
                "evals": 20,
                "early_stopping": 5,
            },
            "features": {"cache": str(output / "features"), "token_budget": TOKEN_BUDGET},
        }
    )


def _train_and_measure(
    head: str, corpus: PlantedCorpus, data: RunData, output: Path, seed: int
) -> tuple[RewardEngine, dict[str, Evaluation]]:
    from vrm.evaluate.preferences import evaluate_judgments
    from vrm.inference.engine import RewardEngine
    from vrm.inference.extraction import ExtractionOptions
    from vrm.train.run import run_training

    note(f"head {head}")
    result = run_training(quickstart_config(head, output, seed), data=data, overwrite=True)
    options = ExtractionOptions("auto", TOKEN_BUDGET, str(output / "features"))
    engine = RewardEngine.from_pretrained(result.model_dir, options=options)
    evaluations = {}
    with Meter(f"head {head}, measuring on") as meter:
        for split in SPLITS:
            meter.update(split)
            evaluations[split] = evaluate_judgments(engine, getattr(corpus, split))
    return engine, evaluations


def _weight_distances(engine: RewardEngine, corpus: PlantedCorpus) -> dict[str, float]:
    """Mean total variation distance of inferred and true weights over the test prompts, by domain."""
    from vrm.metrics import total_variation

    inferred: dict[str, list[list[float]]] = {}
    for batch in engine.stream(corpus.test):
        order = [batch.objectives.index(name) for name in corpus.objectives]
        means = batch.posteriors.weights.mean[:, order]
        for row, mean in zip(batch.judgments, (means / means.sum(-1, keepdim=True)).tolist(), strict=True):
            inferred.setdefault(str(row.category), []).append(mean)
    return {domain: total_variation(rows, [_true(corpus, domain)] * len(rows)) for domain, rows in inferred.items()}


def _uniform_distances(corpus: PlantedCorpus) -> dict[str, float]:
    from vrm.metrics import total_variation

    flat = [1.0 / len(corpus.objectives)] * len(corpus.objectives)
    return {domain: total_variation([flat], [_true(corpus, domain)]) for domain in corpus.true_weights}


def _votes_by_truth(corpus: PlantedCorpus, split: str) -> SeveralRatersSummary:
    """How well the raters' votes are predicted by what was planted, without knowing who judges."""
    import numpy as np

    from vrm.data.planted import population_vote, true_utilities
    from vrm.data.splits import prompt_key
    from vrm.evaluate.collect import Collected, VotesOnPairs
    from vrm.evaluate.several import several_raters
    from vrm.labels.judgments import vote_counts
    from vrm.metrics import DEFAULT_RESAMPLING

    planted = corpus.splits[split]
    weights = [corpus.true_weights[str(row.category)] for row in planted.judgments]
    utilities = [true_utilities(levels) for levels in planted.levels]
    shares = np.array([population_vote(*pair) for pair in zip(utilities, weights, strict=True)])
    counts = np.array([vote_counts(row.judgments or []) for row in planted.judgments])
    joint = (counts * np.log(shares)).sum(1)
    votes = VotesOnPairs(
        counts,
        joint,
        joint / counts.sum(1),
        1.0 - (shares**2).sum(1),
        # Rounded, so that no rounding orders what is equal.
        np.array(
            [round(sum(of[name] * by[name] for name in of), 9) for of, by in zip(utilities, weights, strict=True)]
        ),
        [prompt_key(row) for row in planted.judgments],
    )
    summary = several_raters(Collected(several=[votes]), True, DEFAULT_RESAMPLING)
    assert summary is not None
    return summary


def _recovered_raters(engine: RewardEngine, corpus: PlantedCorpus) -> dict[str, RecoveredRater]:
    """The raters as `vrm adapt` finds them in the training rows, beside what was planted."""
    from vrm.inference.explain import rater_intervals
    from vrm.results.adaptation import RecoveredRater
    from vrm.train.adapt import adapt

    with Meter("fitting raters") as meter:
        known = adapt(engine, corpus.train, progress=meter.update, cross_validate=False).raters
    recovered = {}
    for name in sorted(known.names):
        rater, true = known.of(name), corpus.raters[name]
        intervals = rater_intervals(rater, known.objectives)
        recovered[name] = RecoveredRater(rater.comparisons, *intervals, dict(true.tilt), true.tie_threshold)
    return recovered


def _true(corpus: PlantedCorpus, domain: str) -> list[float]:
    return [corpus.true_weights[domain][name] for name in corpus.objectives]


def _explain_one(engine: RewardEngine, corpus: PlantedCorpus) -> None:
    """Explain the first pair of the reversed split, where the shortcut points the wrong way."""
    from vrm.cli.explanation_view import print_explanation
    from vrm.inference.explain import explain

    print_explanation(results(), explain(engine, corpus.test_reversed[0]))
