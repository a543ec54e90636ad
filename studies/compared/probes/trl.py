"""TRL's `RewardTrainer`, tried on a CPU."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

from studies.compared.probing import (
    Cell,
    Probe,
    Workshop,
    absent,
    beyond_pairs,
    defined,
    epoch,
    looked,
    ran,
    run,
    tokens,
    untried,
)

SETTINGS = {"use_cpu": True, "bf16": False, "report_to": [], "save_strategy": "no", "logging_steps": 1, "seed": 0}
LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "SEQ_CLS"}
SOURCE = "names defined in the package's source"
FIELDS = "fields of `RewardConfig`, arguments of `RewardTrainer`"


def trainer(workshop: Workshop, rows: list[dict[str, Any]], steps: int = 2, model: Any = None, **options: Any) -> Any:
    """A reward trainer on rows."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    arguments = {"output_dir": str(workshop.work / "run"), "per_device_train_batch_size": 8, "max_steps": steps}
    config = RewardConfig(**SETTINGS, **arguments)
    dataset = Dataset.from_list(rows)
    return RewardTrainer(model=model or workshop.backbone, args=config, train_dataset=dataset, **options)


def losses(trained: Any) -> list[float]:
    """Losses of the steps."""
    return [entry["loss"] for entry in trained.state.log_history if "loss" in entry]


def pairs(workshop: Workshop) -> Cell:
    tried = trainer(workshop, workshop.rows(), steps=8)
    tried.train()
    assert len(losses(tried)) == 8
    assert all(math.isfinite(loss) for loss in losses(tried))
    workshop.kept["model"] = str(workshop.work / "model")
    workshop.kept["trainer"] = tried
    tried.save_model(workshop.kept["model"])
    return ran("yes", "`RewardTrainer` on 64 pairs, 8 steps, every loss finite")


def first_loss(workshop: Workshop, rows: list[dict[str, Any]]) -> float:
    """The loss of the first step, which depends on rows and seed alone."""
    tried = trainer(workshop, rows, steps=1)
    tried.train()
    return losses(tried)[0]


def column(workshop: Workshop, **values: Any) -> Cell:
    """Whether a column changes the first loss."""
    if "plain" not in workshop.kept:
        workshop.kept["plain"] = first_loss(workshop, workshop.rows())
    name = next(iter(values))
    found = first_loss(workshop, [row | values for row in workshop.rows()])
    before = workshop.kept["plain"]
    used = not math.isclose(found, before, rel_tol=1e-6)
    columns = workshop.kept["trainer"]._signature_columns
    how = f"first loss with a column `{name}` {found:.4f}, without {before:.4f}; its columns: {', '.join(columns)}"
    return ran("yes" if used else "no", how)


def objectives(workshop: Workshop) -> Cell:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(workshop.backbone, num_labels=3)
    try:
        trainer(workshop, workshop.rows(), model=model).train()
    except (RuntimeError, ValueError) as error:
        return ran("no: one number", f"a model of three labels stops with: {str(error).splitlines()[0][:80]}")
    raise AssertionError("a model of three labels trains: look at what its loss means")


def uncertainty(workshop: Workshop) -> Cell:
    import torch

    model = workshop.kept["trainer"].model.eval()
    with torch.no_grad():
        output = model(torch.tensor([[5, 6, 7]]))
    return ran("no", f"what the trained model gives: {', '.join(name for name in output if output[name] is not None)}")


def calibration(workshop: Workshop) -> Cell:
    from datasets import Dataset

    tried = trainer(
        workshop, workshop.rows(), model=workshop.kept["model"], eval_dataset=Dataset.from_list(workshop.rows("test"))
    )
    names = sorted(name.removeprefix("eval_") for name in tried.evaluate())
    cell = absent(["ece", "calib", "brier"], names, f"`RewardTrainer.evaluate()`: {', '.join(names)}")
    return ran(cell.says, cell.how)


def names() -> list[str]:
    """Fields of the configuration and arguments of the trainer."""
    from trl import RewardConfig, RewardTrainer

    fields = {field.name for field in dataclasses.fields(RewardConfig)}
    return sorted(fields | set(inspect.signature(RewardTrainer).parameters))


def public() -> list[str]:
    """Public names of the package."""
    import trl

    return [name for name in dir(trl) if not name.startswith("_")]


