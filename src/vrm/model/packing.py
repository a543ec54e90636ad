"""Trees of prompts and completions: packed into rows without padding, and cut into passes under a token budget.

A *tree* is a prompt and its completions. Decoders read [prompt | completion 1 | ... | completion N] in one row, where
a completion sees its prompt and itself, and counts positions from the prompt's end. Encoders see both directions, so a
prompt alone and each prompt with a completion are parts of their own. `vrm.model.attention` keeps the parts apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from vrm.choices import BackboneKind

Item = TypeVar("Item")
Ids = Sequence[int]

PROMPT = -1
"""The number that stands for a tree's prompt where a completion's could stand."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Token ids of a prompt and of completions after it.

    Attributes:
        prompt: at least one id.
        completions: any number, each of any length.
    """

    prompt: Ids
    completions: Sequence[Ids]

    def positions(self, kind: str) -> int:
        """Token positions that a backbone of this kind (`decoder`, `encoder`) computes for it; equal completions count
        each, though a packed row has them once.
        """
        return len(self.prompt) + sum(self.branch_positions(ids, kind) for ids in self.completions)

    def branch_positions(self, completion: Ids, kind: str) -> int:
        """Token positions of one completion; an encoder reads the prompt before it once more."""
        return len(completion) + (len(self.prompt) if kind == BackboneKind.ENCODER else 0)


def trees_of(judgments: Iterable[tuple[Ids, Sequence[Ids]]]) -> tuple[list[Tree], list[tuple[int, int]]]:
    """Gather judgments of equal prompts into trees.

    Args:
        judgments: of each, the ids of its prompt and of its completions, none or more.

    Returns:
        The trees, in the order in which their prompts come first, with prompts as tuples. Then the place of every
        judgment: the number of its tree, and the number of its first completion there.
    """
    completions: dict[tuple[int, ...], list[Ids]] = {}
    numbers: dict[tuple[int, ...], int] = {}
    places: list[tuple[int, int]] = []
    for prompt, texts in judgments:
        key = tuple(prompt)
        branches = completions.setdefault(key, [])
        places.append((numbers.setdefault(key, len(numbers)), len(branches)))
        branches.extend(texts)
    return [Tree(prompt, branches) for prompt, branches in completions.items()], places


# Packed rows


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
            and the first token and the one after the last that are pooled. Equal completions of a tree have one read.
    """
    writer = _Writer(first_position)
    for tree in trees:
        (_write_decoder_tree if kind == BackboneKind.DECODER else _write_encoder_tree)(writer, tree)
    return writer.tensors()


def prompt_reads(trees: Sequence[Tree]) -> list[int]:
    """Of each tree, the number of its prompt's read in `pack_trees`; its completions' reads follow in order."""
    return [0, *accumulate(1 + len(tree.completions) for tree in trees)][: len(trees)]


# Equal completions of a prompt are computed once: rounding must not order what is the same.


def _write_decoder_tree(writer: _Writer, tree: Tree) -> None:
    start = writer.length
    part = writer.add(tree.prompt)
    writer.read(start, start, writer.length)
    reads = {(): (start, writer.length - 1, writer.length)}  # an empty completion is read at the prompt's last token
    for completion in map(tuple, tree.completions):
        if completion not in reads:
            first = writer.length
            writer.add(completion, offset=len(tree.prompt), prefix=part)
            reads[completion] = (start, first, writer.length)
        writer.read(*reads[completion])


def _write_encoder_tree(writer: _Writer, tree: Tree) -> None:
    start = writer.length
    writer.add(tree.prompt)
    writer.read(start, start, writer.length)
    reads: dict[Ids, tuple[int, int, int]] = {}
    for completion in map(tuple, tree.completions):
        if completion not in reads:
            start = writer.length
            writer.add([*tree.prompt, *completion])
            reads[completion] = (start, min(start + len(tree.prompt), writer.length - 1), writer.length)
        writer.read(*reads[completion])


