"""RewardUQ's pipelines and trainers, tried on a CPU."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import subprocess
import sys
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
    positions,
    ran,
    run,
    tokens,
    untried,
)

SETTINGS = {"use_cpu": True, "report_to": [], "save_strategy": "no", "logging_steps": 1, "seed": 0}
SOURCE = "names defined in the package's source"
METHODS = "methods"


def dataset(rows: list[dict[str, Any]]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(rows)


def bayesian(workshop: Workshop, rows: list[dict[str, Any]], steps: int, **options: Any) -> Any:
    """The pipeline of the Bayesian linear head, trained."""
    from rewarduq.methods import bayesian_linear_head as method

    output = str(workshop.work / "bayesian")
    model = method.BayesianLinearHeadModelConfig(base_model_name_or_path=workshop.backbone)
    settings = {"output_dir": output, "per_device_train_batch_size": 8, "max_steps": steps, "learning_rate": 1e-2}
    config = method.BayesianLinearHeadTrainerConfig(**SETTINGS | settings | options)
    pipeline = method.BayesianLinearHeadPipeline(model, config)
    pipeline.train(dataset(rows), dataset(workshop.rows("test")))
    return pipeline


def ensemble(workshop: Workshop, rows: list[dict[str, Any]], steps: int, model: Any = None, **options: Any) -> Any:
    """The pipeline of the MLP ensemble, trained."""
    from rewarduq.methods import mlp_head_ensemble as method

    output = str(workshop.work / "ensemble")
    config = method.MLPHeadEnsembleModelConfig(base_model_name_or_path=workshop.backbone, num_heads=4, **(model or {}))
    settings = {"output_dir": output, "per_device_train_batch_size": 8, "max_steps": steps}
    trainer = method.MLPHeadEnsembleTrainerConfig(**SETTINGS | settings | options)
    pipeline = method.MLPHeadEnsemblePipeline(config, trainer)
    pipeline.train(dataset(rows))
    return pipeline


def losses(pipeline: Any) -> list[float]:
    """Losses of the steps."""
    return [entry["loss"] for entry in pipeline.trainer.state.log_history if "loss" in entry]


def pairs(workshop: Workshop) -> Cell:
    pipeline = workshop.kept["bayesian"] = bayesian(workshop, workshop.rows(), 8)
    assert len(losses(pipeline)) == 8
    assert all(math.isfinite(loss) for loss in losses(pipeline))
    return ran("yes", "Bayesian linear head on 64 pairs, 8 steps, every loss finite")


def first_loss(train: Any, workshop: Workshop, rows: list[dict[str, Any]]) -> float:
    import torch

    torch.manual_seed(0)
    return losses(train(workshop, rows, 1))[0]


def margins(workshop: Workshop) -> Cell:
    found = {}
    for name, train in (("MLP ensemble", ensemble), ("Bayesian linear head", bayesian)):
        rows = (workshop.rows(), [row | {"margin": 2.0} for row in workshop.rows()])
        before, after = (first_loss(train, workshop, part) for part in rows)
        found[name] = not math.isclose(before, after, rel_tol=1e-6)
    used = [name for name, changed in found.items() if changed]
    says = "yes" if len(used) == 2 else "no" if not used else f"in part: {used[0]}"
    words = ", ".join(f"{name} {'moves' if changed else 'does not move'}" for name, changed in found.items())
    return ran(says, f"first loss with a column `margin`: {words}")


def column(workshop: Workshop, **values: Any) -> Cell:
    """Whether a column changes the first loss."""
    if "plain" not in workshop.kept:
        workshop.kept["plain"] = first_loss(ensemble, workshop, workshop.rows())
    found = first_loss(ensemble, workshop, [row | values for row in workshop.rows()])
    before = workshop.kept["plain"]
    used = not math.isclose(found, before, rel_tol=1e-6)
    how = f"MLP ensemble: first loss with a column `{next(iter(values))}` {found:.4f}, without {before:.4f}"
    return ran("yes" if used else "no", how)


def uncertainty(workshop: Workshop) -> Cell:
    rows = workshop.rows("test")
    found = workshop.kept["bayesian"].predict([row["prompt"] for row in rows], [row["chosen"] for row in rows])
    assert tuple(found.shape) == (32, 3)
    assert bool((found[:, 1] < found[:, 0]).all())
    methods = [
        name for name in defined("rewarduq", METHODS) if name.endswith("Pipeline") and not name.startswith("Base")
    ]
    width = float((found[:, 2] - found[:, 1]).mean())
    listed = ", ".join(name.removesuffix("Pipeline") for name in methods)
    how = f"`predict` gives reward, lower and upper bound, mean width {width:.3f}; methods: {listed}"
    return ran(f"bounds, by {len(methods)} methods", how)


def calibration(workshop: Workshop) -> Cell:
    found = workshop.kept["bayesian"].trainer.evaluate()
    names = [name for name in found if name.endswith(("ece", "elce", "euce", "brier_score"))]
    assert names
    workshop.kept["metrics"] = found
    return ran("yes, of the bounds too", f"`evaluate()`: {', '.join(f'{name} {found[name]:.3f}' for name in names)}")


def fields() -> list[str]:
    """Fields of the trainers' and models' configurations."""
    from rewarduq.methods import bayesian_linear_head, mlp_head_ensemble

    trainers = (bayesian_linear_head.BayesianLinearHeadTrainerConfig, mlp_head_ensemble.MLPHeadEnsembleTrainerConfig)
    models = (bayesian_linear_head.BayesianLinearHeadModelConfig, mlp_head_ensemble.MLPHeadEnsembleModelConfig)
    names = {field.name for trainer in trainers for field in dataclasses.fields(trainer)}
    return sorted(names.union(*(inspect.signature(model).parameters for model in models)))


def full(workshop: Workshop) -> Cell:
    pipeline = ensemble(workshop, workshop.rows(), 2)
    trained = [name for name, parameter in pipeline.model.named_parameters() if parameter.requires_grad]
    assert trained
    assert not any(name.startswith("base_model_") for name in trained)
    return ran(
        "no: its heads freeze the backbone",
        "the MLP ensemble freezes its backbone, as the Bayesian head does; its DPO method was not run",
    )


def lora(workshop: Workshop) -> Cell:
    from rewarduq.methods import lora_ensemble as method

    adapter = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "SEQ_CLS"}
    model = method.LoraEnsembleModelConfig(
        base_model_name_or_path=workshop.backbone, base_model_init_kwargs={"num_labels": 1}, peft_config=adapter
    )
    settings = {"output_dir": str(workshop.work / "lora"), "per_device_train_batch_size": 8, "max_steps": 2}
    pipeline = method.LoraEnsemblePipeline(model, method.LoraEnsembleTrainerConfig(**SETTINGS | settings))
    pipeline.train(dataset(workshop.rows()))
    trained = sum(parameter.numel() for parameter in pipeline.model.parameters() if parameter.requires_grad)
    return ran(
        "yes, one run a member", f"`LoraEnsemblePipeline`, two steps of one member, {trained:,} trainable parameters"
    )


def frozen(workshop: Workshop) -> Cell:
    features = {"precompute_features": True, "precompute_features_path": str(workshop.work / "features")}
    taken = []
    for steps in (8, 24):
        with positions() as counted:
            bayesian(workshop, workshop.rows(), steps, **features)
        taken.append(sum(counted))
    assert taken[1] <= taken[0]
    how = f"`precompute_features`: the backbone read {taken[0]:,} positions in 8 steps, {taken[1]:,} in 24 more"
    return ran("yes", how)


def packed(workshop: Workshop) -> Cell:
    where = "fields of the trainers' and models' configurations"
    absent(["packing", "padding_free", "packed"], fields(), where)
    taken = epoch(lambda epochs: ensemble(workshop, workshop.rows(), 8 * epochs))
    return ran(
        "no", f"64 pairs of {tokens(workshop)[1]:,} tokens took {taken:,} positions; no such option among {where}"
    )


def benchmarks(workshop: Workshop) -> Cell:
    names = defined("rewarduq", "utils/rewardbench.py")
    assert "compute_rewardbench_weights" in names
    return looked(
        "RewardBench, from the Hub",
        "`rewarduq.utils.rewardbench`; its configurations are in its repository, not in the package",
    )


LOAD = """
import json, sys
from transformers import AutoModel, AutoModelForSequenceClassification
try:
    AutoModelForSequenceClassification.from_pretrained(sys.argv[1])
    print(json.dumps("loaded"))
