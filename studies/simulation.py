"""What the two losses find on data drawn from the model itself, with every true parameter known.

    python studies/simulation.py [--seeds 0 1 2] [--json simulation.json]

prints three tables: accuracy and total concentration under (7) and (7'), recovery of the objective weights when
ratings fix A, and the calibration of posterior weights. About two minutes a seed on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from scipy import stats
from torch import Tensor
from torch.distributions import Dirichlet

sys.path.insert(0, str(Path(__file__).parent))

from planted import (
    NUM_EVALUATION,
    Fit,
    Head,
    Pairs,
    Recipe,
    Truth,
    draw_pairs,
    evaluate,
    linear_truth,
    softmax_truth,
    train,
    true_posteriors,
)

from vrm.core.distributions import SemanticFeatures
from vrm.core.likelihoods.ratings import condition_on_ratings
from vrm.core.losses import LossWeights, marginal_terms, variational_terms
from vrm.core.posteriors import RatingModel
from vrm.core.quadrature import log_preference_probability, margin_given_weights

MARGINAL = partial(marginal_terms, num_nodes=8)
VARIATIONAL = partial(variational_terms, num_nodes=8)
BETA_ONE = LossWeights(beta_weights=1.0, beta_features=1.0)
NUM_BINS = 20
NUM_PROPOSALS = 2_000


@dataclass(frozen=True)
class Run:
    """One line of a table: what was trained, its held-out figures, and the raw weight KL in training, in nats."""

    name: str
    seed: int
    fit: Fit
    weight_kl: float


def losses_problem(seed: int, pairs: int = 8_000) -> tuple[Truth, Pairs, Pairs]:
    """Truth, training and held-out pairs for comparing the losses: labels only, A known to the learner."""
    truth = softmax_truth(seed)
    return truth, draw_pairs(truth, pairs, seed), draw_pairs(truth, NUM_EVALUATION, 10_000 + seed)


def recovery_problem(seed: int, pairs: int = 20_000) -> tuple[Truth, Pairs, Pairs]:
    """Truth, training and held-out pairs for recovering weights: labels and ratings, A learned."""
    truth = linear_truth(seed)
    return truth, draw_pairs(truth, pairs, seed, rated=True), draw_pairs(truth, NUM_EVALUATION, 10_000 + seed)


def fit(name: str, head: Head, problem: tuple[Truth, Pairs, Pairs], recipe: Recipe, seed: int) -> Run:
    """Train a head and evaluate it on the held-out pairs."""
    truth, training, held_out = problem
    weight_kl = train(head, training, recipe, seed)
    return Run(name, seed, evaluate(head(held_out.prompts, held_out.texts), truth, held_out), weight_kl)


def oracle(problem: tuple[Truth, Pairs, Pairs], seed: int) -> Run:
    """The planted parameters themselves."""
    truth, _, held_out = problem
    return Run("oracle", seed, evaluate(true_posteriors(truth, held_out), truth, held_out), float("nan"))


def compare_losses(seed: int) -> list[Run]:
    """The oracle, (7) at beta 1 with A learned and known, and (7') for several numbers of draws."""
    problem = losses_problem(seed)
    known = problem[0].decoder
    runs = [oracle(problem, seed)]
    for name, decoder in (("(7), beta 1, A learned", None), ("(7), beta 1, A known", known)):
        torch.manual_seed(seed)
        runs.append(fit(name, Head("softmax", decoder), problem, Recipe(VARIATIONAL, BETA_ONE, 20, samples=8), seed))
    for samples in (4, 8, 16):
        torch.manual_seed(seed)
        recipe = Recipe(MARGINAL, epochs=20, samples=samples)
        runs.append(fit(f"(7'), {samples} draws", Head("softmax", known), problem, recipe, seed))
    return runs


def recover_weights(seed: int) -> list[Run]:
    """The oracle, and (7') with weights of the planted form and by an MLP."""
    problem = recovery_problem(seed)
    runs = [oracle(problem, seed)]
    for form, rate in (("linear", 0.05), ("mlp", 0.02)):
        torch.manual_seed(seed)
        recipe = Recipe(MARGINAL, epochs=20, samples=8, rate=rate)
        runs.append(fit(f"(7'), {form} alpha", Head(form), problem, recipe, seed))
    return runs


def posterior_ranks(
    seed: int, rated: bool, replicates: int = 1_000, total_factor: float = 1.0, ignore_judgment: bool = False
) -> dict[str, Tensor]:
    """Rank of the true w's statistics among 19 posterior draws, (replicates,) each in 0..19, by importance resampling.

    The proposal is the prior (1) and the importance weight the likelihood (8) of the judgment's label, under
    z | ratings where there are any. Beside each weight, the statistics are the mean margin and the likelihood of the
    judgment itself: ranks of the former two are uniform for draws that ignore the judgment, ranks of the last are not.

    Args:
        seed: of the replicates.
        rated: whether a judgment comes with ratings.
        replicates: planted judgments, each with its own prompt.
        total_factor: multiplies alpha in inference only; 1 is the truth.
        ignore_judgment: resample the prior's draws evenly, as a posterior that has learnt nothing.
    """
    truth = softmax_truth(seed, total=2.0)
    pairs = draw_pairs(truth, replicates, 20_000 + seed, rated)
    head = true_posteriors(truth, pairs)
    # float64 from here on: near certainty, log-likelihoods in float32 tie.
    features = SemanticFeatures(head.features.loc.double(), head.features.variance.double())
    decoder = head.decoder.double()
    if "ratings" in pairs.judgments.labels:
        model = RatingModel(
            *(x.double() for x in (head.rating_model.slope, head.rating_model.offset, head.rating_model.scale))
        )
        features = condition_on_ratings(pairs.judgments.ratings.double(), features, decoder, model).features
    label = pairs.judgments.preference
    assert label is not None

    def statistics(w: Tensor) -> tuple[Tensor, Tensor]:
        margins = margin_given_weights(w, features.completion(0), features.completion(1), decoder)
        flat = type(margins)(margins.mean.flatten().unsqueeze(0), margins.variance.flatten().unsqueeze(0))
        first, second = (x.view_as(margins.mean) for x in log_preference_probability(flat))
        return margins.mean, torch.where(label == 1, first, second)

    alpha = truth.concentration(pairs.prompts).double()
    proposals = Dirichlet(alpha * total_factor).sample((NUM_PROPOSALS,))
    margins, likelihood = statistics(proposals)
    importance = torch.zeros_like(likelihood) if ignore_judgment else likelihood
    chosen = torch.multinomial(importance.softmax(0).T, NUM_BINS - 1, replacement=True).T
    true_margin, true_likelihood = statistics(pairs.weights.unsqueeze(0))

    def rank(draws: Tensor, value: Tensor) -> Tensor:
        return (draws.gather(0, chosen) < value).sum(0)

    ranks = {f"w_{k + 1}": rank(proposals[..., k], pairs.weights[:, k]) for k in range(proposals.shape[-1])}
    return ranks | {"margin": rank(margins, true_margin), "likelihood": rank(likelihood, true_likelihood)}


def uniformity(ranks: Tensor) -> float:
    """p-value of the chi-square test that ranks in 0..19 are uniform."""
    return float(stats.chisquare(torch.bincount(ranks, minlength=NUM_BINS).numpy()).pvalue)


def calibration(seed: int) -> dict[str, dict[str, float]]:
    """p-values of uniform ranks by setting and statistic; the last two settings are wrong on purpose."""
    settings = {
        "label": posterior_ranks(seed, rated=False),
        "label and ratings": posterior_ranks(seed, rated=True),
        "wrong: alpha times 4": posterior_ranks(seed, rated=False, total_factor=4.0),
        "wrong: judgment ignored": posterior_ranks(seed, rated=False, ignore_judgment=True),
    }
    return {name: {key: uniformity(value) for key, value in ranks.items()} for name, ranks in settings.items()}


def print_runs(title: str, runs: Sequence[Run]) -> None:
    """A Markdown table, one line a run."""
    print(f"\n{title}\n\n| fit | seed | accuracy | NLL | mean abs(P - 1/2) | total | TV | weight KL |")
    print("|---|---|---|---|---|---|---|---|")
    for run in runs:
        f = run.fit
        figures = f"{f.accuracy:.3f} | {f.nll:.4f} | {f.decisiveness:.4f} | {f.total:.2f} | {f.distance:.3f}"
        print(f"| {run.name} | {run.seed} | {figures} | {run.weight_kl:.4f} |", flush=True)


def print_calibration(seed: int, table: dict[str, dict[str, float]]) -> None:
    """A Markdown table of p-values."""
    print(f"\nCalibration of posterior weights, p-values of uniform ranks, seed {seed}\n")
    names = list(next(iter(table.values())))
    print(f"| setting | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
    for setting, values in table.items():
        print(f"| {setting} | {' | '.join(f'{values[name]:.2g}' for name in names)} |", flush=True)


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    arguments = parser.parse_args()
    losses = [run for seed in arguments.seeds for run in compare_losses(seed)]
    print_runs("Losses: 8,000 labelled pairs, K = d = 4", losses)
    recovery = [run for seed in arguments.seeds for run in recover_weights(seed)]
    print_runs("Weights: 20,000 labelled and rated pairs, A learned", recovery)
    calibrations = {seed: calibration(seed) for seed in arguments.seeds}
    for seed, table in calibrations.items():
        print_calibration(seed, table)
    if arguments.json:
        document = {
            "seeds": arguments.seeds,
            "losses": [asdict(run) for run in losses],
            "recovery": [asdict(run) for run in recovery],
            "calibration": calibrations,
        }
        arguments.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
