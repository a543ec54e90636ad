"""Close the loop on a chat model: GRPO with LoRA against a VRM, watched by another reward model that it never sees.

    python examples/grpo_chat_model.py --rewards bt=runs/bt/model gated=runs/gated/model --judge runs/judge/model \
        --prompts prompts.jsonl --output runs/chat-loop

Each reward is optimized in a run of its own, from the same policy, on the same prompts, with the same seed. Logged by
step are the reward, its objectives, the judge, length, repetition and the KL to the start. Before that, the policy
writes 16 answers to prompts that are held out, and the best of n of them by each reward is judged. `--policy` takes any
causal language model with a chat template; on a GPU nothing else changes but what `--help` lists.

Writes `chat_loop.json` and `chat_loop.png`, anew after every run. A run that was stopped goes on where it was; one that
is there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from chat_loop_view import draw, report
from sampling import Messages, sample
from transformers import TrainerCallback

from vrm.data.load import load_judgments
from vrm.inference import ExtractionOptions, RewardEngine
from vrm.integrations.trl import RewardFunction, objective_functions, reward_function
from vrm.metrics import best_of_n_curve, bootstrap_mean, compare_best_of_n
from vrm.model.embedded import resolve_backbone

START, JUDGE = "start", "judge"
"""Names of the policy before training, and of the reward model that watches."""

DOCUMENT = "chat_loop.json"


@dataclass(frozen=True)
class Judged:
    """Answers to the held-out prompts, one list a prompt, and what was measured on them.

    Attributes:
        answers: texts.
        rewards: by name of a reward, `judge` among them, as `answers`.
        length: mean tokens.
        repeated: mean share of repeated word triples.
    """

    answers: list[list[str]]
    rewards: dict[str, list[list[float]]]
    length: float
    repeated: float


def repeated_share(text: str) -> float:
    """Share of a text's word triples that were there before; 0 for fewer than three words."""
    words = text.lower().split()
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(triples)) / len(triples) if triples else 0.0


def repetition(completions: list[Messages], **_: Any) -> list[float]:
    """`repeated_share` of completions, with TRL's signature, to be watched and not rewarded."""
    return [repeated_share(completion[0]["content"]) for completion in completions]


def questions(options: argparse.Namespace, tokenizer: Any) -> tuple[list[Messages], list[Messages]]:
    """Prompts to train on, and those held out: each once, short enough, of the categories asked for, shuffled."""
    rows = load_judgments([str(path) for path in options.prompts], on_bad_rows="skip").judgments
    found: dict[str, Messages] = {}
    for row in rows:
        messages = [{"role": "user", "content": row.prompt}] if isinstance(row.prompt, str) else row.prompt
        if options.ask:
            messages = [
                *messages[:-1],
                {**messages[-1], "content": f"{messages[-1]['content'].rstrip()} {options.ask}"},
            ]
        wanted = not options.categories or str(row.category).startswith(tuple(options.categories))
        rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        if wanted and len(tokenizer(rendered)["input_ids"]) <= options.prompt_tokens:
            found.setdefault(rendered, messages)
    prompts = list(found.values())
    if len(prompts) < options.held_out + options.prompts_a_step:
        raise SystemExit(
            f"{len(prompts)} prompts of at most {options.prompt_tokens} tokens are left, and --held-out "
            f"{options.held_out} and --prompts-a-step {options.prompts_a_step} need more: raise --prompt-tokens, or "
            "give more with --prompts or --categories"
        )
    random.Random(options.seed).shuffle(prompts)
    return prompts[options.held_out :], prompts[: options.held_out]


