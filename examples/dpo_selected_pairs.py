"""DPO on pairs that a VRM is sure of: score candidates, keep pairs by probability and weight uncertainty, train.

    python examples/dpo_selected_pairs.py --output runs/selected-pairs

A toy policy writes eight candidates for each prompt. For every prompt the best and the worst candidate become a pair,
and the pair is kept if

- the model says with a probability of at least `--min-probability` that the first is preferred, and
- the weights' part of the margin's standard deviation ("what matters here?") is at most `--max-weight-std`: where it is
  large, who is right depends on the reader.

The kept pairs are written in the row schema (which is TRL's), and `DPOTrainer` trains the policy on them. About a
minute on 2 cores, after the reward model.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sampling import sample
from toy_policy import (
    MAX_TOKENS,
    build_tokenizer,
    gold_score,
    pretrained_policy,
    prompts,
    sentences_of,
    train_reward_model,
)

from vrm.core.predictive import log_probabilities, margin_moments
from vrm.data.schema import Judgment
from vrm.inference.engine import RewardEngine


@dataclass(frozen=True)
class Candidate:
    """A pair that a model has judged, the preferred completion first.

    Attributes:
        row: `prompt`, `chosen`, `rejected` and `domain`.
        probability: that `chosen` is preferred, by (8) over the fixed draws of the weights.
        weight_std: square root of the weights' part of the margin's variance (11).
    """

    row: dict[str, Any]
    probability: float
    weight_std: float


def best_against_worst(
    engine: RewardEngine, rows: list[dict[str, Any]], completions: list[list[str]]
) -> Iterator[Candidate]:
    """For each prompt, the pair of the candidates with the highest and the lowest mean reward."""
    judgments = [
        Judgment(row["prompt"], [[{"role": "assistant", "content": text}] for text in texts])
        for row, texts in zip(rows, completions, strict=True)
    ]
    for batch in engine.stream(judgments):
        rewards = batch.moments.mean
        for index, judgment in enumerate(batch.judgments):
            best, worst = int(rewards[index].argmax()), int(rewards[index].argmin())
            row = batch.row(index).posteriors
            first, second = row.features.completion(best), row.features.completion(worst)
            log_probability, _ = log_probabilities(row.weights, first, second, row.decoder)
            moments = margin_moments(row.weights, first, second, row.decoder)
            pair = {
                "prompt": judgment.prompt,
                "chosen": judgment.completions[best],
                "rejected": judgment.completions[worst],
            }
            yield Candidate(pair, float(log_probability.exp()), float(moments.weight_variance.sqrt()))


def mean_gold(tokenizer: Any, rows: list[dict[str, Any]], completions: list[list[str]]) -> float:
    """Mean planted score of completions."""
    scores = [
        gold_score(row["domain"], sentences_of(tokenizer, text))
        for row, texts in zip(rows, completions, strict=True)
        for text in texts
    ]
    return sum(scores) / len(scores)


def agreement(tokenizer: Any, domains: dict[str, str], pairs: list[Candidate]) -> float:
    """Share of pairs whose chosen side has the higher planted score; ties count half."""
    credit = 0.0
    for pair in pairs:
        domain = domains[pair.row["prompt"][0]["content"]]
        chosen, rejected = (
            gold_score(domain, sentences_of(tokenizer, pair.row[side][0]["content"])) for side in ("chosen", "rejected")
        )
        credit += 0.5 if chosen == rejected else float(chosen > rejected)
    return credit / max(len(pairs), 1)


def quartiles(values: list[float]) -> str:
    """What thresholds are chosen by."""
    low, middle, high = torch.quantile(torch.tensor(values), torch.tensor([0.25, 0.5, 0.75])).tolist()
    return f"a quarter below {low:.3f}, half below {middle:.3f}, a quarter above {high:.3f}"


def train_dpo(policy: Any, tokenizer: Any, rows: list[dict[str, Any]], options: argparse.Namespace) -> Any:
    """The policy after DPO on these rows."""
    from datasets import Dataset
    from transformers import ProgressCallback
    from trl import DPOConfig, DPOTrainer

    # By path: the reference model is loaded from it too.
    path = options.output / "policy"
    policy.save_pretrained(path)
    tokenizer.save_pretrained(path)
    trainer = DPOTrainer(
        model=str(path),
        args=DPOConfig(
            output_dir=str(options.output / "trl"),
            seed=options.seed,
            num_train_epochs=options.epochs,
            per_device_train_batch_size=16,
            learning_rate=5e-4,
            beta=0.1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.remove_callback(ProgressCallback)
    trainer.train()
    return trainer.model


def parse_arguments() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/selected-pairs"))
    parser.add_argument("--model", type=Path, help="a trained VRM; without it one is trained on the built-in corpus")
    parser.add_argument("--min-probability", type=float, default=0.75)
    parser.add_argument("--max-weight-std", type=float, default=0.06, help="in units of reward, which are log-odds")
    parser.add_argument("--candidates", type=int, default=8, help="of each prompt")
    parser.add_argument("--epochs", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="few rows and steps, to see that it runs")
    return parser.parse_args()


def main() -> None:
    """Sample, select, write, train, and compare the policy before and after."""
    options = parse_arguments()
    quick = {"epochs": 1, "rows": 64} if options.quick else {}
    model = options.model or train_reward_model("vrm", options.output, options.seed, **quick)
    engine = RewardEngine.from_pretrained(model)
    rows = prompts(options.seed, ("dev",) if options.quick else ("dev", "test", "test_reversed"))
    tokenizer = build_tokenizer(rows)
    policy = pretrained_policy(rows, tokenizer, options.seed, steps=3 if options.quick else 300)
    asked = [row["prompt"] for row in rows]
    before = sample(policy, tokenizer, asked, options.candidates, MAX_TOKENS, options.seed)

    pairs = list(best_against_worst(engine, rows, before))
    kept = [
        pair
        for pair in pairs
        if pair.probability >= options.min_probability and pair.weight_std <= options.max_weight_std
    ]
    print(f"probabilities of all pairs: {quartiles([pair.probability for pair in pairs])}")
    print(f"standard deviations by the weights: {quartiles([pair.weight_std for pair in pairs])}")
    domains = {row["prompt"][0]["content"]: row["domain"] for row in rows}
    print(f"{len(kept)} of {len(pairs)} pairs kept; the planted score agrees with", end=" ")
    print(f"{agreement(tokenizer, domains, pairs):.0%} of all and {agreement(tokenizer, domains, kept):.0%} of these")
    if not kept:
        raise SystemExit("no pair is left: lower --min-probability or raise --max-weight-std")
    options.output.mkdir(parents=True, exist_ok=True)
    target = options.output / "pairs.jsonl"
    lines = [json.dumps({**pair.row, "preference": pair.probability}, ensure_ascii=False) for pair in kept]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {target}")

    policy = train_dpo(policy, tokenizer, [pair.row for pair in kept], options)
    after = sample(policy, tokenizer, asked, options.candidates, MAX_TOKENS, options.seed + 1)
    print(f"planted score of the policy: {mean_gold(tokenizer, rows, before):.2f} before,", end=" ")
    print(f"{mean_gold(tokenizer, rows, after):.2f} after DPO")


if __name__ == "__main__":
    main()
