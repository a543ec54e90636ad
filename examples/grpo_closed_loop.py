"""Close the loop: a toy policy under GRPO against reward models that were trained on data with a shortcut.

In the training data the preferred side flatters and pads in four of five pairs. Each run optimizes one reward and
watches two things that it does not see: the gold score, by which the corpus was planted, and the share of sentences
that are flattery or padding.

    python examples/grpo_closed_loop.py --seeds 0 1 2 --output runs/closed-loop

writes `closed_loop.json` and `closed_loop.png` there, anew after every seed; a few minutes a seed on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toy_policy import (
    MAX_TOKENS,
    build_tokenizer,
    gold_score,
    pretrained_policy,
    prompts,
    sentences_of,
    shortcut_share,
    train_reward_model,
)

from vrm.integrations.trl import reward_function


@dataclass(frozen=True)
class Proxy:
    """A reward to optimize: a head, and how many standard deviations are taken off its mean."""

    label: str
    head: str
    kappa: float | None = None


PROXIES = (Proxy("bt", "bt"), Proxy("vrm, mean", "vrm"), Proxy("vrm, pessimistic", "vrm", 1.0))
SERIES = {"gold": "gold score", "proxy": "proxy: the reward, standardized", "shortcut": "share of flattery and padding"}


def watchers(tokenizer: Any) -> list[Callable[..., list[float]]]:
    """Reward functions of weight 0: TRL logs them and learns nothing from them."""

    def gold(completions: list[Any], domain: list[str], **_: Any) -> list[float]:
        texts = [completion[0]["content"] for completion in completions]
        return [gold_score(name, sentences_of(tokenizer, text)) for name, text in zip(domain, texts, strict=True)]

    def shortcut(completions: list[Any], **_: Any) -> list[float]:
        return [shortcut_share(sentences_of(tokenizer, completion[0]["content"])) for completion in completions]

    return [gold, shortcut]


def optimize(proxy: Proxy, model: Path, rows: list[dict[str, Any]], seed: int, options: argparse.Namespace) -> Any:
    """One GRPO run; for each of `SERIES` its value at every step, a mean over the step's completions."""
    from datasets import Dataset
    from transformers import ProgressCallback
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = build_tokenizer(rows)
    policy = pretrained_policy(rows, tokenizer, seed, options.sft_steps)
    trainer = GRPOTrainer(
        model=policy,
        reward_funcs=[
            reward_function(model, kappa=proxy.kappa, reward_scale="standardized", name="proxy"),
            *watchers(tokenizer),
        ],
        args=GRPOConfig(
            output_dir=str(options.output / "trl"),
            seed=seed,
            max_steps=options.steps,
            per_device_train_batch_size=options.batch_size,
            num_generations=8,
            max_completion_length=MAX_TOKENS,
            learning_rate=options.learning_rate,
            lr_scheduler_type="constant",
            beta=0.0,  # nothing holds the policy back: what the reward is worth is the question
            reward_weights=[1.0, 0.0, 0.0],
            logging_steps=1,
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
    logs = [entry for entry in trainer.state.log_history if "rewards/gold/mean" in entry]
    return {name: [entry[f"rewards/{name}/mean"] for entry in logs] for name in SERIES}


def summary(runs: dict[str, list[dict[str, list[float]]]], window: int) -> dict[str, dict[str, Any]]:
    """For each proxy and series: the mean of the first and last steps, and of the best, with its values by seed."""
    table: dict[str, dict[str, Any]] = {}
    for label, seeds in runs.items():
        table[label] = {}
        for name in SERIES:
            smooth = [_smoothed(run[name], window) for run in seeds]
            first, last = ([values[index] for values in smooth] for index in (0, -1))
            table[label][name] = {"first": _mean(first), "last": _mean(last), "last_by_seed": last}
        best = [max(_smoothed(run["gold"], window)) for run in seeds]
        table[label]["gold"]["best"] = _mean(best)
    return table


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _smoothed(values: list[float], window: int) -> list[float]:
    """Running means over `window` steps."""
    return [_mean(values[max(0, end - window) : end]) for end in range(min(window, len(values)), len(values) + 1)]


def draw(runs: dict[str, list[dict[str, list[float]]]], window: int, target: Path) -> None:
    """Three panels over steps: gold, proxy, shortcut; thin lines are seeds, bold ones their mean."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), sharex=True, layout="constrained")
    for axis, (name, title) in zip(axes, SERIES.items(), strict=True):
        for (label, seeds), color in zip(runs.items(), ("#b2182b", "#1f78b4", "#1b7837"), strict=True):
            curves = [_smoothed(run[name], window) for run in seeds]
            steps = range(window, window + len(curves[0]))
            for curve in curves:
                axis.plot(steps, curve, color=color, alpha=0.35, linewidth=0.9)
            means = [_mean(list(values)) for values in zip(*curves, strict=True)]
            axis.plot(steps, means, color=color, label=label, linewidth=2.4)
        axis.set_title(title, fontsize=11)
        axis.set_xlabel("GRPO steps")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(title="optimized reward", frameon=False)
    figure.savefig(target, dpi=130)
    plt.close(figure)


def parse_arguments() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/closed-loop"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of corpus, reward models and policy")
    parser.add_argument("--steps", type=int, default=50, help="of GRPO, each on batch-size completions")
    parser.add_argument("--batch-size", type=int, default=64, help="completions a step, 8 a prompt")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--sft-steps", type=int, default=300)
    parser.add_argument("--quick", action="store_true", help="a few steps on a few rows, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.batch_size, options.sft_steps = 3, 16, 3
    return options


def write(runs: dict[str, list[dict[str, list[float]]]], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Write figures and plot of the seeds that are done; returns the summary."""
    window = min(10, options.steps)
    found = summary(runs, window)
    settings = {key: str(value) for key, value in vars(options).items()}
    document = {"settings": settings, "summary": found, "runs": runs}
    (options.output / "closed_loop.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    draw(runs, window, options.output / "closed_loop.png")
    return found


def main() -> None:
    """Train the reward models, run GRPO against each, write figures and plot."""
    options = parse_arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    quick = {"epochs": 1, "rows": 64} if options.quick else {}
    runs: dict[str, list[dict[str, list[float]]]] = {proxy.label: [] for proxy in PROXIES}
    for seed in options.seeds:
        for proxy in PROXIES:
            model = train_reward_model(proxy.head, options.output, seed, **quick)
            runs[proxy.label].append(optimize(proxy, model, prompts(seed), seed, options))
            print(f"seed {seed}, {proxy.label}: {options.steps} steps", file=sys.stderr)
        found = write(runs, options)
    for label, entries in found.items():
        figures = ", ".join(f"{name} {entry['first']:.2f} -> {entry['last']:.2f}" for name, entry in entries.items())
        print(f"{label:18} {figures}; best gold on the way {entries['gold']['best']:.2f}")
    print(f"wrote {options.output / 'closed_loop.json'} and closed_loop.png")


if __name__ == "__main__":
    main()
