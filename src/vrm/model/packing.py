"""Packed rows: many prompts and all of their completions as one row without padding, every prompt once.

A *tree* is a prompt and its completions. Decoders read [prompt | completion 1 | ... | completion N] in one row, where
a completion sees its prompt and itself, and counts positions from the prompt's end. Encoders see both directions, so a
prompt alone and each prompt with a completion are parts of their own. `vrm.model.attention` keeps the parts apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Tree:
    """Token ids of a prompt and of completions after it.

    Attributes:
        prompt: at least one id.
        completions: any number, each of any length.
    """

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]

    def positions(self, kind: str) -> int:
        """Token positions that a backbone of this kind (`decoder`, `encoder`) computes for it."""
        repeated = len(self.prompt) * (len(self.completions) if kind == "encoder" else 0)
        return len(self.prompt) + repeated + sum(map(len, self.completions))


def pack_trees(trees: Sequence[Tree], kind: str, first_position: int = 0) -> dict[str, Tensor]:
    """One row of all trees, without padding.

    Args:
        trees: at least one.
        kind: `decoder` or `encoder`.
        first_position: position of a row's first token (some encoders count from the one after their padding's).

    Returns:
        input_ids, position_ids: (1, tokens).
        parts: (parts, 2), in order: number of tokens, and the part (a prompt) that comes before it, or -1.
        reads: (reads, 3), what the head takes, a tree's prompt first and then its completions: first token of its row,
            and the first token and the one after the last that are pooled. A decoder reads one token.
    """
    writer = _Writer(first_position)
    for tree in trees:
        (_write_decoder_tree if kind == "decoder" else _write_encoder_tree)(writer, tree)
    return writer.tensors()


def _write_decoder_tree(writer: _Writer, tree: Tree) -> None:
    start = writer.length
    part = writer.add(tree.prompt)
    writer.read(start, writer.length - 1, writer.length)
    for completion in tree.completions:
        if completion:
            writer.add(completion, offset=len(tree.prompt), prefix=part)
        # An empty completion is read at the prompt's last token.
        last = writer.length if completion else start + len(tree.prompt)
        writer.read(start, last - 1, last)


def _write_encoder_tree(writer: _Writer, tree: Tree) -> None:
    start = writer.length
    writer.add(tree.prompt)
    writer.read(start, start, writer.length)
    for completion in tree.completions:
        start = writer.length
        writer.add([*tree.prompt, *completion])
        writer.read(start, min(start + len(tree.prompt), writer.length - 1), writer.length)


class _Writer:
    def __init__(self, first_position: int) -> None:
        self.first_position, self.length = first_position, 0
        self._ids: list[Sequence[int]] = []
        self._positions: list[np.ndarray] = []
        self._parts: list[tuple[int, int]] = []
        self._reads: list[tuple[int, int, int]] = []

    def add(self, ids: Sequence[int], offset: int = 0, prefix: int = -1) -> int:
        first = self.first_position + offset
        self._ids.append(ids)
        self._positions.append(np.arange(first, first + len(ids)))
        self._parts.append((len(ids), prefix))
        self.length += len(ids)
        return len(self._parts) - 1

    def read(self, row: int, start: int, stop: int) -> None:
        self._reads.append((row, start, stop))

    def tensors(self) -> dict[str, Tensor]:
        ids = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in self._ids])
        return {
            "input_ids": torch.from_numpy(ids).unsqueeze(0),
            "position_ids": torch.from_numpy(np.concatenate(self._positions)).unsqueeze(0),
            "parts": torch.tensor(self._parts),
            "reads": torch.tensor(self._reads),
        }


@dataclass(frozen=True, slots=True)
class Branches:
    """A tree's completions that one pass computes; of a large tree only some.

    Attributes:
        tree: the tree's number.
        completions: numbers of its completions.
    """

    tree: int
    completions: range


def plan_passes(trees: Sequence[Tree], kind: str, token_budget: int) -> Iterator[list[Branches]]:
    """Split trees into passes of at most `token_budget` positions each, in order.

    A tree over the budget is divided between passes, its prompt in each; a prompt with one completion is never divided,
    so a pass is over the budget only where a single row is.
    """
    return within_budget(_divided(trees, kind, token_budget), token_budget)


def within_budget(items: Iterable[tuple[Item, int]], budget: int) -> Iterator[list[Item]]:
    """Items in order, in lists whose costs add up to `budget` at most; one that costs more is a list of its own.

    Args:
        items: each with its cost.
        budget: of a list.
    """
    batch: list[Item] = []
    used = 0
    for item, cost in items:
        if batch and used + cost > budget:
            yield batch
            batch, used = [], 0
        batch.append(item)
        used += cost
    if batch:
        yield batch


def _divided(trees: Iterable[Tree], kind: str, token_budget: int) -> Iterator[tuple[Branches, int]]:
    for number, tree in enumerate(trees):
        first, cost = 0, len(tree.prompt)
        for index, completion in enumerate(tree.completions):
            more = len(completion) + (len(tree.prompt) if kind == "encoder" else 0)
            if index > first and cost + more > token_budget:
                yield Branches(number, range(first, index)), cost
                first, cost = index, len(tree.prompt)
            cost += more
        yield Branches(number, range(first, len(tree.completions))), cost


def part_of(tree: Tree, branches: Branches) -> Tree:
    """The tree with those of its completions alone."""
    return Tree(tree.prompt, [tree.completions[index] for index in branches.completions])


def trees_of_rows(rows: Sequence[Sequence[int]], starts: Sequence[int]) -> tuple[list[Tree], list[tuple[int, int]]]:
    """Rows of prompt and completion as trees of equal prompts, and the (tree, completion) of every row."""
    prompts: dict[tuple[int, ...], int] = {}
    completions: list[list[Sequence[int]]] = []
    places: list[tuple[int, int]] = []
    for row, start in zip(rows, starts, strict=True):
        tree = prompts.setdefault(tuple(row[:start]), len(prompts))
        if tree == len(completions):
            completions.append([])
        places.append((tree, len(completions[tree])))
        completions[tree].append(row[start:])
    return [Tree(prompt, found) for prompt, found in zip(prompts, completions, strict=True)], places