def optimize(functions: Sequence[Any], prompts: list[Messages], options: argparse.Namespace, place: Path) -> Any:
    """The trainer after GRPO with LoRA: the first function is rewarded, others are watched; resumes what is there."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, ProgressCallback
    from transformers.trainer_utils import get_last_checkpoint
    from trl import GRPOConfig, GRPOTrainer

    trainer = GRPOTrainer(
        model=options.policy,
        reward_funcs=list(functions),
        args=GRPOConfig(
            output_dir=str(place),
            seed=options.seed,
            max_steps=options.steps,
            per_device_train_batch_size=options.prompts_a_step * options.generations,
            num_generations=options.generations,
            max_completion_length=options.answer_tokens,
            learning_rate=options.learning_rate,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=min(5, options.steps),
            beta=options.beta,  # above 0 for the KL to be logged
            reward_weights=[1.0] + [0.0] * (len(functions) - 1),
            model_init_kwargs={"dtype": options.dtype},
            bf16=options.dtype == "bfloat16",
            use_cpu=not torch.cuda.is_available(),
            gradient_checkpointing=False,
            logging_steps=1,
            save_steps=10,
            save_total_limit=1,
            report_to=[],
        ),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
        processing_class=AutoTokenizer.from_pretrained(options.policy, padding_side="left"),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM", r=options.rank, lora_alpha=2 * options.rank, target_modules="all-linear"
        ),
    )
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(OneLineAStep(functions[0].__name__))
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(place)) if place.is_dir() else None)
    return trainer


class OneLineAStep(TrainerCallback):
    """Progress: what was measured at every step, to stderr."""

    def __init__(self, label: str) -> None:
        self.label = label

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """A step is done."""
        if f"rewards/{self.label}/mean" in logs:
            names = (f"rewards/{self.label}/mean", f"rewards/{JUDGE}/mean", "completions/mean_length", "kl")
            reward, judge, length, kl = (logs[name] for name in names)
            print(
                f"{self.label}, step {state.global_step} of {state.max_steps}: reward {reward:.2f}, "
                f"judge {judge:.2f}, {length:.0f} tokens, KL {kl * length:.2f} nats",
                file=sys.stderr, flush=True,
            )  # fmt: skip


def by_step(trainer: Any, label: str, objectives: Sequence[str]) -> dict[str, Any]:
    """What TRL logged at every step, a mean over its completions: {measure: one value a step}."""
    names = {
        "reward": f"rewards/{label}/mean", JUDGE: f"rewards/{JUDGE}/mean", "repeated": "rewards/repetition/mean",
        "length": "completions/mean_length", "cut": "completions/clipped_ratio", "kl_a_token": "kl",
    }  # fmt: skip
    logs = [entry for entry in trainer.state.log_history if names["reward"] in entry]
    series: dict[str, Any] = {name: [entry[key] for entry in logs] for name, key in names.items()}
    series["kl"] = [kl * length for kl, length in zip(series["kl_a_token"], series["length"], strict=True)]
    series["objectives"] = {name: [entry[f"rewards/{name}/mean"] for entry in logs] for name in objectives}
    return series


def answers_of(
    policy: Any, tokenizer: Any, prompts: list[Messages], count: int, options: argparse.Namespace
) -> list[list[str]]:
    """`count` answers to each prompt."""
    with torch.autocast(policy.device.type, dtype=torch.bfloat16, enabled=options.dtype == "bfloat16"):
        return sample(policy, tokenizer, prompts, count, options.answer_tokens, options.seed, batch=32)


def judged(
    answers: list[list[str]], prompts: list[Messages], tokenizer: Any, functions: dict[str, RewardFunction]
) -> Judged:
    """What every reward model says of the answers."""
    texts = [text for row in answers for text in row]
    asked = [prompt for prompt, row in zip(prompts, answers, strict=True) for _ in row]
    completions: list[Messages] = [[{"role": "assistant", "content": text}] for text in texts]
    rewards = {}
    for name, function in functions.items():
        values = iter(float(value or 0.0) for value in function(asked, completions))
        rewards[name] = [[next(values) for _ in row] for row in answers]
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    repeated = [repeated_share(text) for text in texts]
    return Judged(answers, rewards, sum(lengths) / len(texts), sum(repeated) / len(texts))


def best_of_n(start: Judged, labels: Sequence[str]) -> dict[str, Any]:
    """The judge's opinion of the best of n answers of the start, by each reward, by length, by itself and blindly."""
    picks: dict[str, list[list[float]]] = {label: start.rewards[label] for label in labels}
    picks["longest"] = [[float(len(text)) for text in row] for row in start.answers]
    found = compare_best_of_n(picks, start.rewards[JUDGE])
    curves = {name: [asdict(point) for point in curve.gold] for name, curve in found.curves.items()}
    gains = {}
    for name, rows in picks.items():
        each = [best_of_n_curve(own, gold) for own, gold in zip(rows, start.rewards[JUDGE], strict=True)]
        gains[name] = asdict(bootstrap_mean([curve[-1] - curve[0] for curve in each]))
    return {"n": found.n, "policy_kl": found.policy_kl, "curves": curves, "gains": gains}


def change(before: Judged, after: Judged) -> dict[str, Any]:
    """By how much every reward's mean over the answers of a prompt has risen, with an interval over prompts."""
    means = {
        name: [sum(new) / len(new) - sum(old) / len(old) for old, new in zip(before.rewards[name], values, strict=True)]
        for name, values in after.rewards.items()
    }
    return {name: asdict(bootstrap_mean(values)) for name, values in means.items()}


