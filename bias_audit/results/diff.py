"""Two audits side by side: what changed, by how much, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, get_args

from pydantic import ValidationError

from bias_audit.config.catalog import unknown_name
from bias_audit.config.schema import Changes, Criterion, FailOn
from bias_audit.errors import ConfigError, OutputError
from bias_audit.groups import Group
from bias_audit.results.audit import SubjectResult
from bias_audit.results.differing.causes import causes, conclusion
from bias_audit.results.differing.classing import Difference, Pairing, better_of, classed, subtract
from bias_audit.results.differing.comparables import Audited, Comparable, Key, comparables
from bias_audit.results.differing.matching import (
    NotComparableError,
    Pair,
    alone,
    gate_of,
    lacking,
    overlap,
    pairs_of,
    unmatched,
    verdict_changes,
)
from bias_audit.results.differing.shapes import (
    DIFF_SCHEMA_VERSION,
    AuditDiff,
    Cause,
    Change,
    Conclusion,
    Noise,
    NotCompared,
    RunReference,
    VerdictChange,
)
from bias_audit.results.numbers import curves, numbers_of

_WAYS: Final = ("higher", "lower")


def overridden(
    policy: Changes,
    *,
    fail_on: Sequence[str] = (),
    margin: float | None = None,
    better: Sequence[str] = (),
) -> Changes:
    """The policy with some of it said anew.

    Args:
        policy: As a config declares it.
        fail_on: In place of the config's, if any is given.
        margin: Of every quantity.
        better: Such as "macro_auc=lower", on top of the config's.

    Raises:
        ConfigError: A word is not known, a direction not of this form, or the margin not above 0.
    """
    changed: dict[str, Any] = {}
    problems = [
        f"--fail-on: {unknown_name(word, get_args(FailOn), noun='outcome')}"
        for word in fail_on
        if word not in get_args(FailOn)
    ]
    if fail_on:
        changed["fail_on"] = tuple(fail_on)
    if margin is not None:
        if margin <= 0:
            problems.append(f"--margin: expected a number above 0, got {margin:g}")
        told = "Given on the command line, which says no reason."
        changed |= {"margin": margin, "margins": {}, "rationale": told}
    ways = {}
    for entry in better:
        quantity, _, way = entry.partition("=")
        if not quantity or way not in _WAYS:
            problems.append(
                f"--better: expected QUANTITY=higher or QUANTITY=lower, got {entry!r}; such as "
                "--better macro_auc=lower"
            )
        ways[quantity] = way
    if problems:
        raise ConfigError(problems, source="bias-audit diff")
    if ways:
        changed["better"] = {**policy.better, **ways}
    return Changes.model_validate({**policy.model_dump(), **changed})


__all__ = [
    "AuditDiff",
    "Audited",
    "Cause",
    "Change",
    "Conclusion",
    "NotComparableError",
    "RunReference",
    "VerdictChange",
    "diff",
    "parse_diff",
]


def diff(before: Audited, after: Audited, policy: Changes | None = None) -> AuditDiff:
    """Compare two audits, number by number.

    Args:
        before: The earlier one, or the reference.
        after: The later one.
        policy: Margins, directions and what fails; that of AFTER's config if not given.

    Raises:
        NotComparableError: No backbone, or no number, is in both.
    """
    chosen = policy_of(after) if policy is None else policy
    pairs, notes = pairs_of(before, after)
    images = overlap(before, after)
    criteria = tuple(dict.fromkeys(v.criterion for v in after.result.verdicts))
    compared, missing = _compared(before, after, pairs, chosen, criteria)
    if not compared:
        raise NotComparableError(
            f"{before.folder} and {after.folder}: expected a number that both audits have, found "
            "none; compare audits with the same analyses, targets and layers"
        )
    found = causes(before.result, after.result, pairs, images=images)
    verdicts = verdict_changes(before.result, after.result, pairs)
    return AuditDiff(
        before=_reference(before),
        after=_reference(after),
        causes=found,
        conclusions=_conclusions(pairs, found, compared),
        shared_images=images.shared,
        only_before=images.only_before,
        only_after=images.only_after,
        relabelled=images.relabelled,
        changes=compared,
        verdict_changes=verdicts,
        not_compared=(*alone(before, after, pairs), *missing),
        noise=tuple(_noise(pairs)),
        notes=(*notes, *_pairing_notes(before, after, compared)),
        policy=chosen,
        gate=gate_of(
            chosen.fail_on, compared, verdicts, lacking=lacking(before.result, verdicts, pairs)
        ),
    )


def policy_of(after: Audited) -> Changes:
    """The policy that AFTER's config declares; the default where an older release wrote it."""
    return Changes.model_validate(after.result.config.get("changes") or {})


