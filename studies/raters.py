"""What it is worth to know who votes (16): votes of known raters, and of new ones, on prompts that nobody trained on.

    python studies/raters.py DATA/raters --names ukpconvarg1 hanna cobbler --output runs/raters

For each data set and seed, a model is trained on half of the prompts of NAME.train (of the debates, for ukpconvarg1),
raters are fitted to the votes on the other half, and all are tested on the votes of NAME.dev. A quarter of the raters
is left out of the fit and stands for new ones. Nothing is chosen by the test votes. Finished runs are not repeated.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vrm.config import load_config
from vrm.core.raters import FittedRaters, RaterVotes, fit_raters, unknown_rater_tilt, vote_log_likelihood
from vrm.data.load import load_judgments
from vrm.data.schema import Judgment
from vrm.data.splits import split_by_prompt, uniform_hash
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.train.adapt import CollectedVotes, collect_votes
from vrm.train.run import run_training

CONFIG = Path(__file__).parent.parent / "configs" / "preferences_minilm.yaml"
BY_CATEGORY = {"ukpconvarg1"}
"""Data sets whose prompts are split by category: their debates are few, and prompts of one share arguments."""

NEW = 0.25
"""Share of the raters that is left out of the fit."""

BINS = {"1 to 4": (1, 4), "5 to 19": (5, 19), "20 and more": (20, 10**9)}
"""Known raters by their votes in the fit."""


def run(name: str, head: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train, fit and test once; NLL a vote in nats by kind of rater and by what is known of them."""
    target = arguments.output / f"{name}-{head}-{seed}"
    done = target / "raters.json"
    if done.exists():
        return dict(json.loads(done.read_text()))
    train = arguments.data / f"{name}.train.jsonl.gz"
    rows = load_judgments(str(train), on_bad_rows="skip").judgments
    for_model, for_raters = split_by_prompt(rows, 0.5, seed, by="category" if name in BY_CATEGORY else "prompt")
    target.mkdir(parents=True, exist_ok=True)
    part = target / "model.jsonl"
    with gzip.open(train, "rt", encoding="utf-8") as stream:
        chosen = {row.line for row in for_model}
        part.write_text("".join(line for number, line in enumerate(stream, 1) if number in chosen), encoding="utf-8")
    settings = [f"data.train={part}", f"output_dir={target / 'run'}", f"model.head={head}", f"seed={seed}"]
    config = load_config(CONFIG, [*settings, f"features.cache={arguments.cache}", *arguments.set])
    result = run_training(config, overwrite=True)
    options = ExtractionOptions("float32", config.features.token_budget, arguments.cache)
    engine = RewardEngine.from_pretrained(result.model_dir, options=options)
    test = load_judgments(str(arguments.data / f"{name}.dev.jsonl.gz"), on_bad_rows="skip").judgments
    figures = compare(engine, for_raters, test, seed)
    done.write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def compare(engine: RewardEngine, fit: Iterable[Judgment], test: Iterable[Judgment], seed: int) -> dict[str, Any]:
    """The population, one fit for all raters together, and each rater's own."""
    names, votes = votes_of(engine, fit)
    test_names, test_votes = votes_of(engine, test)
    threshold = engine.model.score.tie_threshold()
    c = None if threshold is None else threshold.detach().double()
    known = [name for name in names if uniform_hash(name, seed, "new rater") >= NEW]
    number = {name: index for index, name in enumerate(known)}
    place = torch.tensor([number.get(name, -1) for name in names])
    votes = replace(votes, rater=place[votes.rater])
    votes = votes[votes.rater >= 0]
    place = torch.tensor([number.get(name, -1) for name in test_names])
    test_votes = replace(test_votes, rater=place[test_votes.rater])
    started = time.process_time()
    fitted = fit_raters(votes, len(known), c)
    seconds = time.process_time() - started
    logs = predictions(votes, test_votes, fitted)
    counts = torch.bincount(votes.rater, weights=votes.counts.sum(-1), minlength=len(known))
    each = torch.where(test_votes.rater >= 0, counts[test_votes.rater.clamp_min(0)], 0.0)
    kinds = {"new": each == 0, "known": each > 0}
    kinds |= {f"known, {words}": (each >= low) & (each <= high) for words, (low, high) in BINS.items()}
    kinds = {kind: rows for kind, rows in kinds.items() if bool(rows.any())}
    return {
        "raters": len(known),
        "fitted votes": float(counts.sum()),
        "seconds": seconds,
        "tilt spread": dict(zip(engine.objectives, fitted.prior.tilt_variance.sqrt().tolist(), strict=True)),
        "threshold spread": float(fitted.prior.threshold_variance.sqrt()),
        "nll": {
            kind: {"votes": int(rows.sum())} | {words: -float(values[rows].mean()) for words, values in logs.items()}
            for kind, rows in kinds.items()
        },
    }


