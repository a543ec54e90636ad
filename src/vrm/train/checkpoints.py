"""Checkpoints of a run: which of them are whole, and which one `--resume` goes on from."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.serialization import get_unsafe_globals_in_checkpoint
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from vrm.errors import ConfigError
from vrm.files import replace_folder, writing
from vrm.model_files import STATE
from vrm.seals import is_intact, seal
from vrm.train.output import CHECKPOINT, checkpoints, step_of

WEIGHTS = ("model.safetensors", "adapter_model.safetensors")
OPTIMIZER, SCHEDULER = "optimizer.pt", "scheduler.pt"
SHARDS = ("pytorch_model_fsdp_0", "optimizer_0")
"""Folders of a checkpoint of `train.parallel: fsdp`, in which every process has written its part."""


def checkpoint_of(output: str | Path, step: int) -> Path:
    """Where the checkpoint of a step is written."""
    return Path(output, f"{CHECKPOINT}-{step}")


def whole_checkpoint(output: Path) -> tuple[Path, str]:
    """The latest whole checkpoint of a run, and a note on later ones that are not; the note is empty if there is none.

    Raises:
        ConfigError: if no checkpoint is whole.
    """
    passed_over: list[str] = []
    for checkpoint in checkpoints(output):
        flaw = _flaw(checkpoint)
        if flaw is None:
            return checkpoint, f"{', '.join(passed_over)}; going on from {checkpoint.name}" if passed_over else ""
        passed_over.append(f"{checkpoint.name} is incomplete ({flaw})")
    raise ConfigError(
        f"--resume: no checkpoint in {output} is whole: {', '.join(passed_over)}; start anew with --overwrite"
    )


def _flaw(checkpoint: Path) -> str | None:
    """Which file of a checkpoint is missing or cut; the best checkpoint, which the run ends with, counts too."""
    names = {file.name for file in checkpoint.iterdir()}
    for name in (STATE, SCHEDULER, *([] if _is_sharded(checkpoint) else [OPTIMIZER])):
        if name not in names:
            return f"{name} is missing"
    if not any(name.startswith("rng_state") for name in names):
        return "rng_state.pth is missing"
    flaw = _broken_file(checkpoint)
    if flaw is not None:
        return flaw
    best = _best_step(checkpoint)
    if best is None or best == step_of(checkpoint):
        return None
    kept = checkpoint_of(checkpoint.parent, best)
    flaw = _broken_file(kept) if kept.is_dir() else "it is missing"
    return flaw and f"its best one, {kept.name}: {flaw}"


def _best_step(checkpoint: Path) -> int | None:
    state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    recorded = state.get("best_model_checkpoint")
    return step_of(Path(recorded)) if recorded else None


def _is_sharded(checkpoint: Path) -> bool:
    return any((checkpoint / name).is_dir() for name in SHARDS)


def _broken_file(checkpoint: Path) -> str | None:
    if _is_sharded(checkpoint):
        return next(filter(None, (_broken_shards(checkpoint / name) for name in SHARDS)), None)
    files = sorted(file for file in checkpoint.iterdir() if file.is_file())
    if not any(file.name in WEIGHTS or file.name.endswith(".index.json") for file in files):
        return f"{WEIGHTS[0]} is missing"
    return next(filter(None, map(_broken, files)), None)


def _broken_shards(folder: Path) -> str | None:
    """Which part of a folder of `torch.distributed.checkpoint` is missing or cut, by its table of contents."""
    from torch.distributed.checkpoint import FileSystemReader

    if not (folder / ".metadata").is_file():
        return f"{folder.name}/.metadata is missing"
    try:
        entries = FileSystemReader(folder).read_metadata().storage_data.values()
    except (EOFError, pickle.UnpicklingError):
        return f"{folder.name}/.metadata is cut or damaged"
    for entry in entries:
        file = folder / entry.relative_path
        if not file.is_file():
            return f"{folder.name}/{file.name} is missing"
        if file.stat().st_size < entry.offset + entry.length:
            return f"{folder.name}/{file.name} is cut or damaged"
    return None


def _broken(file: Path) -> str | None:
    if not _is_whole(file):
        return f"{file.name} is cut or damaged"
    # torch refuses these as it reads them; what its list of names takes is the file's table of contents alone.
    asked = get_unsafe_globals_in_checkpoint(file) if file.name in (OPTIMIZER, SCHEDULER) else []
    return f"{file.name} asks for code, {asked[0]}, which is not run" if asked else None


def _is_whole(file: Path) -> bool:
    """Whether a file holds what was written, by its own checksums; files of other kinds are taken as they are."""
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt"):
                return is_intact(file)
        if file.suffix in (".pt", ".pth"):
            with zipfile.ZipFile(file) as archive:
                return archive.testzip() is None
        if file.suffix == ".json":
            json.loads(file.read_text(encoding="utf-8"))
    except (SafetensorError, zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError):
        return False
    return True


def forget_old(output: Path, best: str | None, limit: int) -> None:
    """Remove checkpoints until `limit` are left, the oldest first, but never the latest and the best."""
    latest, *others = checkpoints(output)
    kept = {latest.name, *([Path(best).name] if best else [])}
    for checkpoint in others:
        if checkpoint.name not in kept and len(kept) < limit:
            kept.add(checkpoint.name)
        elif checkpoint.name not in kept:
            shutil.rmtree(checkpoint, ignore_errors=True)


class WholeCheckpoints:
    """For a `transformers.Trainer`: a checkpoint gets its name when all processes have written it."""

    args: TrainingArguments
    state: TrainerState
    accelerator: Accelerator
    _beside: Path | None = None
    """Where a checkpoint is while it is written."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._beside or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """As in `Trainer`, beside its place."""
        place = checkpoint_of(self.args.output_dir, self.state.global_step)
        self._beside, first = place.parent / f".vrm-{place.name}", self.state.is_world_process_zero
        if first:
            shutil.rmtree(self._beside, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        try:
            with writing(place):
                super()._save_checkpoint(model, trial)
                written = self._beside / place.name
                if self.state.best_global_step == self.state.global_step:
                    self.state.best_model_checkpoint = str(place)
                self.accelerator.wait_for_everyone()
                if first:
                    self.state.save_to_json(str(written / STATE))
                    for file in written.glob("*.safetensors"):
                        seal(file)
                    replace_folder(written, place)
                    if self.args.save_total_limit:
                        forget_old(place.parent, self.state.best_model_checkpoint, self.args.save_total_limit)
        finally:
            if first:
                shutil.rmtree(self._beside, ignore_errors=True)
            self._beside = None
        self.accelerator.wait_for_everyone()


class BestOfThisFolder(TrainerCallback):
    """A run that goes on in a folder that was copied or moved has its best checkpoint there, not where it was."""

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Name the best checkpoint by the folder that the run goes on in."""
        if state.best_global_step:
            place = checkpoint_of(args.output_dir, state.best_global_step)
            if place.is_dir():
                state.best_model_checkpoint = str(place)
