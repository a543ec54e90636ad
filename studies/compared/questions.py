"""The questions, in the order of the table, and the packages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tool:
    """A package.

    Attributes:
        title: in the head of the table.
        package: that must be installed for its probes to run, with the version that the page speaks of.
    """

    title: str
    package: str


TOOLS: dict[str, Tool] = {
    "vrm": Tool("vrm", "vrm"),
    "trl": Tool("TRL 1.16.0", "trl==1.16.0"),
    "openrlhf": Tool("OpenRLHF 0.11.2", "openrlhf==0.11.2"),
    "rewarduq": Tool("RewardUQ 0.1.0", "rewarduq==0.1.0"),
    "rewardbench": Tool("RewardBench 0.1.4", "rewardbench==0.1.4"),
}

QUESTIONS: dict[str, dict[str, str]] = {
    "Labels that training reads": {
        "pairs": "pairs",
        "margins": "target margins",
        "soft": "a tie, or a share of raters, for each pair",
        "raters": "votes of several raters of a pair",
        "ratings": "ratings by objective",
    },
    "What a reward says": {
        "objectives": "several named objectives, weighed by the prompt",
        "uncertainty": "uncertainty with each reward",
        "calibration": "calibration error in its evaluation",
        "explains": "explains a reward",
        "length": "control of length or style",
        "steering": "steering without training",
    },
    "Training": {
        "full": "all weights",
        "lora": "LoRA",
        "frozen": "frozen backbone, features computed once",
        "packed": "rows without padding",
        "quantized": "4-bit backbone",
        "processes": "several processes",
        "cpu": "runs on a CPU",
    },
    "Using it": {
        "benchmarks": "published benchmarks",
        "judges": "language models as judges",
        "policies": "trains policies itself",
        "trainers": "its reward in policy trainers",
        "asks": "takes its rewards from vrm",
        "server": "HTTP server for rewards",
        "checkpoint": "its model loads in plain transformers",
        "others": "evaluates a plain reward model",
    },
}

ROWS: dict[str, str] = {key: words for group in QUESTIONS.values() for key, words in group.items()}
