"""Trackers of `transformers` that a run may report to, and whether they are installed; loads none of them."""

from __future__ import annotations

import difflib
from importlib.util import find_spec

from vrm.errors import ConfigError

TRACKERS: dict[str, tuple[str, ...]] = {
    "azure_ml": ("azureml",),
    "clearml": ("clearml",),
    "codecarbon": ("codecarbon",),
    "comet_ml": ("comet_ml",),
    "dagshub": ("dagshub",),
    "dvclive": ("dvclive",),
    "flyte": ("flytekit",),
    "kubeflow": (),
    "mlflow": ("mlflow",),
    "neptune": ("neptune",),
    "swanlab": ("swanlab",),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
}
"""From a tracker to the packages of which one must be installed."""

GROUPS = ("all", "none")


def _is_installed(tracker: str) -> bool:
    packages = TRACKERS[tracker]
    return not packages or any(find_spec(package) is not None for package in packages)


def check_trackers(names: list[str]) -> list[str]:
    """Names of trackers that can be reported to, as they are given.

    Raises:
        ConfigError: nothing has one of these names, or it is not installed; it says what there is.
    """
    for name in names:
        if name not in (*TRACKERS, *GROUPS):
            close = difflib.get_close_matches(name.lower(), TRACKERS, 1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise ConfigError(f"no tracker is called {name!r}; {meant}There are {', '.join([*TRACKERS, *GROUPS])}")
        if name in TRACKERS and not _is_installed(name):
            there = ", ".join(other for other in TRACKERS if TRACKERS[other] and _is_installed(other)) or "no other"
            package = TRACKERS[name][0].replace("_", "-")
            raise ConfigError(
                f"the tracker {name!r} is not installed: pip install {package}, or leave it out. Installed: {there}"
            )
    return names