class _Writer:
    def __init__(self, first_position: int) -> None:
        self.first_position, self.length = first_position, 0
        self._ids: list[Ids] = []
        self._positions: list[np.ndarray] = []
        self._parts: list[tuple[int, int]] = []
        self._reads: list[tuple[int, int, int]] = []

    def add(self, ids: Ids, offset: int = 0, prefix: int = -1) -> int:
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


# Token budgets


def within_budget(
    items: Iterable[Item], budget: int, cost: Callable[[Sequence[Item], Item], int]
) -> Iterator[list[Item]]:
    """Cut items, in order, into batches whose costs add up to `budget` at most.

    An item that alone costs more is a batch of its own.

    Args:
        items: taken one by one, as batches are asked for.
        budget: of a batch, in the unit of the costs.
        cost: what an item adds to a batch, given the items that the batch holds already.
    """
    batch: list[Item] = []
    used = 0
    for item in items:
        more = cost(batch, item)
        if batch and used + more > budget:
            yield batch
            batch, used = [], 0
            more = cost(batch, item)
        batch.append(item)
        used += more
    if batch:
        yield batch


def padded_passes(sizes: Sequence[tuple[int, int]], token_budget: int) -> Iterator[list[int]]:
    """Cut items into padded passes of at most `token_budget` positions each, padding included.

    Rows of a pass are alike in length, because items are taken by falling length.

    Args:
        sizes: of each item, its number of rows and the tokens of the longest.
        token_budget: of a pass; an item that alone is larger is a pass of its own.

    Returns:
        Numbers of the items of each pass; every item is in one.
    """

    def cost(numbers: Sequence[int], number: int) -> int:
        _, longest = sizes[numbers[0] if numbers else number]
        return sizes[number][0] * longest

    return within_budget(sorted(range(len(sizes)), key=lambda number: -sizes[number][1]), token_budget, cost)


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
    """Cut trees into packed passes of at most `token_budget` positions each, in order.

    A tree over the budget is divided between passes, its prompt in each; a prompt with one completion is never divided,
    so a pass is over the budget only where a single row is.
    """
    divided = (part for number, tree in enumerate(trees) for part in _divided(number, tree, kind, token_budget))
    return within_budget(divided, token_budget, lambda _, part: part_of(trees[part.tree], part).positions(kind))


def _divided(number: int, tree: Tree, kind: str, token_budget: int) -> Iterator[Branches]:
    if not tree.completions:
        yield Branches(number, range(0))
    room = token_budget - len(tree.prompt)
    cost = [tree.branch_positions(ids, kind) for ids in tree.completions]
    for indices in within_budget(range(len(cost)), room, lambda _, index: cost[index]):
        yield Branches(number, range(indices[0], indices[-1] + 1))


def part_of(tree: Tree, branches: Branches) -> Tree:
    """The tree with those of its completions alone."""
    return Tree(tree.prompt, [tree.completions[index] for index in branches.completions])


@dataclass(frozen=True, slots=True)
class PackedPass:
    """A packed row of some trees, and what is read off it.

    Attributes:
        row: what `pack_trees` gives.
        reads: of each read, the number of its tree, and of its completion there or `PROMPT`.
    """

    row: dict[str, Tensor]
    reads: list[tuple[int, int]]


def packed_passes(trees: Sequence[Tree], kind: str, token_budget: int, first_position: int = 0) -> Iterator[PackedPass]:
    """Trees as packed rows of at most `token_budget` positions each; arguments as of `plan_passes` and `pack_trees`.

    Every completion is read once; a prompt is read in each pass that has completions of it.
    """
    for branches in plan_passes(trees, kind, token_budget):
        row = pack_trees([part_of(trees[part.tree], part) for part in branches], kind, first_position)
        yield PackedPass(row, [(part.tree, index) for part in branches for index in (PROMPT, *part.completions)])
