"""Which backbones, images and numbers of two audits belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bias_audit.errors import AuditError
from bias_audit.results.audit import TOGETHER, SubjectResult
from bias_audit.results.differing.comparables import Audited, Comparable, Key
from bias_audit.results.differing.shapes import NotCompared

Pair = tuple[SubjectResult, SubjectResult]
"""One backbone, before and after."""


class NotComparableError(AuditError):
    """The two audits have nothing in common."""


def pairs_of(before: Audited, after: Audited) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """Backbones by name; a single one left on either side, of one architecture, is a pair too."""
    earlier = {subject.backbone.name: subject for subject in before.result.subjects}
    found = [
        (earlier[subject.backbone.name], subject)
        for subject in after.result.subjects
        if subject.backbone.name in earlier
    ]
    names = {later.backbone.name for _, later in found}
    left = [s for s in before.result.subjects if s.backbone.name not in names]
    right = [s for s in after.result.subjects if s.backbone.name not in names]
    notes: tuple[str, ...] = ()
    if len(left) == len(right) == 1 and _architecture(left[0]) == _architecture(right[0]):
        found.append((left[0], right[0]))
        notes = (
            f"{left[0].backbone.name} of BEFORE is compared with {right[0].backbone.name} of "
            "AFTER: they are the only backbones without a namesake and have one architecture.",
        )
    if not found:
        raise NotComparableError(
            f"{before.folder} and {after.folder}: expected a backbone that both audits have, got "
            f"{', '.join(earlier)} before and "
            f"{', '.join(s.backbone.name for s in after.result.subjects)} after; compare audits "
            "of the same backbone, or give it the same name in both configs"
        )
    return tuple(found), notes


def _architecture(subject: SubjectResult) -> tuple[str, tuple[str, ...]]:
    record = subject.backbone
    return record.architecture, tuple(layer.name for layer in record.layers)


@dataclass(frozen=True)
class Overlap:
    """Images of two audits; None where the cache no longer knows them."""

    shared: int | None = None
    only_before: int | None = None
    only_after: int | None = None
    relabelled: int | None = None
    """Shared ones with other labels."""


def overlap(before: Audited, after: Audited) -> Overlap:
    """How many images two audits share."""
    one, other = before.any_contributions, after.any_contributions
    if one is not None and other is not None:
        earlier = dict(zip(one.images, one.labels, strict=True))
        later = dict(zip(other.images, other.labels, strict=True))
        shared = earlier.keys() & later.keys()
        return Overlap(
            len(shared),
            len(earlier) - len(shared),
            len(later) - len(shared),
            sum(earlier[image] != later[image] for image in shared),
        )
    old, new = before.result.data, after.result.data
    if old.manifest_sha256 == new.manifest_sha256:
        return Overlap(new.n_images, 0, 0, 0)
    if old.images_sha256 is not None and old.images_sha256 == new.images_sha256:
        return Overlap(new.n_images, 0, 0, None)
    return Overlap()


def unmatched(
    backbone: str, before: dict[Key, Comparable], after: dict[Key, Comparable]
) -> Iterator[NotCompared]:
    """Numbers of one side alone, with where the other side has that quantity."""
    for here, there, side, told in (
        (before, after, "BEFORE", "AFTER"),
        (after, before, "AFTER", "BEFORE"),
    ):
        layers: dict[tuple[str, str], set[str]] = {}
        for _, _, key in there:
            layers.setdefault((key.quantity, key.target), set()).add(key.layer)
        counts: Counter[tuple[str, str]] = Counter()
        for place in here:
            if place in there:
                continue
            key = place[2]
            at = layers.get((key.quantity, key.target), set())
            reason = f"{told} does not have it"
            if at and key.layer not in at:
                reason = f"{side} has it at {key.layer}, {told} at {', '.join(sorted(at)[:3])}"
            counts[f"{key.quantity} of {key.target}", reason] += 1
        for (what, reason), count in counts.items():
            yield NotCompared(what=f"{what} on {backbone}", count=count, reason=reason)


def alone(before: Audited, after: Audited, pairs: Sequence[Pair]) -> Iterator[NotCompared]:
    """Backbones of one side alone, and what is asked of several as one."""
    for subjects, place, told in (
        (before.result.subjects, 0, "AFTER"),
        (after.result.subjects, 1, "BEFORE"),
    ):
        names = {pair[place].backbone.name for pair in pairs}
        for subject in subjects:
            if subject.backbone.name not in names:
                yield NotCompared(
                    what=f"backbone {subject.backbone.name}",
                    count=1,
                    reason=f"{told} does not have it",
                )
    joint = (*before.result.together, *after.result.together)
    for title in dict.fromkeys(analysis.title for analysis in joint):
        yield NotCompared(
            what=f"{title} of {TOGETHER}",
            count=1,
            reason="what several backbones are asked as one is not compared between audits",
        )