def parse_arguments() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--rewards", nargs="+", required=True, metavar="NAME=MODEL", help="reward models to optimize, one a run")
    add("--judge", required=True, help="a reward model trained on other data, which only watches")
    add("--prompts", type=Path, nargs="+", required=True, help="files with a prompt a row, such as preference data")
    add("--categories", nargs="*", default=[], help="take rows whose category begins so [default: all]")
    add("--ask", help="words that are added to every prompt, such as 'Answer in one sentence.'")
    add("--policy", default="embedded-decoder", help="a chat model: a directory, or a name of the Hub")
    add("--output", type=Path, default=Path("runs/chat-loop"))
    add("--steps", type=int, default=40, help="of GRPO; 0 for best-of-n alone")
    add("--prompts-a-step", type=int, default=4)
    add("--generations", type=int, default=8, help="completions of a prompt in a step")
    add("--prompt-tokens", type=int, default=80, help="longer prompts are left out")
    add("--answer-tokens", type=int, default=64, help="where an answer is cut")
    add("--held-out", type=int, default=24, help="prompts for best-of-n and for the comparison afterwards")
    add("--best-of", type=int, default=16, help="answers to a held-out prompt before training")
    add("--afterwards", type=int, default=4, help="and after it")
    add("--learning-rate", type=float, default=2e-4)
    add("--rank", type=int, default=16, help="of the adapters")
    add("--beta", type=float, default=0.01, help="price of the KL to the start")
    add("--kappa", type=float, help="take so many standard deviations off the reward; heads with uncertainty alone")
    add("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the policy's weights")
    add("--seed", type=int, default=0)
    options = parser.parse_args()
    options.rewards = dict(pair.partition("=")[::2] for pair in options.rewards)
    if "" in options.rewards.values() or {START, JUDGE, "longest"} & set(options.rewards):
        parser.error("--rewards takes NAME=MODEL, and the names start, judge and longest are taken")
    options.policy = resolve_backbone(options.policy)
    return options


def load_rewards(options: argparse.Namespace, device: str) -> dict[str, tuple[RewardEngine, RewardFunction]]:
    """By name, the judge last: the engine of a reward model, and its reward in standard deviations."""
    loaded = {}
    for name, model in {**options.rewards, JUDGE: options.judge}.items():
        engine = RewardEngine.from_pretrained(model, device=device, options=ExtractionOptions(precision="auto"))
        kappa = None if name == JUDGE else options.kappa
        loaded[name] = engine, reward_function(engine, kappa=kappa, reward_scale="standardized", name=name)
    return loaded


def read_document(options: argparse.Namespace) -> dict[str, Any]:
    """What an earlier call with the same options has left, or a new document."""
    settings = {name: str(value) for name, value in vars(options).items() if name not in ("rewards", "output")}
    target = options.output / DOCUMENT
    if not target.exists():
        return {"settings": settings, "runs": {}}
    document: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    if document["settings"] != settings:
        raise SystemExit(f"{target} was written with other options: give another --output")
    return document


def write(document: dict[str, Any], directory: Path) -> None:
    """The document and its plot."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / DOCUMENT).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(document, directory / "chat_loop.png")


def main() -> None:
    """Judge the start's answers, run GRPO against each reward, write figures and plot after every run."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = parse_arguments()
    document = read_document(options)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = load_rewards(options, device)
    functions = {name: function for name, (_, function) in loaded.items()}
    tokenizer = AutoTokenizer.from_pretrained(options.policy, padding_side="left")
    train, held_out = questions(options, tokenizer)
    document["prompts"] = {"train": len(train), "held_out": [prompt[-1]["content"] for prompt in held_out]}
    if START not in document:
        policy = AutoModelForCausalLM.from_pretrained(options.policy, dtype=options.dtype).to(device)
        document[START] = {"answers": answers_of(policy, tokenizer, held_out, options.best_of, options)}
    start = judged(document[START]["answers"], held_out, tokenizer, functions)
    document[START] = asdict(start)
    document["best_of_n"] = best_of_n(start, [*options.rewards])
    write(document, options.output)
    for label in options.rewards:
        if label in document["runs"] or not options.steps:
            continue
        engine, reward = loaded[label]
        objectives = objective_functions(engine) if len(engine.objectives) > 1 else []
        place = options.output / label
        trainer = optimize([reward, functions[JUDGE], repetition, *objectives], train, options, place)
        trainer.save_model(str(place / "adapter"))
        answers = answers_of(trainer.model, tokenizer, held_out, options.afterwards, options)
        after = judged(answers, held_out, tokenizer, functions)
        steps = by_step(trainer, label, [function.__name__ for function in objectives])
        document["runs"][label] = {"steps": steps, "after": asdict(after), "change": change(start, after)}
        write(document, options.output)
    print(report(document))
    print(f"wrote {options.output / DOCUMENT} and chat_loop.png")


if __name__ == "__main__":
    main()
