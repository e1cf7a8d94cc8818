"""Whether a claim of decodability is left when similar images count as one person.

Where identity is not recorded, images of one person may fall into different folds, and a probe
that recognises people then seems to read their label. No similarity finds all such images, so
each claim is checked again with the most similar clusters merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.probing.decodability import (
    Comparison,
    Decodability,
    ProbedTarget,
    decodability,
    layer_probe,
)
from bias_audit.analyses.probing.probes import ProbeSettings, part_of
from bias_audit.analyses.probing.separability import AUC
from bias_audit.analyses.wording import interval
from bias_audit.statistics.estimate import Estimate, allowing_for_choice

TOGETHER = (2, 4)
"""Clusters that are merged into one."""
_CLAIMED = "is linearly decodable"


@dataclass(frozen=True)
class Recheck:
    """A claim about one target, with the most similar clusters merged."""

    layer: str
    found: Mapping[int, Comparison | None]
    """By how many clusters were merged; None where too few were left to measure."""
    choice: float
    """Share of the error rate that the choice of the layer left."""

    @property
    def lifts(self) -> dict[int, Estimate | None]:
        """Over the strongest baseline, by how many clusters were merged."""
        return {
            n: None if each is None else allowing_for_choice(each.lift, self.choice)
            for n, each in self.found.items()
        }

    def holds(self, together: int) -> bool:
        """Whether the lift over the strongest baseline lies above 0."""
        lift = self.lifts[together]
        return lift is not None and lift.lower > 0

    @property
    def stands(self) -> bool:
        """Whether the claim is left at the first step."""
        return self.holds(TOGETHER[0])


def rechecks(
    subject: Subject, results: Sequence[Decodability], settings: ProbeSettings
) -> dict[str, Recheck]:
    """Fit the probes of all claims again, at the layers claimed, with clusters merged.

    Args:
        subject: The subject.
        results: By macro AUC.
        settings: Of the probes.

    Returns:
        By target; empty where identity is recorded.

    Raises:
        AnalysisError: Activations are not finite.
    """
    if subject.likeness is None:
        return {}
    merged = {n: subject.likeness.merged(subject.faces.clusters, n) for n in TOGETHER}
    seen = {
        n: replace(subject, faces=replace(subject.faces, clusters=clusters), shuffles=1, refits=0)
        for n, clusters in merged.items()
    }
    found = {}
    for result in results:
        claimed = _claimed(result)
        if claimed is not None:
            found[result.probed.target.name] = Recheck(
                claimed.layer,
                {n: _refitted(each, result, claimed.layer, settings) for n, each in seen.items()},
                result.lift_choice,
            )
    return found


def _claimed(result: Decodability) -> Comparison | None:
    """Where a target is claimed: at its best layer, or else where its claim is surest."""
    if result.best is not None and result.best[1].claim > 0:
        return result.best[1]
    known = [comparison for comparison in result.comparisons if comparison is not None]
    surest = max(known, key=lambda comparison: comparison.claim, default=None)
    return surest if surest is not None and surest.claim > 0 else None


def _refitted(
    subject: Subject, result: Decodability, layer: str, settings: ProbeSettings
) -> Comparison | None:
    """The layer and its baselines on the merged clusters; None where too few are left."""
    target = result.probed.target
    part = part_of(subject, target, settings)
    if part.not_measured is not None:
        return None
    probed = ProbedTarget(target, part, (layer_probe(subject, target, layer, settings),))
    (again,) = decodability(subject, (probed,), AUC, level=result.surest.estimate.level)
    return again.comparisons[0]


def caution(recheck: Recheck | None) -> tuple[str, str, str]:
    """How a claim is worded: its verb, what follows the layer, and a sentence of numbers."""
    if recheck is None:
        return _CLAIMED, "", ""
    numbers = "; ".join(
        f"{n} together: {'too few are left' if lift is None else interval(lift)}"
        for n, lift in recheck.lifts.items()
    )
    more = (
        f" Lift over the strongest baseline at {recheck.layer} with the most similar images, or "
        f"sets of images, counted as one person: {numbers}."
    )
    if not recheck.stands:
        text = (
            " only if no two similar images show one person (who is shown is not recorded, and "
            "this may be recognition of single people)"
        )
        return "seems to be linearly decodable", text, more
    last = TOGETHER[-1]
    if all(map(recheck.holds, TOGETHER)):
        text = " (who is shown is not recorded; also when similar images count as one person)"
    else:
        text = (
            f" (who is shown is not recorded; also with {TOGETHER[0]} similar images counted as "
            f"one person, but not with {last}, so this may be recognition of single people)"
        )
    return _CLAIMED, text, more


def recheck_estimates(recheck: Recheck | None) -> dict[str, Estimate]:
    """The numbers of a check, by name, as a finding holds them."""
    known = {} if recheck is None else recheck.lifts
    return {f"lift, {n} similar together": lift for n, lift in known.items() if lift is not None}


def likeness_method(subject: Subject) -> tuple[str, ...]:
    """How unrecorded identity was dealt with, in sentences."""
    if subject.likeness is None:
        return ()
    return (
        "Who is shown is not recorded for all images. Images that are more similar than the "
        "density of other images around them explains (an exponential tail fitted to the "
        "similarity of further neighbours) count as one person. Every claim of decodability is "
        f"checked again at its layer with the {' and '.join(map(str, TOGETHER))} most similar of "
        "these people counted as one; it is worded as a claim without doubt only if the interval "
        "of its lift over the strongest baseline stays above 0.",
    )


def likeness_limits(subject: Subject) -> tuple[str, ...]:
    """What the similarity of images cannot show, in sentences."""
    if subject.likeness is None:
        return ()
    return (
        "Images of one person that do not look alike to the backbone, and people with more than "
        "ten images, are not found by similarity; only recorded identities exclude that a probe "
        "recognises people.",
    )
