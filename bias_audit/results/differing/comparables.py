"""The numbers of an audit that can be compared with another's, and what differences amount to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from operator import attrgetter
from pathlib import Path
from typing import Final

import numpy as np

from bias_audit.config.schema import Better, Changes, Criterion
from bias_audit.results.audit import AuditResult, SubjectResult
from bias_audit.results.contributions import Contributions, MeasureKey, Of, read_contributions
from bias_audit.results.differing.shapes import ChangeOutcome
from bias_audit.results.numbers import Number, numbers_of
from bias_audit.results.store import audit_bytes, parse_audit
from bias_audit.shapes.layer_curve import GUESSING
from bias_audit.statistics.comparison import Joined, UnitsOf, join
from bias_audit.statistics.estimate import (
    Estimate,
    at_level,
    interval_at,
    p_of_no_difference,
    standard_error,
)
from bias_audit.statistics.inference import Measured, difference, independent_difference
from bias_audit.statistics.multiplicity import adjusted, is_rejected

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


@dataclass(frozen=True)
class Difference:
    """One number minus another."""

    estimate: Estimate
    noise: float | None
    paired: bool
    identical: bool


class Pairing:
    """Joins the units of two audits once for all numbers that have the same."""

    def __init__(self) -> None:
        """Nothing is joined yet."""
        self._joined: dict[tuple[int, int], Joined] = {}

    def of(self, before: Contributions, after: Contributions) -> Joined:
        """The units of both together; both have to stay in memory."""
        key = id(before), id(after)
        if key not in self._joined:
            self._joined[key] = join(_units_of(before), _units_of(after))
        return self._joined[key]


def _units_of(entry: Contributions) -> UnitsOf:
    clusters = dict(zip(entry.images, entry.clusters.tolist(), strict=True))
    return UnitsOf(clusters, entry.seeds, entry.n_clusters)


def subtract(
    before: Comparable, after: Comparable, pairing: Pairing, *, level: float, same: bool
) -> Difference:
    """AFTER minus BEFORE, image by image where that can be done.

    What two audits of the same images share cancels in a paired difference, and what refitting
    adds does not; so its noise, measured by each audit, is added. Where it was not measured, or
    single images are not known, the two are taken as independent. That needs no noise floor: the
    interval of each number covers what other images and other folds would give.

    Where both audits have the `same` weights, images and labels, equal numbers are one number.
    """
    joined = _joint(before, after, pairing)
    is_equal = _CONTENT(before.estimate) == _CONTENT(after.estimate)
    if is_equal and (same or _equal_by_unit(before, after, joined)):
        n = before.estimate.n
        nothing = Estimate(0.0, 0.0, 0.0, level=level, n=n, method="identical numbers")
        return Difference(nothing, None, paired=joined is not None, identical=True)
    if joined is None or before.measured is None or after.measured is None:
        one, other = (at_level(each.estimate, level) for each in (after, before))
        return Difference(independent_difference(one, other), None, paired=False, identical=False)
    sds = (before.noise or 0.0, after.noise or 0.0)
    first, second = joined.together(before.measured, after.measured, noise=sds)
    found = difference(second, first, level=level)
    method = f"{found.method}, paired by image, noise of refitting added"
    total = float(np.hypot(*sds))
    return Difference(replace(found, method=method), total, paired=True, identical=False)


def _joint(before: Comparable, after: Comparable, pairing: Pairing) -> Joined | None:
    """None where the two cannot be paired."""
    known = (before.noise, after.noise, before.measured, after.measured)
    if any(each is None for each in known) or before.units is None or after.units is None:
        return None
    joined = pairing.of(before.units, after.units)
    return joined if joined.n_shared else None


_CONTENT: Final = attrgetter("value", "lower", "upper", "n")


def _equal_by_unit(before: Comparable, after: Comparable, joined: Joined | None) -> bool:
    """Whether every image contributes the same to both, as where a layer was not touched."""
    if joined is None or before.measured is None or after.measured is None:
        return False
    one, other = joined.together(before.measured, after.measured)
    return bool(np.array_equal(one.influence, other.influence))


@dataclass(frozen=True)
class Classed:
    """What a difference amounts to."""

    p_value: float | None
    adjusted_p: float | None
    equivalence: tuple[float, float]
    outcome: ChangeOutcome


def classed(
    differences: Sequence[Difference],
    margins: Sequence[float],
    betters: Sequence[Better | None],
    *,
    level: float,
) -> tuple[Classed, ...]:
    """Equivalent within the margin, else changed beyond chance, else undecided.

    Equivalence is two one-sided tests (Schuirmann 1987, Journal of Pharmacokinetics and
    Biopharmaceutics 15:657-680): the interval of coverage 1 - 2 alpha lies within the margin.
    Changes are one family, adjusted by Holm (1979), so that the chance of calling any number
    changed that did not is at most alpha = 1 - `level`; identical numbers are not tested.
    """
    p_values = [None if d.identical else p_of_no_difference(d.estimate) for d in differences]
    stepped = adjusted(p_values, "holm")
    alpha = 1 - level
    found = []
    for each, margin, better, p, adjusted_p in zip(
        differences, margins, betters, p_values, stepped, strict=True
    ):
        lower, upper = interval_at(each.estimate, 1 - 2 * alpha)
        if -margin <= lower and upper <= margin:
            outcome: ChangeOutcome = "equivalent"
        elif is_rejected(adjusted_p, alpha=alpha):
            went: Better = "higher" if each.estimate.value > 0 else "lower"
            outcome = went if better is None else "improved" if went == better else "worse"
        else:
            outcome = "undecided"
        found.append(Classed(p, adjusted_p, (lower, upper), outcome))
    return tuple(found)


def better_of(
    key: MeasureKey, policy: Changes, criteria: Sequence[Criterion], backbone: str
) -> Better | None:
    """Which way a number improves, as the policy says or the criteria do; None where neither does.

    A criterion speaks for what it is about: its quantity, target, groups and `of`. Criteria that
    contradict each other say nothing.
    """
    if key.quantity in policy.better:
        return policy.better[key.quantity]
    said: set[Better] = set()
    for criterion in criteria:
        if _is_about(criterion, key, backbone):
            if criterion.at_most is not None:
                said.add("lower")
            if criterion.at_least is not None:
                said.add("higher")
    return said.pop() if len(said) == 1 else None


def _is_about(criterion: Criterion, key: MeasureKey, backbone: str) -> bool:
    if (criterion.quantity, criterion.target, criterion.of) != (key.quantity, key.target, key.of):
        return False
    if criterion.backbones is not None and backbone not in criterion.backbones:
        return False
    levels: Mapping[str, str] = dict(key.group or ())
    return (criterion.groups or {}).items() <= levels.items()
