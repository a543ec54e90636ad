"""Milliseconds of a loss and its gradient for one batch, by what the judgments hold.

python studies/core_speed.py [--threads 2] [--batch 1024]
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures, concentration_from_logits
from vrm.core.likelihoods.base import Judgments
from vrm.core.losses import LossWeights, marginal_terms, variational_terms, weighted_loss
from vrm.core.posteriors import Posteriors, RatingModel
from vrm.core.predictive import fixed_weight_draws

OBJECTIVES, FEATURES = 16, 8


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape).requires_grad_()


def milliseconds(work: Callable[[], object], repeats: int = 20) -> float:
    """Least time of several calls, after two to warm up: other work on the machine only ever adds."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times[2:])


def judgments(batch: int) -> dict[str, Judgments]:
    """Batches of comparisons, alone and with what may come beside them."""
    mask, preference = torch.ones(batch, 2, dtype=torch.bool), torch.ones(batch)
    ratings = torch.randn(batch, 2, OBJECTIVES)
    some = ratings.clone()
    some[batch // 8 :] = math.nan
    return {
        "label": Judgments(mask, preference=preference),
        "label, votes": Judgments(mask, preference=preference, votes=torch.rand(batch, OBJECTIVES)),
        "label, 1/8 rated": Judgments(mask, preference=preference, ratings=some),
        "label, all rated": Judgments(mask, preference=preference, ratings=ratings),
        "ranked pair": Judgments(mask, scores=torch.randn(batch, 2)),
    }


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1024)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    batch, prior = arguments.batch, torch.ones(OBJECTIVES)
    logits, log_total, decoder = leaf(batch, OBJECTIVES), leaf(batch), leaf(OBJECTIVES, FEATURES)
    loc, log_variance, offset = leaf(batch, 2, FEATURES), leaf(batch, 2, FEATURES), leaf(OBJECTIVES)
    model = RatingModel(torch.ones(()).requires_grad_(), offset, torch.ones(OBJECTIVES).requires_grad_())

    def head() -> Posteriors:
        weights = ObjectiveWeights.from_concentration(concentration_from_logits(logits, log_total))
        return Posteriors(weights, SemanticFeatures(loc, log_variance.exp()), decoder, model)

    print(f"| loss, draws | {' | '.join(judgments(2))} |\n|---{'|---' * len(judgments(2))}|")
    for name, loss in (("(7)", variational_terms), ("(7')", marginal_terms)):
        for samples in (4, 16):
            row = []
            for judged in judgments(batch).values():

                def step(judged: Judgments = judged) -> None:
                    terms = loss(head(), judged, prior, samples)  # noqa: B023
                    weighted_loss(terms, LossWeights(beta_weights=0.1, beta_features=0.1)).loss.mean().backward()

                row.append(f"{milliseconds(step):.1f}")
            print(f"| {name}, {samples} | {' | '.join(row)} |", flush=True)
    print(
        f"\n64 fixed draws of w for {batch} rows: {milliseconds(lambda: fixed_weight_draws(head().weights), 5):.0f} ms"
    )


if __name__ == "__main__":
    main()