def predictions(votes: RaterVotes, test: RaterVotes, fitted: FittedRaters) -> dict[str, Tensor]:
    """Log-likelihood of every test vote, by what is known of its rater; nothing is known of new ones."""
    c, known = fitted.prior.tie_threshold, test.rater >= 0
    together = [replace(part, rater=torch.zeros_like(part.rater)) for part in (votes, test)]
    new = unknown_rater_tilt(fitted.prior)
    spread = replace(
        test,
        mean=test.mean + new.mean(test.delta),
        own_variance=test.own_variance + new.variance(test.delta),
    )
    logs = {
        "population": vote_log_likelihood(test, thresholds(c, test)),
        "one fit for all": fit_raters(together[0], 1, c).log_likelihood(together[1]),
        "as of a new rater": vote_log_likelihood(spread, thresholds(fitted.prior.mean_tie_threshold, test)),
    }
    for words, fit, tested in own_fits(votes, test, fitted):
        logs[words] = logs["as of a new rater"].clone()
        logs[words][known] = fit.log_likelihood(tested[known])
    return logs


def own_fits(
    votes: RaterVotes, test: RaterVotes, fitted: FittedRaters
) -> Iterator[tuple[str, FittedRaters, RaterVotes]]:
    """Fits of each rater's own threshold alone, and of both."""
    if fitted.prior.tie_threshold is not None:
        without = [replace(part, delta=part.delta[:, :0]) for part in (votes, test)]
        alone = fit_raters(without[0], len(fitted.parameters), fitted.prior.tie_threshold)
        yield "own thresholds", alone, without[1]
    yield "own tilts and thresholds", fitted, test


def thresholds(c: Tensor | None, votes: RaterVotes) -> Tensor | None:
    """One threshold for every item."""
    return None if c is None else c.expand(len(votes.mean))


def votes_of(engine: RewardEngine, rows: Iterable[Judgment]) -> tuple[tuple[str, ...], RaterVotes]:
    """Votes with the model's moments, by rater."""
    collected = CollectedVotes()
    for batch in engine.stream(rows):
        collect_votes(collected, engine, batch)
    return collected.numbered()


def table(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: means over seeds, and the gains over the population with their standard deviation over seeds."""
    lines = []
    for title, results in runs.items():
        ways = [way for way in results[0]["nll"]["known"] if way != "votes"]
        lines += ["", f"**{title}**", "", "| raters | votes | " + " | ".join(ways) + " |"]
        lines.append("|---|---:|" + "---:|" * len(ways))
        for kind in dict.fromkeys(kind for result in results for kind in result["nll"]):
            found = [result["nll"][kind] for result in results if kind in result["nll"]]
            cells = [f"{statistics.mean(entry['votes'] for entry in found):,.0f}"]
            for way in ways:
                mean = statistics.mean(entry[way] for entry in found)
                gains = [entry[way] - entry["population"] for entry in found]
                spread = f" ± {statistics.stdev(gains):.3f}" if len(gains) > 1 else ""
                cells.append(f"{mean:.3f}" if way == "population" else f"{statistics.mean(gains):+.3f}{spread}")
            lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is not there yet and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--names", nargs="+", default=["ukpconvarg1", "hanna", "cobbler"])
    parser.add_argument("--heads", nargs="+", default=["vrm", "gated"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/raters"))
    parser.add_argument("--cache", default="runs/features")
    parser.add_argument("--set", nargs="*", default=[], help="further settings of the runs, such as train.epochs=2")
    arguments = parser.parse_args()
    runs = {
        f"{name}, {head}": [run(name, head, seed, arguments) for seed in arguments.seeds]
        for name in arguments.names
        for head in arguments.heads
    }
    print(table(runs))


if __name__ == "__main__":
    main()
