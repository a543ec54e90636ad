"""What training would take on cards that were not there: an estimate on paper, for 8B parameters on 8 and 16 H100.

    python -m studies.speed.estimate [--pairs 1e5 1e6 1e7] [--markdown] [--json FILE]

*Counted here.* Operations and saved activations of one decoder layer of the real width, by torch's counters, on a
processor: two layers less one layer. *From the package.* What a rank keeps under `train.parallel: fsdp`. *Published.*
The card's peak rate, memory and links (NVIDIA's data sheet of the H100 SXM), 400 Gb/s of network a card, and the share
of the peak rate that sharded training of this model reached on 8 and 128 such cards: 33 to 39 % (torchtitan's table of
December 2024). Nothing of it was run on a card.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
from studies.speed.gpu import LLAMA_8B, TOY_LLAMA, Job
from studies.speed.inputs import DecoderShape, Rows, bare_reward_model, read_rows
from studies.speed.step_profile import needed_scores
from studies.speed.steps import Stepper
from studies.speed.tables import Table, finish, parser, quiet
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from vrm.model import VRMConfig

GIB = 2**30
WAYS = ("frozen", "LoRA", "full")


@dataclass(frozen=True)
class Card:
    """Published figures of a card.

    Attributes:
        operations: a second, dense bfloat16.
        memory: bytes.
        inside: bytes a second and direction to the others of its machine.
        outside: bytes a second and direction to other machines.
        machine: cards of one machine.
        utilization: least and most share of `operations` that sharded training reached.
    """

    operations: float = 989e12
    memory: float = 80e9
    inside: float = 450e9
    outside: float = 50e9
    machine: int = 8
    utilization: tuple[float, float] = (0.33, 0.39)

    def link(self, cards: int) -> float:
        """Bytes a second and card of a collective over so many cards."""
        return self.inside if cards <= self.machine else self.outside


@dataclass(frozen=True)
class Layer:
    """One decoder layer, counted on some positions.

    Attributes:
        positions: token positions of the counted step.
        forward: operations of its forward pass.
        backward: {way: operations of its backward pass}; nothing where the backbone is frozen.
        activations: bytes that a position keeps for the backward pass, without checkpointing.
        parameters: of its matrices and norms.
    """

    positions: int
    forward: float
    backward: dict[str, float]
    activations: float
    parameters: int


def counted_layer(job: Job, rows: Rows) -> Layer:
    """Two layers less one layer, so that embedding, head and loss drop out."""
    counts = {way: [_counted(job, rows, layers, way) for layers in (1, 2)] for way in ("LoRA", "full")}
    one, two = counts["full"]
    positions, _ = needed_scores(rows.tokenized, "packed")
    return Layer(
        positions=positions,
        forward=two.forward - one.forward,
        backward={way: two.backward - one.backward for way, (one, two) in counts.items()},
        activations=(two.saved - one.saved) / positions,
        parameters=two.parameters - one.parameters,
    )


@dataclass(frozen=True)
class _Count:
    forward: float
    backward: float
    saved: int
    parameters: int


def _counted(job: Job, rows: Rows, layers: int, way: str) -> _Count:
    shape = replace(job.shape, layers=layers, vocabulary=None)
    config = VRMConfig(backbone_config=replace(job, shape=shape).config(), num_features=8, max_input_tokens=4096)
    model = bare_reward_model(config, torch.bfloat16, "cpu")
    stepper = Stepper.of(model, "packed", "bfloat16", 1 << 30)
    parameters = sum(weight.numel() for weight in model.parameters())
    if way == "LoRA":  # adapters are less than a hundredth; what they change is that weights have no gradients
        for weight in model.backbone.parameters():
            weight.requires_grad_(False)
        model.get_input_embeddings().register_forward_hook(lambda _, __, output: output.requires_grad_(True))
    (part,) = stepper.passes(rows.tokenized)
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as forward, saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = stepper.forward(part)
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    return _Count(forward.get_total_flops(), backward.get_total_flops(), sum(kept.values()), parameters)


@dataclass(frozen=True)
class Estimate:
    """A way of training on so many cards.

    Attributes:
        way: `frozen` reads the features of every text once; `LoRA`; `full`.
        cards: their number.
        kept: bytes a card of parameters, gradients and optimizer.
        working: bytes a card of gathered layers and activations.
        compute: seconds of a step, at the best and the worst published utilization.
        traffic: seconds of a step's collectives, if nothing else ran.
        pairs_per_second: of all cards, where traffic hides behind nothing and where it hides wholly.
    """

    way: str
    cards: int
    kept: float
    working: float
    compute: tuple[float, float]
    traffic: float
    pairs_per_second: tuple[float, float]


def estimate(layer: Layer, shape: DecoderShape, way: str, cards: int, step: Step, card: Card) -> Estimate:
    """The formulas.

    A step of T positions costs T times every layer's forward, backward and again forward operations, the last for
    checkpointing; a frozen backbone costs one forward. `full` keeps 16 bytes a parameter over all cards (float32
    weight, gradient, two moments), LoRA 4. A step of theirs gathers all weights in bfloat16 before the forward and
    again before the backward pass, and scatters the float32 gradients of `full`; each moves (n - 1) / n of them. A
    frozen backbone is whole on every card, in bfloat16, and nothing moves.
    """
    parameters = shape.layers * layer.parameters + shape.hidden * (shape.vocabulary or 0)
    operations = layer.forward if way == "frozen" else 2 * layer.forward + layer.backward[way]
    work = shape.layers * operations / layer.positions * step.positions / card.operations
    slow, fast = (work / share for share in card.utilization)
    moved = {"frozen": 0, "LoRA": 4, "full": 8}[way] * parameters * (cards - 1) / cards
    traffic = moved / card.link(cards)
    in_parts = cards > 1 and way != "frozen"
    gathered = 4 * layer.parameters * in_parts + 4 * layer.parameters * (way == "full")
    checkpoints = 0 if way == "frozen" else shape.layers * step.positions * shape.hidden * 2
    pairs = cards * step.positions / step.positions_per_pair
    return Estimate(
        way, cards,
        kept={"frozen": 2, "LoRA": 4, "full": 16}[way] * parameters / (1 if way == "frozen" else cards),
        working=gathered + checkpoints + layer.activations * step.positions,
        compute=(fast, slow), traffic=traffic,
        pairs_per_second=(pairs / (slow + traffic), pairs / max(fast, traffic)),
    )  # fmt: skip


@dataclass(frozen=True)
class Step:
    """What a card computes between two updates: packed positions, and those of a pair."""

    positions: int
    positions_per_pair: float


def layer_table(layer: Layer, shape: DecoderShape, scores: int) -> Table:
    """The counts, beside what the shapes give."""
    table = Table("One layer, a position", ["what", "counted", "from the shapes"])
    by_shape = replace(shape, layers=1).forward_operations(layer.positions, scores)
    million = 1e6 * layer.positions
    table.add("forward, MFLOP", f"{layer.forward / million:,.1f}", f"{by_shape / million:,.1f}")
    table.add(
        "backward, all weights, MFLOP", f"{layer.backward['full'] / million:,.1f}", f"{2 * by_shape / million:,.1f}"
    )
    table.add("backward, LoRA, MFLOP", f"{layer.backward['LoRA'] / million:,.1f}", "-")
    table.add("kept for backward, KiB", f"{layer.activations / 1024:,.1f}", "-")
    table.add(
        "parameters, million",
        f"{layer.parameters / 1e6:,.1f}",
        f"{replace(shape, layers=1).matrix_parameters / 1e6:,.1f}",
    )
    table.notes.append(
        f"Counted on {layer.positions:,} packed positions. On a processor torch does not count attention's products of "
        "queries and keys, which the shapes include."
    )
    return table


def estimates_table(found: Sequence[Estimate], pairs: Sequence[float], card: Card) -> Table:
    """One row a way and number of cards."""
    columns = ["way, cards", "kept GiB", "working GiB", "of a card", "compute s", "traffic s", "pairs/s"]
    table = Table("Estimate, nothing of it run", [*columns, *(f"{count:,.0f} pairs, h" for count in pairs)])
    for one in found:
        share = (one.kept + one.working) / card.memory
        low, high = one.pairs_per_second
        hours = [f"{count / high / 3600:,.2g} to {count / low / 3600:,.2g}" for count in pairs]
        table.add(
            f"{one.way}, {one.cards}", f"{one.kept / GIB:,.1f}", f"{one.working / GIB:,.1f}",
            f"{share:.0%}" if share <= 1 else "too much", "{:.2f} to {:.2f}".format(*one.compute), f"{one.traffic:.2f}",
            f"{low:,.0f} to {high:,.0f}", *(hours if share <= 1 else ["-"] * len(pairs)),
        )  # fmt: skip
    return table


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Options; `--quick` sets those of toy size."""
    options = parser(__doc__)
    options.add_argument("--data", nargs="*", default=[], help="files of pairs; without, pairs are generated")
    options.add_argument("--pairs", nargs="+", type=float, default=[1e5, 1e6, 1e7], help="one epoch of so many")
    options.add_argument("--cards", nargs="+", type=int, default=[1, 8, 16])
    options.add_argument("--positions", type=int, default=16_384, help="packed positions a card and step")
    options.add_argument("--counted", type=int, default=1, help="pairs that operations are counted on")
    return options.parse_args(given)


def main() -> None:
    """Count, estimate and print."""
    options = arguments()
    quiet()
    job = Job("toy", TOY_LLAMA, "packed", llama=True) if options.quick else Job("8B", LLAMA_8B, "packed", llama=True)
    rows = read_rows(options.data, 1000, 4096)
    each = needed_scores(rows.tokenized, "packed")[0] / len(rows)
    few = rows.take(range(options.counted))
    layer, card, step = counted_layer(job, few), Card(), Step(options.positions, each)
    found = [estimate(layer, job.shape, way, cards, step, card) for way in WAYS for cards in options.cards]
    tables = [
        layer_table(layer, job.shape, needed_scores(few.tokenized, "packed")[1]),
        estimates_table(found, options.pairs, card),
    ]
    tables[1].notes.append(
        f"{options.positions:,} packed positions a card and step, {each:,.0f} a pair ({rows.source}); gradient "
        "checkpointing; 'to' spans the published utilization, and traffic hidden wholly or not at all."
    )
    finish(options, tables, {"layer": asdict(layer), "card": asdict(card), "estimates": [asdict(one) for one in found]})


if __name__ == "__main__":
    main()