except Exception as error:
    print(json.dumps(str(error).strip().splitlines()[0][:110]))
"""


def checkpoint(workshop: Workshop) -> Cell:
    from rewarduq.methods.bayesian_linear_head import BayesianLinearHeadModel

    directory = str(workshop.work / "bayesian" / "checkpoint-final")
    BayesianLinearHeadModel.from_pretrained(directory)
    start = [sys.executable, "-c", LOAD, directory]
    said = json.loads(subprocess.run(start, check=True, capture_output=True, text=True).stdout)
    assert said != "loaded"
    return ran(
        "no: with its own classes", f"`BayesianLinearHeadModel.from_pretrained` loads it; without the package: {said}"
    )


PROBES: dict[str, Probe] = {
    "pairs": pairs,
    "margins": margins,
    **beyond_pairs(column),
    "objectives": lambda _: absent(["objective", "multi_attr", "gating"], defined("rewarduq"), SOURCE),
    "uncertainty": uncertainty,
    "calibration": calibration,
    "explains": lambda _: absent(["explain", "saliency"], defined("rewarduq"), SOURCE),
    "length": lambda _: absent(["length_control", "length_pen", "length_bias", "style"], defined("rewarduq"), SOURCE),
    "steering": lambda _: absent(["steer", "emphas"], defined("rewarduq"), SOURCE),
    "full": full,
    "lora": lora,
    "frozen": frozen,
    "packed": packed,
    "quantized": lambda _: untried("needs a GPU", "`base_model_init_kwargs` would take a quantization"),
    "processes": lambda _: untried("left out", "its trainers are those of transformers, which have it"),
    "cpu": lambda _: ran("yes", "all runs of this column"),
    "benchmarks": benchmarks,
    "judges": lambda _: absent(["judge"], defined("rewarduq"), SOURCE),
    "policies": lambda _: absent(["grpo", "ppotrainer", "rloo"], defined("rewarduq"), SOURCE),
    "trainers": lambda _: absent(["reward_funcs", "grpo", "remote"], defined("rewarduq"), SOURCE),
    "asks": lambda _: absent(["remote", "url", "http"], defined("rewarduq"), SOURCE),
    "server": lambda _: absent(["serve", "fastapi", "endpoint"], defined("rewarduq"), SOURCE),
    "checkpoint": checkpoint,
    "others": lambda _: untried("left out", "its evaluation takes models that give bounds"),
}

if __name__ == "__main__":
    run(PROBES, ("rewarduq", "trl", "transformers", "datasets", "torch", "peft"))
