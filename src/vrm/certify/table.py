"""A certificate as a table for people, and what each of its numbers promises."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape

from vrm.results.certificate import CertificateDocument, HeadCertificate, Latents
from vrm.results.formats import few_words, number, percent, plural, table

COIN = 0.5
"""Error of who tosses a coin: a bound from here on says nothing."""

_LATENTS = {Latents.MEAN: "mean reward", Latents.DRAWN: "w, z drawn"}
_RATES = ["error %", "test-set bound %", "error of Q %", "KL", "certificate %"]


def print_certificate(console: Console, document: CertificateDocument) -> None:
    """Print both bounds of every head, and sentences that say what they promise and what not."""
    rows = document.rows
    title = (
        f"Wrongly ranked pairs of {plural(rows.prompts, 'prompt')} ({plural(rows.pairs, 'pair')}), the second half of "
        f"{escape(document.run)}"
    )
    certificates = table(title, ["head", "ranks by", "size of A", *_RATES], wrap=True)
    for head in document.heads:
        certificates.add_row(
            head.head,
            _LATENTS[head.latents],
            f"{head.parameters:,}",
            percent(head.test_error),
            percent(head.test_bound),
            percent(head.gibbs_error),
            number(head.kl_divergence, 1),
            percent(head.bound),
        )
    console.print(certificates)
    for sentence in sentences(document):
        console.print(sentence, markup=False)


def sentences(document: CertificateDocument) -> Iterator[str]:
    """What the numbers of a document promise, and what they do not."""
    heads, rows = document.heads, document.rows
    first, probable = heads[0], f"{100 * (1 - document.delta):g} %"
    fitted = "The head was" if heads[-1].head == first.head else "Both heads were"
    yield f"{fitted} fitted anew to {plural(rows.refit, 'row')} of the run's other prompts."
    yield (
        f"test-set bound: with a probability of {probable} over the choice of these prompts, the refitted {first.head} "
        f"ranks at most {percent(first.test_bound)} % of the pairs of new prompts wrongly. Nothing of it was fitted to "
        "these prompts, so that this is the tightest promise and the number to quote."
    )
    yield (
        f"certificate: with the same probability, {first.head} ranks at most {percent(first.bound)} % of them wrongly "
        "when its decoder A is drawn from Q for every pair. Q was fitted to these prompts too, and pays for that by "
        "its KL to a prior around the refitted A. It shows what the theory is worth and replaces no test set."
    )
    yield (
        "Neither speaks of the model in the run, which saw all prompts; of prompts from elsewhere; or of whether the "
        "labels are right. Each number holds by itself. For all at once, divide --delta by how many there are."
    )
    yield from _comparison(heads)
    few = few_words(rows.prompts)
    if few:
        yield few


def _comparison(heads: tuple[HeadCertificate, ...]) -> Iterator[str]:
    for head in heads:
        if head.bound >= COIN:
            yield f"The certificate of {head.head} ({_LATENTS[head.latents]}) says nothing: a coin errs on 50 %."
    first, last = heads[0], heads[-1]
    if first.head == last.head:
        return
    tighter, looser = (first, last) if first.bound < last.bound else (last, first)
    yield (
        f"The certificate of {tighter.head} is the lower one, {percent(tighter.bound)} % against "
        f"{percent(looser.bound)} % of {looser.head}."
    )
