"""What a model keeps of its training texts when training has ended, to tell texts that are unlike them (17)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from vrm.core.unfamiliarity import TrainingTexts, familiar_texts
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key, uniform_hash
from vrm.train.passes import FeatureDataset
from vrm.train.processes import say
from vrm.train.reading import Reader

MOST_ROWS, FEWEST_ROWS = 1024, 150
"""Training rows that are looked at; between them `SHARE_OF_TRAINING` decides where every row costs a pass."""

SHARE_OF_TRAINING = 0.04
"""Rows looked at for every row trained on: a pass without gradients costs a third of one with them."""

COMPONENTS = 16
"""Of each block of the head's input."""

PROMPTS_PER_COMPONENT = 4
FEWEST_PROMPTS = 32
HELD_OUT = 0.2
"""Share of the prompts whose texts set the border of what is familiar."""

MOST_CATEGORIES, FEWEST_OF_CATEGORY = 64, 5


def keep_familiar_texts(reader: Reader) -> None:
    """Fit what the head keeps of a sample of the training texts; too few texts are said, and nothing is kept.

    Args:
        reader: of the model as it will be saved.
    """
    model, data, arguments = reader.model, reader.data, reader.trainer.args
    cached = isinstance(data.train, FeatureDataset)  # rows cost no pass of the backbone
    rows = _sample(len(data.train), 0 if cached else arguments.num_train_epochs, arguments.seed)
    parts = list(_vectors(reader, rows.tolist()))
    if not parts:
        return
    prompts, completions = (torch.cat([part[side] for part in parts]) for side in (0, 1))
    judged = [judgment for *_, judgments in parts for judgment in judgments]
    keys = [prompt_key(row) for row in judged]
    held_out = torch.tensor([uniform_hash(key, arguments.seed, "familiar") < HELD_OUT for key in keys])
    fitted = len({key for key, out in zip(keys, held_out.tolist(), strict=True) if not out})
    if fitted < FEWEST_PROMPTS or not held_out.any():
        say(f"{len(set(keys))} training prompts are too few to tell later what is unlike them")
        return
    names, numbers = _categories(judged)
    config = model.config
    components = min(COMPONENTS, fitted // PROMPTS_PER_COMPONENT, config.backbone_hidden_size // 2)
    known = familiar_texts(
        TrainingTexts(prompts, completions, held_out, numbers), len(config.familiar_blocks), components
    )
    model.score.keep_familiar(known)
    apart = known.unfamiliarity(prompts, completions.unsqueeze(1)).by_category[:, 0]
    typical = [float(apart[numbers == number, number].median()) for number in range(len(names))]
    model.config.familiar_components = components
    model.config.familiar_categories = dict(zip(names, typical, strict=True))


def _sample(rows: int, epochs: float, seed: int) -> np.ndarray:
    """Numbers of the rows to look at, in order; `epochs` is 0 where they cost no pass."""
    wanted = MOST_ROWS
    if epochs:
        wanted = min(max(math.ceil(SHARE_OF_TRAINING * epochs * rows), FEWEST_ROWS), MOST_ROWS)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:wanted])


def _vectors(reader: Reader, rows: Sequence[int]) -> Iterator[tuple[Tensor, Tensor, list[Judgment]]]:
    """Standardized inputs of the head for completions and their prompts, (texts, features), and their judgments."""
    for read in reader.passes(reader.data.train, rows):
        mask = read.inputs["mask"]
        owners = mask.nonzero()[:, 0]
        prompts, completions = (
            reader.model.score.compared(part).detach().cpu() for part in (read.prompts[owners], read.completions[mask])
        )
        yield prompts, completions, [read.judgments[owner] for owner in owners.tolist()]


def _categories(judged: Sequence[Judgment]) -> tuple[list[str], Tensor]:
    """Names of the most frequent categories (sources, where rows have none), and the number of each text's, or -1."""
    named = [row.category or row.source for row in judged]
    counts = Counter(name for name in named if name)
    kept = [name for name, count in counts.most_common(MOST_CATEGORIES) if count >= FEWEST_OF_CATEGORY]
    place = {name: number for number, name in enumerate(kept)}
    return kept, torch.tensor([place.get(name or "", -1) for name in named])
