"""The numbers of an audit that can be compared with those of another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Final

from bias_audit.results.audit import AuditResult, SubjectResult
from bias_audit.results.contributions import Contributions, MeasureKey, Of, read_contributions
from bias_audit.results.numbers import Number, numbers_of
from bias_audit.results.store import audit_bytes, parse_audit
from bias_audit.shapes.layer_curve import GUESSING
from bias_audit.statistics.estimate import Estimate, standard_error
from bias_audit.statistics.inference import Measured

_MEASURED_AS: Final = {
    "recall": "balanced_accuracy",
    "within_auc": "macro_auc",
    "cell_auc": "macro_auc",
}
"""Quantities of groups, by the quantity of a curve that comes from the same probes."""
FOLLOWS: Final = frozenset({"interaction"})
"""Quantities that follow from others which are compared."""
Key = tuple[str, int, MeasureKey]
"""Kind of the analysis, its number among those of its kind, and the number's key in it."""


@dataclass(frozen=True)
class Audited:
    """A finished audit, with what the cache still contains."""

    result: AuditResult
    folder: str
    audit_sha256: str
    contributions: Mapping[str, Contributions] = field(default_factory=dict)
    """By the name that analyses give."""

    @property
    def any_contributions(self) -> Contributions | None:
        """Of any analysis: all of them are about the same images."""
        return next(iter(self.contributions.values()), None)


@dataclass(frozen=True)
class Comparable:
    """One number."""

    estimate: Estimate
    noise: float | None
    """Standard deviation by refitting; None where it was not measured."""
    measured: Measured | None
    """With the contributions of single images; None where the cache does not have them."""
    units: Contributions | None
    """Whose units these are."""


def comparables(audited: Audited, subject: SubjectResult) -> dict[Key, Comparable]:
    """Every number of a backbone that has an interval, by its key; the first of equal keys."""
    entries = {
        (kind, place): audited.contributions.get(analysis.contributions or "")
        for kind in {analysis.kind for analysis in subject.analyses}
        for place, analysis in enumerate(a for a in subject.analyses if a.kind == kind)
    }
    all_numbers = [*numbers_of(subject.backbone.name, subject.analyses)]
    refits = {(n.quantity, n.target): n for n in all_numbers if n.refit_sd is not None}
    found: dict[Key, Comparable] = {}
    for number in all_numbers:
        if number.quantity in FOLLOWS or number.layer is None:
            continue
        entry = entries[number.analysis, number.place]
        group = None if number.group is None else number.group.levels
        values: tuple[tuple[Of, Estimate | None], ...] = (
            ("estimate", number.estimate),
            ("lift", number.lift),
        )
        for of, estimate in values:
            if estimate is not None:
                key = MeasureKey(number.quantity, number.target, number.layer, group, of)
                place = (number.analysis, number.place, key)
                sd = _noise_of(number, of, estimate, refits)
                measured = None if entry is None else entry.measures.get(key)
                found.setdefault(place, Comparable(estimate, sd, measured, entry))
    return found


def _noise_of(
    number: Number, of: Of, estimate: Estimate, refits: Mapping[tuple[str, str], Number]
) -> float | None:
    """Standard deviation by refitting; None where it was not measured.

    A group's is the same share of its standard error as that of the probe overall. Controls are
    fitted as the probe is, so a lift over one varies as two fits do.
    """
    if number.group is not None:
        quantity = _MEASURED_AS.get(number.quantity, number.quantity)
        known = refits.get((quantity, number.target)) or refits.get((quantity, "intersection"))
        if known is None or known.refit_share is None:
            return None
        return known.refit_share * standard_error(estimate)
    if number.refit_sd is None or of == "estimate" or number.over == GUESSING:
        return number.refit_sd
    return sqrt(2) * number.refit_sd


def open_audited(folder: Path, *, cache: Path | None = None) -> Audited:
    """Read a run folder, and the entries that its analyses name of `cache`, or of its config's.

    Entries that are not there, or are damaged, are left out.

    Raises:
        OutputError: The folder holds no audit of this version.
    """
    content = audit_bytes(folder)
    result = parse_audit(content, source=str(folder / "audit.json"))
    named = (result.config.get("output") or {}).get("cache")
    place = cache or (Path(named) if isinstance(named, str) else None)
    analyses = (analysis for subject in result.subjects for analysis in subject.analyses)
    names = dict.fromkeys(each.contributions for each in analyses)
    entries = {name: read_contributions(place, name) for name in names if name and place}
    found = {name: entry for name, entry in entries.items() if entry is not None}
    return Audited(result, str(folder), hashlib.sha256(content).hexdigest(), found)
