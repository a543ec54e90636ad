"""Damaged copies of a directory given to what loads it, and what was found that was not to be."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from studies.drills.checkpoints_parts.damage import Damage
from studies.drills.rows_parts.reading import Tally

from vrm.data.schema import Judgment
from vrm.errors import VrmError

Load = Callable[[Path], list[float]]
"""Loads a directory and gives the rewards of a few texts."""

PROMPT, ANSWERS = "How do we boil water?", ["Put the pot on the stove.", "No idea, ask somebody."]


def by_engine(folder: Path) -> list[float]:
    """`RewardEngine.from_pretrained`."""
    from vrm.inference.engine import RewardEngine

    engine = RewardEngine.from_pretrained(folder)
    rewards: list[float] = engine.judge([Judgment(PROMPT, list(ANSWERS))]).moments.mean[0].tolist()
    return rewards


def by_auto_model(folder: Path) -> list[float]:
    """`AutoModelForSequenceClassification.from_pretrained`, which may run the code that an export brings along."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    own_code = (folder / "modeling_vrm.py").exists()
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=own_code).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": ANSWERS[0]}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    with torch.no_grad():
        logits = model(**tokenizer(text, return_tensors="pt", add_special_tokens=False)).logits
    return [float(value) for value in logits.flatten()]


def try_each(
    model: Path, damages: Iterable[Damage], load: Load, copies: Path, marker: Path, tally: Tally, named: bool = True
) -> None:
    """Damage a copy, load it, and compare: an error that names what is wrong, or the rewards that there were.

    Args:
        model: a sound directory.
        damages: what is done to its copies.
        load: how they are loaded.
        copies: where they are made.
        marker: a file that code from a directory would write.
        tally: what is counted.
        named: whether the error is this package's own; else that of the library that loads.
    """
    rewards = load(model)
    for damage in damages:
        folder = copies / model.name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(model, folder)
        damage.apply(folder)
        tally.tries += 1
        try:
            changed = load(folder)
        except VrmError as error:
            _check_words(damage, folder, str(error), tally)
        except Exception as error:
            if named:
                tally.fault(f"{damage.name}: {type(error).__name__}: {str(error)[:150]}")
            else:
                _check_words(damage, folder, str(error), tally)
        else:
            _check_rewards(damage, changed, rewards, tally)
        if marker.exists():
            tally.fault(f"{damage.name}: its code was run")
            marker.unlink()


def _check_words(damage: Damage, folder: Path, message: str, tally: Tally) -> None:
    tally.refused += 1
    said = message.replace(str(folder), folder.name)
    if not any(word in said for word in damage.words) or "\n" in message.strip():
        tally.fault(f"{damage.name}: not named: {message[:200]}")


def _check_rewards(damage: Damage, changed: Any, rewards: list[float], tally: Tally) -> None:
    same = changed == rewards
    if same and damage.allowed:
        return
    if not damage.harmless:
        tally.fault(f"{damage.name}: loaded, {'the same rewards' if same else 'other rewards'}", 0 if same else 1)
    elif not all(abs(value) < 1e6 for value in changed):
        tally.fault(f"{damage.name}: loaded, rewards {changed}")
