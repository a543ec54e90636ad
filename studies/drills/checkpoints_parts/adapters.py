"""A directory of adapters, and the checkpoints of a run."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from safetensors.torch import load_file
from studies.drills.checkpoints_parts.damage import Evil, torn_zip
from studies.drills.checkpoints_parts.models import FIELDS, backbone
from studies.drills.forked import in_child, vrm
from studies.drills.rows_parts.planted import sound
from studies.drills.rows_parts.reading import Tally


def adapter_model(folder: Path) -> Path:
    """A directory as `save_model` writes it for a PEFT model around a reward model."""
    place = folder / "adapter"
    if not place.exists():
        from transformers import AutoTokenizer

        from vrm.config import LoraSettings
        from vrm.data.chat import describe_prompts, ensure_chat_template
        from vrm.model import VRMForSequenceClassification, save_model
        from vrm.train.adapters import with_adapters

        source = backbone(folder, "decoder")
        tokenizer = AutoTokenizer.from_pretrained(source)
        ensure_chat_template(tokenizer, "decoder")
        model = VRMForSequenceClassification.from_backbone(
            str(source), max_input_tokens=128, **FIELDS, **describe_prompts(tokenizer)
        )
        save_model(with_adapters(model, LoraSettings(r=2, alpha=4)), tokenizer, place)
    return place


def interrupted_run(folder: Path) -> Path:
    """A run with two checkpoints, as it was before its end; `whole` beside it is as it is left."""
    run = folder / "run"
    if not run.exists():
        rows = folder / "rows.jsonl"
        rows.write_text(
            "".join(
                json.dumps({name: sound(number)[name] for name in ("prompt", "chosen", "rejected")}) + "\n"
                for number in range(32)
            ),
            encoding="utf-8",
        )
        config = {
            "output_dir": str(run),
            "data": {"train": str(rows), "eval": str(rows), "on_overlong": "truncate"},
            "model": {
                "backbone": str(backbone(folder, "decoder")),
                "tuning": "full",
                "max_input_tokens": 64,
                "num_free_objectives": 1,
                "num_features": 4,
            },
            "train": {"epochs": 1, "batch_size": 8, "evals": 2, "precision": "float32"},
            "features": {"cache": "none"},
        }
        (folder / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        code = in_child(lambda: vrm(["train", folder / "run.yaml"]), folder / "words")
        assert code == 0, (folder / "words.err").read_text(encoding="utf-8")
        shutil.copytree(run, folder / "whole")
        shutil.rmtree(run / "model")
        (run / "run.json").unlink()
        shutil.copytree(run, folder / "interrupted")
    return run


def damaged_checkpoints(
    checkpoint: Path, marker: Path, rng: random.Random
) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """What is done to the last checkpoint, by its files."""
    import torch

    files = [file.name for file in sorted(checkpoint.iterdir()) if file.is_file()]
    for name in files:
        yield f"no {name}", lambda place, name=name: (place / name).unlink()
        yield (
            f"{name} cut",
            lambda place, name=name: (place / name).write_bytes((place / name).read_bytes()[: rng.randrange(1, 200)]),
        )
        yield f"{name} empty", lambda place, name=name: (place / name).write_bytes(b"")
        if name.endswith((".pt", ".pth", ".bin")):
            yield f"{name}, a bit changed", lambda place, name=name: torn_zip(place / name, rng)
            yield f"{name} with code", lambda place, name=name: torch.save({"x": Evil(marker)}, place / name)
    weights = checkpoint / "model.safetensors"

    def flip(place: Path) -> None:
        data = bytearray((place / weights.name).read_bytes())
        data[-rng.randrange(1, 2000)] ^= 1 << rng.randrange(8)
        (place / weights.name).write_bytes(data)

    for _ in range(5):
        yield "weights, a bit changed", flip


def resume_each(folder: Path, marker: Path, tally: Tally, rng: random.Random, most: int) -> None:
    """`vrm train --resume` behind each: an error that names the file, or the weights of the undisturbed run."""
    run = interrupted_run(folder)
    last = max((run.glob("checkpoint-*")), key=lambda path: int(path.name.rpartition("-")[2])).name
    whole = load_file(folder / "whole" / "model" / "model.safetensors")
    damages = list(damaged_checkpoints(folder / "interrupted" / last, marker, rng))
    for name, damage in damages if most >= len(damages) else rng.sample(damages, most):
        shutil.rmtree(run)
        shutil.copytree(folder / "interrupted", run)
        damage(run / last)
        tally.tries += 1

        def resume() -> None:
            signal.alarm(60)
            vrm(["train", folder / "run.yaml", "--resume"])

        code = in_child(resume, folder / "words")
        err = (folder / "words.err").read_text(encoding="utf-8", errors="replace")
        if marker.exists():
            tally.fault(f"{name}: its code was run")
            marker.unlink()
        if code == 1 and "Traceback" not in err:
            tally.refused += 1
            if last not in err:
                tally.fault(f"{name}: not named: {err.strip()[-200:]}")
        elif code != 0 or "Traceback" in err:
            tally.fault(f"{name}: exit status {code}: {err.strip()[-200:]}")
        elif any(
            not (tensor == whole[key]).all() for key, tensor in load_file(run / "model" / "model.safetensors").items()
        ):
            tally.fault(f"{name}: other weights than the undisturbed run's", 1)
        else:
            tally.refused += "incomplete" in err
