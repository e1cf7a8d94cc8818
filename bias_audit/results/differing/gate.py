"""Whether a comparison stops a pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from bias_audit.config.schema import FailOn
from bias_audit.results.audit import AuditResult, SubjectResult
from bias_audit.results.differing.matching import Pair
from bias_audit.results.differing.shapes import Change, Gate, VerdictChange

_CHANGED = frozenset({"improved", "worse", "higher", "lower"})


def gate_of(
    fail_on: Sequence[FailOn],
    changes: Sequence[Change],
    verdicts: Sequence[VerdictChange],
    *,
    lacking: Iterable[str],
) -> Gate:
    """Hold a comparison against what is to stop a pipeline.

    Args:
        fail_on: What does; nothing: the gate is open.
        changes: Of all numbers.
        verdicts: Of all criteria.
        lacking: What AFTER does not have and BEFORE has: a gate that was asked for does not open
            on missing evidence.
    """
    asked = tuple(dict.fromkeys(fail_on))
    if not asked:
        return Gate(fail_on=(), reasons=(), outcome="open")
    decided = [what for what in asked if what != "undecided"]
    failing = [why for what in decided for why in _reasons(what, changes, verdicts)]
    if failing:
        return Gate(fail_on=asked, reasons=tuple(failing), outcome="failed")
    missing = tuple(lacking)
    if missing:
        return Gate(fail_on=asked, reasons=missing, outcome="missing")
    undecided = tuple(_reasons("undecided", changes, verdicts)) if "undecided" in asked else ()
    return Gate(fail_on=asked, reasons=undecided, outcome="undecided" if undecided else "open")


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
    """What AFTER does not have and BEFORE has, in sentences.

    Args:
        before: The earlier audit.
        verdicts: Of all criteria.
        pairs: The backbones that are compared.
    """
    there = {one.backbone.name for one, _ in pairs}
    for subject in before.subjects:
        if subject.backbone.name not in there:
            yield f"{subject.backbone.name} is not in AFTER"
    for one, other in pairs:
        yield from _lacking_analyses(one, other)
    for verdict in verdicts:
        if verdict.after is None:
            yield f"criterion {verdict.criterion} on {verdict.backbone} is not in AFTER"


def _lacking_analyses(before: SubjectResult, after: SubjectResult) -> Iterator[str]:
    status = {analysis.kind: analysis.status for analysis in after.analyses}
    for analysis in before.analyses:
        if analysis.status == "done" and status.get(analysis.kind) != "done":
            became = "failed" if analysis.kind in status else "is not there"
            yield f"{analysis.title} of {after.backbone.name} {became} in AFTER"
