"""Which backbones, images and numbers of two audits belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bias_audit.config.schema import FailOn
from bias_audit.errors import AuditError
from bias_audit.results.audit import TOGETHER, AuditResult, SubjectResult
from bias_audit.results.differing.comparables import Audited, Comparable, Key
from bias_audit.results.differing.shapes import Change, Gate, NotCompared, VerdictChange
from bias_audit.results.verdict import Outcome, Verdict

Went = Literal["improved", "worse", "same", "changed", "not compared"]


def verdict_changes(
    before: AuditResult, after: AuditResult, pairs: Sequence[tuple[SubjectResult, SubjectResult]]
) -> tuple[VerdictChange, ...]:
    """Every criterion of either audit on every backbone that both have, by its name."""
    renamed = {one.backbone.name: other.backbone.name for one, other in pairs}
    earlier = {
        (v.criterion.name, renamed[v.backbone]): v
        for v in before.verdicts
        if v.backbone in renamed
    }
    later = {
        (v.criterion.name, v.backbone): v for v in after.verdicts if v.backbone in renamed.values()
    }
    changes = []
    for key in dict.fromkeys((*later, *earlier)):
        one, other = earlier.get(key), later.get(key)
        criterion = (other or earlier[key]).criterion
        was = None if one is None else one.outcome
        is_now = None if other is None else other.outcome
        change = VerdictChange(
            criterion=key[0],
            backbone=key[1],
            target=criterion.target,
            layer=criterion.layer,
            before=was,
            after=is_now,
            is_same_criterion=one is not None
            and other is not None
            and _claim(one) == _claim(other),
            outcome=_went(was, is_now),
        )
        changes.append(change)
    return tuple(changes)


def _claim(verdict: Verdict) -> dict[str, object]:
    """What is compared with which margin, whatever the reasons."""
    return verdict.criterion.model_dump(exclude={"rationale", "backbones"})


def _went(before: Outcome | None, after: Outcome | None) -> Went:
    """A verdict that comes to FAIL is worse, one that leaves it improved; the rest is a change."""
    if before is None or after is None:
        return "not compared"
    if before == after:
        return "same"
    if after == "FAIL":
        return "worse"
    return "improved" if before == "FAIL" or after == "PASS" else "changed"


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
            "AFTER: they are the only backbones whose names differ, and they have one "
            "architecture.",
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
    for here, there, side, missing_from in (
        (before, after, "BEFORE", "AFTER"),
        (after, before, "AFTER", "BEFORE"),
    ):
        layers: dict[tuple[str, str], set[str]] = {}
        for _, _, key in there:
            layers.setdefault((key.quantity, key.target), set()).add(key.layer)
        counts: Counter[tuple[str, str]] = Counter()
        for place in here:
            if place not in there:
                key = place[2]
                at = layers.get((key.quantity, key.target), {key.layer})
                reason = f"{missing_from} does not have it"
                if key.layer not in at:
                    reason = (
                        f"{side} has it at {key.layer}, {missing_from} at "
                        f"{', '.join(sorted(at)[:3])}"
                    )
                counts[f"{key.quantity} of {key.target}", reason] += 1
        for (what, reason), count in counts.items():
            yield NotCompared(what=f"{what} on {backbone}", count=count, reason=reason)


def alone(before: Audited, after: Audited, pairs: Sequence[Pair]) -> Iterator[NotCompared]:
    """Backbones of one side alone, and results of several together."""
    for subjects, place, missing_from in (
        (before.result.subjects, 0, "AFTER"),
        (after.result.subjects, 1, "BEFORE"),
    ):
        names = {pair[place].backbone.name for pair in pairs}
        for name in (subject.backbone.name for subject in subjects):
            if name not in names:
                reason = f"{missing_from} does not have it"
                yield NotCompared(what=f"backbone {name}", count=1, reason=reason)
    joint = (*before.result.together, *after.result.together)
    for title in dict.fromkeys(analysis.title for analysis in joint):
        reason = "results about several backbones together are not compared between audits"
        yield NotCompared(what=f"{title} of {TOGETHER}", count=1, reason=reason)


_CHANGED = frozenset({"improved", "worse", "higher", "lower"})


def gate_of(
    fail_on: Sequence[FailOn],
    changes: Sequence[Change],
    verdicts: Sequence[VerdictChange],
    *,
    lacking: Iterable[str],
) -> Gate:
    """Hold a comparison against what is to stop a pipeline; nothing is: the gate is open.

    A gate that was requested does not open on missing evidence: what AFTER is `lacking`.
    """
    requested = tuple(dict.fromkeys(fail_on))
    if not requested:
        return Gate(fail_on=(), reasons=(), outcome="open")
    decided = [what for what in requested if what != "undecided"]
    failing = [why for what in decided for why in _reasons(what, changes, verdicts)]
    if failing:
        return Gate(fail_on=requested, reasons=tuple(failing), outcome="failed")
    missing = tuple(lacking)
    if missing:
        return Gate(fail_on=requested, reasons=missing, outcome="missing")
    undecided = tuple(_reasons("undecided", changes, verdicts)) if "undecided" in requested else ()
    return Gate(fail_on=requested, reasons=undecided, outcome="undecided" if undecided else "open")


def _reasons(
    what: FailOn, changes: Sequence[Change], verdicts: Sequence[VerdictChange]
) -> Iterator[str]:
    wanted = _CHANGED if what == "changed" else frozenset({what})
    counts = Counter(change.outcome for change in changes if change.outcome in wanted)
    yield from (f"{count} of {len(changes)} numbers {name}" for name, count in counts.items())
    stops = {"worse": {"worse"}, "changed": {"worse", "improved", "changed"}, "undecided": set()}
    for verdict in verdicts:
        if verdict.outcome in stops[what]:
            moved = f"{verdict.before} -> {verdict.after}"
            yield f"{verdict.criterion} on {verdict.backbone}: {moved}"


def lacking(
    before: AuditResult, verdicts: Sequence[VerdictChange], pairs: Sequence[Pair]
) -> Iterator[str]:
    """What AFTER does not have and BEFORE has, in sentences."""
    there = {one.backbone.name for one, _ in pairs}
    for subject in before.subjects:
        if subject.backbone.name not in there:
            yield f"{subject.backbone.name} is not in AFTER"
    for one, other in pairs:
        status = {analysis.kind: analysis.status for analysis in other.analyses}
        for analysis in one.analyses:
            if analysis.status == "done" and status.get(analysis.kind) != "done":
                became = "failed" if analysis.kind in status else "is not there"
                yield f"{analysis.title} of {other.backbone.name} {became} in AFTER"
    for verdict in verdicts:
        if verdict.after is None:
            yield f"criterion {verdict.criterion} on {verdict.backbone} is not in AFTER"
