"""OpenRLHF. Its training needs flash-attn and CUDA; what reads data and asks for rewards runs without them."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from studies.compared.probing import (
    Cell,
    Probe,
    Workshop,
    absent,
    beyond_pairs,
    defined,
    looked,
    options,
    ran,
    run,
    untried,
)

SOURCE = "names defined in the package's source"
STAND_IN = {
    "__init__.py": "",
    "bert_padding.py": "index_first_axis = pad_input = rearrange = unpad_input = None\n",
    "utils/__init__.py": "",
    "utils/distributed.py": "all_gather = None\n",
}
"""Names that OpenRLHF imports of flash-attn, which is not built without CUDA; none of them is called here."""


def folder() -> Path:
    """Of the installed package."""
    spec = importlib.util.find_spec("openrlhf")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def train_rm(workshop: Workshop, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Its command that trains reward models, with the stand-in for flash-attn on the path."""
    place = workshop.work / "stand_in" / "flash_attn"
    for name, text in STAND_IN.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")
    path = os.pathsep.join([str(place.parent), os.environ["PYTHONPATH"]])
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29653"}
    environment = {**os.environ, "PYTHONPATH": path, "DS_ACCELERATOR": "cpu", **alone}
    command = [sys.executable, "-m", "openrlhf.cli.train_rm", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def training_options() -> list[str]:
    """Options of `train_rm`, from its source."""
    return options(folder() / "cli" / "train_rm.py")


def option(says: str, *names: str) -> Probe:
    """A probe that finds options of `train_rm`."""

    def found(_: Workshop) -> Cell:
        assert not set(names) - set(training_options()), names
        return looked(says, f"`train_rm` has {', '.join(f'`{name}`' for name in names)}; training needs a GPU")

    return found


def no_option(*words: str) -> Probe:
    """A probe that looks for words among the options of `train_rm`."""
    return lambda _: absent(words, training_options(), "options of `train_rm`")


def no_name(*words: str) -> Probe:
    """A probe that looks for words in the source."""
    return lambda _: absent(words, defined("openrlhf"), SOURCE)


def read(workshop: Workshop, **values: Any) -> list[Any]:
    """What its data set makes of the pairs, with these columns beside."""
    from datasets import Dataset
    from openrlhf.datasets import RewardDataset
    from transformers import AutoTokenizer

    data = SimpleNamespace(prompt_key="prompt", chosen_key="chosen", rejected_key="rejected", apply_chat_template=True)
    strategy = SimpleNamespace(args=SimpleNamespace(data=data))
    tokenizer = AutoTokenizer.from_pretrained(workshop.backbone)
    rows = Dataset.from_list([row | values for row in workshop.rows()])
    made = RewardDataset(rows, tokenizer, 256, strategy, num_processors=1)
    return [
        [part.tolist() if hasattr(part, "tolist") else part for part in made[number]] for number in range(len(made))
    ]


def pairs(workshop: Workshop) -> Cell:
    items = workshop.kept["items"] = read(workshop)
    assert len(items) == 64
    return looked("yes", "`RewardDataset` read 64 pairs; training needs a GPU")


def margins(workshop: Workshop) -> Cell:
    assert "--model.margin_loss_enable" in training_options()
    assert {item[-1] for item in read(workshop, margin=2.0)} == {2.0}
    return looked("yes", "`RewardDataset` read the column `margin`, `train_rm` has `--model.margin_loss_enable`")


def column(workshop: Workshop, **values: Any) -> Cell:
    """Whether a column changes what its data set gives."""
    used = read(workshop, **values) != workshop.kept["items"]
    how = f"`RewardDataset` gives {'other' if used else 'the same'} items with a column `{next(iter(values))}`"
    return ran("yes" if used else "no", how)


def length(_: Workshop) -> Cell:
    cell = absent(["length_control", "length_pen", "style", "bias"], training_options(), "options of `train_rm`")
    names = [name for name in defined("openrlhf", "trainer/ppo_utils/length_penalty.py") if "penalty" in name]
    assert names
    return looked("in part: a penalty in PPO", f"{cell.how}; PPO has {', '.join(names)}")


def cpu(workshop: Workshop) -> Cell:
    shown = train_rm(workshop, "--help")
    assert shown.returncode == 0, shown.stderr[-300:]
    data = ["--data.dataset", str(workshop.material / "train.jsonl"), "--data.apply_chat_template"]
    start = ["--model.model_name_or_path", workshop.backbone, "--ds.attn_implementation", "eager"]
    tried = train_rm(workshop, *start, *data, "--data.prompt_key", "prompt", "--ds.zero_stage", "0")
    assert tried.returncode
    assert "cuda" in tried.stderr
    last = [line for line in tried.stderr.splitlines() if line.strip()][-1]
    return ran("no", f"`train_rm` imports flash-attn; with a stand-in for it, it stops with: {last[:90]}")


def policies(_: Workshop) -> Cell:
    found = sorted(path.stem for path in (folder() / "cli").glob("train_*.py"))
    assert "train_ppo_ray" in found
    choices = options(folder() / "cli" / "train_ppo_ray.py")
    assert "--algo.advantage.estimator" in choices
    return looked(
        "yes: PPO and relatives, DPO, on Ray and vLLM",
        f"its commands: {', '.join(found)}; `--algo.advantage.estimator`",
    )


def trainers(_: Workshop) -> Cell:
    choices = [name for name in options(folder() / "cli" / "train_ppo_ray.py") if name.startswith("--reward.")]
    assert "--reward.model_name_or_path" in choices
    return looked("yes: its own", f"`train_ppo_ray` has {', '.join(choices)}")


class Engine:
    """A policy that always writes the same tokens, in the place of vLLM."""

    def __init__(self, token_ids: list[int]) -> None:
        self.token_ids = token_ids

    async def generate(self, *_: Any, **__: Any) -> Any:
        """As vLLM's engine answers."""
        output = SimpleNamespace(token_ids=self.token_ids, finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[output])


def asks(workshop: Workshop) -> Cell:
    """Its executor of single turns, which asks a remote reward model after each generation."""
    from openrlhf.utils.agent import SingleTurnAgentExecutor
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(workshop.backbone)
    executor = SingleTurnAgentExecutor(os.environ["VRM_URL"] + "/get_reward")
    sampling = SimpleNamespace(max_tokens=64, logprobs=None)
    rewards = []
    for row in workshop.rows("test")[:4]:
        prompt = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        text = row["chosen"][0]["content"]
        action = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        found = asyncio.run(executor.execute(prompt, "", sampling, 512, tokenizer, Engine(action)))
        assert found["reward"] is not None, "no reward came back"
        assert found["extra_logs"]["reward_std"]
        rewards.append(found["reward"][0])
    assert len(set(rewards)) == 4
    words = ", ".join(f"{reward:.3f}" for reward in rewards)
    return ran(
        "yes: `--reward.remote_url`",
        f"its `SingleTurnAgentExecutor` on `vrm serve`, four prompts: {words}; docs/how-to/use-in-openrlhf.md",
    )


def server(_: Workshop) -> Cell:
    assert (folder() / "cli" / "serve_rm.py").exists()
    return looked("yes: `serve_rm`", "`openrlhf.cli.serve_rm` is there, and needs a GPU")


PROBES: dict[str, Probe] = {
    "pairs": pairs,
    "margins": margins,
    **beyond_pairs(column),
    "objectives": no_option("objective", "gating", "num_labels"),
    "uncertainty": no_name("uncertain", "ensemble", "bayes"),
    "calibration": no_name("calib", "brier"),
    "explains": no_name("explain", "saliency"),
    "length": length,
    "steering": no_name("steer", "emphas"),
    "full": option("yes", "--ds.zero_stage", "--adam.lr"),
    "lora": option("yes", "--ds.lora.rank", "--ds.lora.target_modules"),
    "frozen": no_option("freeze", "frozen", "feature"),
    "packed": option("yes, on a GPU", "--ds.packing_samples"),
    "quantized": option("yes", "--ds.load_in_4bit"),
    "processes": option(
        "yes: ZeRO, tensor and ring parallel", "--ds.zero_stage", "--ds.tensor_parallel_size", "--ds.ring_attn_size"
    ),
    "cpu": cpu,
    "benchmarks": no_name("bench"),
    "judges": no_name("judge"),
    "policies": policies,
    "trainers": trainers,
    "asks": asks,
    "server": server,
    "checkpoint": lambda _: untried("needs a GPU", "no model was trained"),
    "others": lambda _: untried("needs a GPU", "`serve_rm` takes a model of transformers"),
}

if __name__ == "__main__":
    run(PROBES, ("openrlhf", "deepspeed", "transformers", "torch", "ray"))
