"""Two audits side by side: what changed, by how much, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any, Final, get_args

from pydantic import ValidationError

from bias_audit.config.catalog import unknown_name
from bias_audit.config.schema import Changes, Criterion, FailOn
from bias_audit.errors import ConfigError, OutputError, first_problem
from bias_audit.groups import Group
from bias_audit.results.audit import SubjectResult
from bias_audit.results.differing.causes import causes, conclusion
from bias_audit.results.differing.comparables import (
    Audited,
    Comparable,
    Difference,
    Key,
    Pairing,
    better_of,
    classed,
    comparables,
    subtract,
)
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
    """The policy of a config with some settings replaced; `better` such as "macro_auc=lower".

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
        reason = "Given on the command line, without a reason."
        changed |= {"margin": margin, "margins": {}, "rationale": reason}
    ways = {}
    for entry in better:
        quantity, _, way = entry.partition("=")
        if not quantity or way not in _WAYS:
            problems.append(
                f"--better: expected QUANTITY=higher or QUANTITY=lower, got {entry!r}; for "
                "example --better macro_auc=lower"
            )
        ways[quantity] = way
    if problems:
        raise ConfigError(problems, source="bias-audit diff")
    if ways:
        changed["better"] = {**policy.better, **ways}
    return Changes.model_validate({**policy.model_dump(), **changed})


__all__ = [
    "AuditDiff", "Audited", "Cause", "Change", "Conclusion", "NotComparableError", "RunReference",
    "VerdictChange", "diff", "parse_diff",
]  # fmt: skip


def diff(before: Audited, after: Audited, policy: Changes | None = None) -> AuditDiff:
    """Compare two audits, number by number, by the policy of AFTER's config if none is given.

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
    unchanged: dict[str, bool] = {}
    for change in compared:
        unchanged[change.backbone] = change.identical and unchanged.get(change.backbone, True)
    found = causes(before.result, after.result, pairs, images=images)
    verdicts = verdict_changes(before.result, after.result, pairs)
    return AuditDiff(
        before=_reference(before),
        after=_reference(after),
        causes=found,
        conclusions=tuple(
            conclusion(name, found, has_changed=not unchanged.get(name, True))
            for name in (later.backbone.name for _, later in pairs)
        ),
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
        raise OutputError(
            f"{source}: expected a comparison of schema_version {DIFF_SCHEMA_VERSION}, got at "
            f"{first_problem(error)}"
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
        is_same = attrgetter("weights_sha256", "preprocessing")
        same = before.result.data.manifest_sha256 == after.result.data.manifest_sha256
        same &= is_same(earlier.backbone) == is_same(later.backbone)
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
            ends = {"before": one[quantity, target], "after": other[quantity, target]}
            name = later.backbone.name
            yield Noise(backbone=name, quantity=quantity, target=target, **ends)


def _pairing_notes(before: Audited, after: Audited, changes: Sequence[Change]) -> Iterator[str]:
    unpaired = sum(not change.paired and not change.identical for change in changes)
    sides = {"BEFORE": before, "AFTER": after}
    gone = [side for side, audited in sides.items() if not audited.contributions]
    why = "some analyses keep nothing by image, or the noise of refitting was not measured"
    if gone:
        why = f"the cache contains nothing by image of {' and '.join(gone)}"
    if unpaired:
        yield (
            f"{unpaired} of {len(changes)} numbers are compared as if the audits shared no image, "
            f"with wider intervals: {why}."
        )