def commands() -> list[str]:
    """Commands of `trl`."""
    command = [str(Path(sys.executable).parent / "trl"), "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return text[text.index("{") + 1 : text.index("}")].split(",")


def full(workshop: Workshop) -> Cell:
    model = workshop.kept["trainer"].model
    assert all(parameter.requires_grad for parameter in model.parameters())
    return ran("yes", "every parameter of the run on pairs was trainable")


def lora(workshop: Workshop) -> Cell:
    from peft import LoraConfig

    tried = trainer(workshop, workshop.rows(), peft_config=LoraConfig(**LORA))
    tried.train()
    trained = sum(parameter.numel() for parameter in tried.model.parameters() if parameter.requires_grad)
    return ran("yes", f"`peft_config`, two steps, {trained:,} trainable parameters")


def frozen(workshop: Workshop) -> Cell:
    from transformers import AutoModelForSequenceClassification

    absent(["frozen", "freeze", "feature", "precompute"], names(), FIELDS)
    model = AutoModelForSequenceClassification.from_pretrained(workshop.backbone, num_labels=1)
    model.base_model.requires_grad_(False)
    calls: list[int] = []
    model.base_model.register_forward_hook(lambda *_: calls.append(1))
    trainer(workshop, workshop.rows(), model=model, steps=16).train()
    how = f"frozen by hand, two epochs of 8 batches: the backbone ran {len(calls)} times; no such option among {FIELDS}"
    return ran("in part: frozen by hand, computed every step", how)


def packed(workshop: Workshop) -> Cell:
    absent(["packing", "padding_free", "packed"], names(), FIELDS)
    taken = epoch(lambda epochs: trainer(workshop, workshop.rows(), steps=8 * epochs).train())
    how = f"64 pairs of {tokens(workshop)[1]:,} tokens took {taken:,} positions; no such option among {FIELDS}"
    return ran("no", how)


def quantized(workshop: Workshop) -> Cell:
    assert "quantization_config" in names()
    return untried("needs a GPU", "`RewardTrainer` has the argument `quantization_config`")


PROCESSES = """
import json, sys
from pathlib import Path
from studies.compared.probes import trl
from studies.compared.probing import Workshop

workshop = Workshop(Path(sys.argv[1]), Path(sys.argv[2]))
tried = trl.trainer(workshop, workshop.rows())
tried.train()
if tried.accelerator.is_main_process:
    (workshop.work / "processes.json").write_text(json.dumps([tried.accelerator.num_processes, trl.losses(tried)]))
"""


def processes(workshop: Workshop) -> Cell:
    script = workshop.work / "processes.py"
    script.write_text(PROCESSES, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    subprocess.run([*command, str(workshop.material), str(workshop.work)], check=True, capture_output=True, timeout=300)
    count, found = json.loads((workshop.work / "processes.json").read_text(encoding="utf-8"))
    assert count == 2
    return ran(
        "yes: 2 on a CPU", f"`torchrun --nproc_per_node 2`, losses {found[0]:.3f} and {found[1]:.3f}; no GPU was tried"
    )


def policies(workshop: Workshop) -> Cell:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    options = {"per_device_train_batch_size": 4, "num_generations": 4, "max_completion_length": 8, "max_steps": 1}
    tried = GRPOTrainer(
        model=workshop.backbone,
        reward_funcs=workshop.kept["model"],
        args=GRPOConfig(output_dir=str(workshop.work / "grpo"), **SETTINGS, **options),
        train_dataset=Dataset.from_list([{"prompt": row["prompt"]} for row in workshop.rows()[:8]]),
    )
    tried.train()
    workshop.kept["grpo"] = tried.state.log_history[0]["reward"]
    found = sorted(name.removesuffix("Trainer") for name in public() if name.endswith("Trainer"))
    return ran(
        f"yes: {', '.join(name for name in found if name not in ('Reward', 'SFT'))}",
        "`GRPOTrainer`, one step, on the reward model of this run; the others are its public trainers",
    )


def trainers(workshop: Workshop) -> Cell:
    assert math.isfinite(workshop.kept["grpo"])
    return ran(
        "yes: its own; others that load a classifier",
        f"`GRPOTrainer(reward_funcs=MODEL)`, mean reward {workshop.kept['grpo']:.3f}",
    )


def server(workshop: Workshop) -> Cell:
    found = commands()
    assert [name for name in found if "serve" in name] == ["vllm-serve"]
    return looked("no: `vllm-serve` is for policies", f"`trl --help`: {', '.join(found)}")


LOAD = """
import sys, json, torch
from transformers import AutoModelForSequenceClassification
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1])
with torch.no_grad():
    reward = model(torch.tensor([[5, 6, 7]])).logits.item()
print(json.dumps([reward, "trl" in sys.modules]))
"""


def checkpoint(workshop: Workshop) -> Cell:
    command = [sys.executable, "-c", LOAD, workshop.kept["model"]]
    reward, has_trl = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert math.isfinite(reward)
    assert not has_trl
    return ran("yes", "`AutoModelForSequenceClassification.from_pretrained`, without TRL")


def others(workshop: Workshop) -> Cell:
    from datasets import Dataset

    tried = trainer(
        workshop, workshop.rows(), model=workshop.kept["model"], eval_dataset=Dataset.from_list(workshop.rows("test"))
    )
    found = tried.evaluate()["eval_accuracy"]
    return ran("yes: accuracy on pairs", f"`RewardTrainer.evaluate()` on 32 pairs of a saved model: {found:.2f}")


PROBES: dict[str, Probe] = {
    "pairs": pairs,
    "margins": lambda workshop: column(workshop, margin=2.0),
    **beyond_pairs(column),
    "objectives": objectives,
    "uncertainty": uncertainty,
    "calibration": calibration,
    "explains": lambda _: absent(["explain", "saliency"], defined("trl"), SOURCE),
    "length": lambda _: absent(["length_control", "length_pen", "length_bias", "bias_", "style"], names(), FIELDS),
    "steering": lambda _: absent(["steer", "emphas"], defined("trl"), SOURCE),
    "full": full,
    "lora": lora,
    "frozen": frozen,
    "packed": packed,
    "quantized": quantized,
    "processes": processes,
    "cpu": lambda _: ran("yes", "all runs of this column"),
    "benchmarks": lambda _: absent(["bench"], [*commands(), *defined("trl")], f"`trl --help`, {SOURCE}"),
    "judges": lambda _: absent(["judge"], defined("trl"), SOURCE),
    "policies": policies,
    "trainers": trainers,
    "asks": lambda _: looked("yes: `vrm.integrations.trl`", "tried in the column of vrm"),
    "server": server,
    "checkpoint": checkpoint,
    "others": others,
}

if __name__ == "__main__":
    run(PROBES, ("trl", "transformers", "torch", "peft", "accelerate"))