def parse_diff(content: bytes, *, source: str) -> AuditDiff:
    """Read a comparison back from the bytes of a `diff.json`.

    Raises:
        OutputError: It is damaged, or another schema version wrote it.
    """
    try:
        return AuditDiff.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise OutputError(
            f"{source}: expected a comparison of schema_version {DIFF_SCHEMA_VERSION}, got at "
            f"{where}: {first['msg']}"
        ) from error


def _reference(audited: Audited) -> RunReference:
    provenance = audited.result.provenance
    return RunReference(
        name=audited.result.name,
        folder=audited.folder,
        started=provenance.started,
        config_sha256=provenance.config_sha256,
        audit_sha256=audited.audit_sha256,
    )


def _compared(
    before: Audited,
    after: Audited,
    pairs: Sequence[Pair],
    policy: Changes,
    criteria: Sequence[Criterion],
) -> tuple[tuple[Change, ...], tuple[NotCompared, ...]]:
    pairing = Pairing()
    rows: list[tuple[SubjectResult, Key, Comparable, Comparable, Difference]] = []
    missing: list[NotCompared] = []
    for earlier, later in pairs:
        one, other = comparables(before, earlier), comparables(after, later)
        same = _same_input(before, after, earlier, later)
        missing += unmatched(later.backbone.name, one, other)
        for key in (key for key in other if key in one):
            found = subtract(one[key], other[key], pairing, level=policy.level, same=same)
            rows.append((later, key, one[key], other[key], found))
    betters = [
        better_of(key, policy, criteria, later.backbone.name)
        for later, (_, _, key), _, _, _ in rows
    ]
    margins = [policy.margin_of(key.quantity) for _, (_, _, key), _, _, _ in rows]
    outcomes = classed([row[-1] for row in rows], margins, betters, level=policy.level)
    changes = tuple(
        Change(
            backbone=later.backbone.name,
            analysis=kind,
            quantity=key.quantity,
            target=key.target,
            layer=key.layer,
            group=None if key.group is None else Group(key.group).label,
            of=key.of,
            before=one.estimate,
            after=other.estimate,
            difference=found.estimate,
            equivalence=said.equivalence,
            noise=found.noise,
            p_value=said.p_value,
            adjusted_p=said.adjusted_p,
            margin=margin,
            better=better,
            outcome=said.outcome,
            paired=found.paired,
            identical=found.identical,
        )
        for (later, (kind, _, key), one, other, found), margin, better, said in zip(
            rows, margins, betters, outcomes, strict=True
        )
    )
    return changes, tuple(missing)


def _same_input(
    before: Audited, after: Audited, earlier: SubjectResult, later: SubjectResult
) -> bool:
    return (
        before.result.data.manifest_sha256 == after.result.data.manifest_sha256
        and earlier.backbone.weights_sha256 == later.backbone.weights_sha256
        and earlier.backbone.preprocessing == later.backbone.preprocessing
    )


def _conclusions(
    pairs: Sequence[Pair], found: Sequence[Cause], changes: Sequence[Change]
) -> tuple[Conclusion, ...]:
    return tuple(
        conclusion(
            later.backbone.name,
            found,
            has_changed=any(
                not change.identical
                for change in changes
                if change.backbone == later.backbone.name
            ),
        )
        for _, later in pairs
    )


def _noise(pairs: Sequence[Pair]) -> Iterator[Noise]:
    for earlier, later in pairs:
        one, other = (
            {
                (points[0].quantity, points[0].target): points[0].refit_sd
                for points in curves(numbers_of(each.backbone.name, each.analyses))
            }
            for each in (earlier, later)
        )
        for quantity, target in (key for key in other if key in one):
            yield Noise(
                backbone=later.backbone.name,
                quantity=quantity,
                target=target,
                before=one[quantity, target],
                after=other[quantity, target],
            )


def _pairing_notes(before: Audited, after: Audited, changes: Sequence[Change]) -> Iterator[str]:
    unpaired = sum(not change.paired and not change.identical for change in changes)
    if not unpaired:
        return
    gone = [
        side
        for side, audited in (("BEFORE", before), ("AFTER", after))
        if not audited.contributions
    ]
    why = "for some analyses nothing is kept by image, or the noise of refitting was not measured"
    if gone:
        why = f"the cache holds nothing by image of {' and '.join(gone)}"
    yield (
        f"{unpaired} of {len(changes)} numbers are compared as if the audits shared no image, "
        f"with wider intervals: {why}."
    )
