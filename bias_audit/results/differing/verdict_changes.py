"""What became of each criterion between two audits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bias_audit.results.audit import AuditResult, SubjectResult
from bias_audit.results.differing.shapes import VerdictChange
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
    return tuple(
        _change(key, earlier.get(key), later.get(key)) for key in dict.fromkeys((*later, *earlier))
    )


def _change(key: tuple[str, str], before: Verdict | None, after: Verdict | None) -> VerdictChange:
    told = after or before
    if told is None:
        raise ValueError(f"expected a verdict on {key[0]}, got none")
    is_same = before is not None and after is not None and _claim(before) == _claim(after)
    return VerdictChange(
        criterion=key[0],
        backbone=key[1],
        target=told.criterion.target,
        layer=told.criterion.layer,
        before=before and before.outcome,
        after=after and after.outcome,
        is_same_criterion=is_same,
        outcome=_went(
            None if before is None else before.outcome, None if after is None else after.outcome
        ),
    )


def _claim(verdict: Verdict) -> dict[str, object]:
    """What is held against which margin, whatever the reasons."""
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
