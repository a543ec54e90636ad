"""Raters and groups that a model knows (16): their tilts and tie thresholds, kept in a folder beside the model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vrm.core.distributions import Tilt
from vrm.core.raters import FittedRaters, RaterPrior, unknown_rater_tilt
from vrm.errors import CheckpointError
from vrm.files import new_folder, write_text
from vrm.model.checkpoint import tensors_sha256
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.model_files import RATERS, RATERS_NAMES, rater_names, read_json, unknown_rater

_TENSORS = "tilts.safetensors"
_FORMAT = 1


@dataclass(frozen=True)
class Rater:
    """A rater or group, or whoever is not known.

    Attributes:
        name: None for whoever is not known.
        comparisons: votes that the tilt was fitted to.
        objectives: what the tilt ranges over, the model's order.
        tilt: b_r of (16), with its covariance.
        tie_threshold: c_r, a scalar; None where the model has seen no ties.
        log_threshold_std: standard deviation of log c_r.
    """

    name: str | None
    comparisons: int
    objectives: tuple[str, ...]
    tilt: Tilt
    tie_threshold: Tensor | None = None
    log_threshold_std: float | None = None

    def tilt_of(self, objectives: Sequence[str]) -> Tilt:
        """The tilt of those objectives that steering left."""
        return self.tilt.kept(torch.tensor([name in objectives for name in self.objectives]))


@dataclass(frozen=True)
class KnownRaters:
    """Every rater that a model knows.

    Attributes:
        by: the column that named them.
        names: of the raters.
        comparisons: votes of each.
        objectives: the model's.
        fitted: their tilts and thresholds, float32.
    """

    by: str
    names: tuple[str, ...]
    comparisons: tuple[int, ...]
    objectives: tuple[str, ...]
    fitted: FittedRaters

    def of(self, name: str) -> Rater:
        """A rater by name.

        Raises:
            CannotFollowError: for a name that is not known; names the nearest ones.
        """
        if name not in self.names:
            raise unknown_rater(name, self.names)
        index = self.names.index(name)
        thresholds, std = self.fitted.tie_thresholds, self.fitted.log_threshold_std
        return Rater(
            name,
            self.comparisons[index],
            self.objectives,
            self.fitted.tilt(index),
            None if thresholds is None else thresholds[index],
            None if std is None else float(std[index]),
        )

    @property
    def unknown(self) -> Rater:
        """A further rater like them, who is not known: what all of them share, with the spread B of the tilts."""
        prior = self.fitted.prior
        return Rater(None, 0, self.objectives, unknown_rater_tilt(prior), prior.mean_tie_threshold)

    def save(self, model: VRMForSequenceClassification, directory: str | Path) -> Path:
        """Write them into a model's directory, in the place of those that are there, if any; returns their folder."""
        prior = self.fitted.prior
        tensors = {
            "parameters": self.fitted.parameters,
            "covariance": self.fitted.covariance,
            "tilt_variance": prior.tilt_variance,
            "threshold_variance": prior.threshold_variance.reshape(1),
            "shift": prior.shift,
        }
        if prior.tie_threshold is not None:
            tensors["tie_threshold"] = prior.tie_threshold.reshape(1)
        stated = {
            "format": _FORMAT,
            "by": self.by,
            "head_sha256": _head_sha256(model),
            "objectives": list(self.objectives),
            "raters": dict(zip(self.names, self.comparisons, strict=True)),
        }
        target = Path(directory) / RATERS
        with new_folder(target) as folder:
            save_file({name: values.float().contiguous() for name, values in tensors.items()}, folder / _TENSORS)
            write_text(folder / RATERS_NAMES, json.dumps(stated, ensure_ascii=False, indent=1) + "\n")
        return target


def load_raters(directory: str | Path, model: VRMForSequenceClassification) -> KnownRaters | None:
    """The raters in a model's directory; None where there are none.

    Raises:
        CheckpointError: they are damaged, or were fitted to another model.
    """
    folder = Path(directory) / RATERS
    if not (folder / RATERS_NAMES).is_file():
        return None
    counts = rater_names(directory)
    stated = read_json(folder / RATERS_NAMES)
    if stated.get("head_sha256") != _head_sha256(model):
        raise CheckpointError(f"{folder} was fitted to another model: run vrm adapt with --overwrite, or remove it")
    if stated.get("format") != _FORMAT:
        raise CheckpointError(
            f"{folder / RATERS_NAMES} has the format {stated.get('format')!r}, but this version reads {_FORMAT}: "
            "run vrm adapt with --overwrite"
        )
    objectives = tuple(model.config.objective_names)
    try:
        tensors = {name: values.float() for name, values in load_file(folder / _TENSORS).items()}
        problem = _problem(tensors, len(counts), len(objectives))
    except (OSError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{folder / _TENSORS} cannot be read: {error}") from None
    if problem is not None:
        raise CheckpointError(f"{folder / _TENSORS} {problem}: run vrm adapt with --overwrite, or remove {folder}")
    threshold = tensors.get("tie_threshold")
    prior = RaterPrior(
        tensors["tilt_variance"],
        tensors["threshold_variance"][0],
        None if threshold is None else threshold[0],
        tensors["shift"],
    )
    fitted = FittedRaters(tensors["parameters"], tensors["covariance"], prior)
    return KnownRaters(str(stated.get("by")), tuple(counts), tuple(counts.values()), objectives, fitted)


_VARIANCES = ("tilt_variance", "threshold_variance", "tie_threshold")


def _problem(tensors: Mapping[str, Tensor], raters: int, objectives: int) -> str | None:
    """What is wrong with stored tensors; None for nothing.

    Raises:
        KeyError: one is not there.
    """
    size = objectives + ("tie_threshold" in tensors)
    shapes: dict[str, tuple[int, ...]] = {
        "parameters": (raters, size),
        "covariance": (raters, size, size),
        "tilt_variance": (objectives,),
        "threshold_variance": (1,),
        "shift": (size,),
    }
    if "tie_threshold" in tensors:
        shapes["tie_threshold"] = (1,)
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            return f"does not fit the {raters} raters of {RATERS_NAMES}: '{name}' is {tuple(tensors[name].shape)}"
        if not bool(tensors[name].isfinite().all()):
            return f"holds numbers in '{name}' that are not finite"
    positive = {name: tensors[name] for name in _VARIANCES if name in tensors}
    positive["covariance"] = tensors["covariance"].diagonal(dim1=-2, dim2=-1)
    for name, values in positive.items():
        if not bool((values > 0).all()):
            return f"holds numbers that are not above 0 in '{name}'"
    return None


def _head_sha256(model: VRMForSequenceClassification) -> str:
    state: dict[str, Any] = model.score.state_dict()
    return tensors_sha256(state)
