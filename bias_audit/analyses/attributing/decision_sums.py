"""The sums over images that all numbers about a decision come from, kept in the subject's cache.

The module imports everything that computes them, and nothing that words or draws them, so that
they are computed again after a change of the former alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from bias_audit.analyses.analysis import Arrays, Input, Network, Subject
from bias_audit.analyses.attributing.passing import MapSums, Question, Sample, summed
from bias_audit.analyses.attributing.questions import Decided
from bias_audit.analyses.attributing.rewiring import rewired
from bias_audit.analyses.attributing.totals import Totals
from bias_audit.analyses.attributing.trust import TrustSample, checked


def attributable(network: Network) -> nn.Module:
    """A copy of the backbone, whose decisions can be attributed; see `rewired`."""
    seen = network.preprocessing
    return rewired(network.module, (seen.height, seen.width))


def map_sums(
    subject: Subject, network: Network, decided: Decided, question: Question, sample: Sample
) -> MapSums:
    """Attribute every image by every method and add up by group.

    Args:
        subject: The subject.
        network: Its backbone.
        decided: The decision.
        question: What of it is attributed, how, and to what.
        sample: On which images.
    """
    title = f"Attribution of {decided.target} on {subject.name}"
    with subject.progress.step(title, total=len(sample.images), unit="image") as step:

        def compute(begun: Arrays | None) -> Iterator[Arrays]:
            return summed(question, sample, network, begun=begun, step=step)

        inputs = (sample.images, sample.clusters, sample.member)
        asked = _inputs(subject, network, decided, question)
        return MapSums.stored(subject.resumed("attribution", *asked, *inputs, compute=compute))


def trust_totals(
    subject: Subject,
    network: Network,
    decided: Decided,
    question: Question,
    sample: TrustSample,
    *,
    seed: int,
) -> Totals:
    """Check every method on some images.

    Args:
        subject: The subject.
        network: Its backbone.
        decided: The decision.
        question: What of it is attributed, how, and to what.
        sample: On which images.
        seed: Of shuffled weights, covered squares and noise.
    """
    n_images = len(sample.images)
    title = f"Checks of the maps of {decided.target} on {subject.name}"
    with subject.progress.step(title, total=n_images, unit="image") as step:

        def compute() -> Arrays:
            found = checked(
                question, sample, network, n_levels=decided.n_levels, seed=seed, step=step
            )
            return found.arrays()

        kept = subject.cached(
            "trust",
            *_inputs(subject, network, decided, question),
            sample.images,
            sample.places,
            str(decided.n_levels),
            str(seed),
            compute=compute,
        )
        if kept.is_there:
            step.advance(n_images)
        return Totals.stored(1, kept.arrays())


def _inputs(
    subject: Subject, network: Network, decided: Decided, question: Question
) -> tuple[Input, ...]:
    return (
        subject.activations,
        network,
        decided,
        ",".join(method.name for method in question.methods),
        repr(question.settings),
        f"{question.side} {question.batch_size}",
        question.regions.member,
        ",".join(question.regions.names),
    )
