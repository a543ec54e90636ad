"""What `vrm certify` writes: the bound (18) of a run's head and of `bt`, beside the bound of a plain test set."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vrm.results.base import Document, Kind


class Latents(StrEnum):
    """What objective weights and semantic features are when a pair is ranked."""

    MEAN = "mean"
    """At their means, so that the mean reward ranks."""
    DRAWN = "drawn"
    """Drawn anew for every pair, as (18) has it."""


@dataclass(frozen=True)
class HeadCertificate:
    """What the bounds say of one head; rates are of wrongly ranked pairs, in [0, 1], a mean over prompts.

    Attributes:
        head: the kind of the head.
        latents: what weights and features are in it.
        parameters: entries of the decoder A.
        test_error: of the refitted head as it is, on the prompts of the bound.
        test_bound: of its error on prompts like these, from these prompts.
        gibbs_error: on them, with A drawn from Q.
        kl_divergence: KL(Q || P) in nats.
        prior_scale: standard deviation of P in units of the root mean square of A's entries.
        bound: (18), of the error on prompts like these with A drawn from Q.
    """

    head: str
    latents: Latents
    parameters: int
    test_error: float
    test_bound: float
    gibbs_error: float
    kl_divergence: float
    prior_scale: float
    bound: float


@dataclass(frozen=True)
class CertifiedRows:
    """The rows behind the bounds.

    Attributes:
        refit: rows of the first half, that the heads were fitted to.
        checkpoint: rows that chose the checkpoint; they share no prompt with the second half.
        prompts: n, prompts of the second half with a pair that its labels decide.
        pairs: of these prompts; ties are none.
    """

    refit: int
    checkpoint: int
    prompts: int
    pairs: int


@dataclass(frozen=True, kw_only=True)
class CertificateDocument(Document):
    """What `vrm certify --json` writes.

    Attributes:
        run: the directory of the run.
        delta: probability that one bound fails.
        seed: of the halves.
        rows: behind the bounds.
        heads: the run's head first, then `bt` unless that is the run's.
        settings: further numbers that the bounds depend on.
        versions: {package: version}.
    """

    kind: Kind = Kind.CERTIFICATE
    run: str
    delta: float
    seed: int
    rows: CertifiedRows
    heads: tuple[HeadCertificate, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
