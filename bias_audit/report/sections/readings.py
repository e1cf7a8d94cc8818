"""What page one rests on: how well attributes can be read, the conclusion, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from bias_audit.config.schema import Multiplicity, SmallGroups
from bias_audit.durations import written_date
from bias_audit.groups import INTERSECTION
from bias_audit.results.audit import AuditResult, declarations_of
from bias_audit.results.numbers import Number, best, curves, numbers_of
from bias_audit.shapes.layer_curve import GUESSING
from bias_audit.shapes.printed import counted, listed_all, sentence
from bias_audit.statistics.estimate import Estimate, at_level, reflected

_PAIRS: Final = "macro_auc"
_KEPT: Final = "top1_agreement"
BASELINES: Final = {
    "pixels": "the plain pixels",
    "image quality": "brightness, contrast and sharpness",
    "shuffled labels": "shuffled labels",
    GUESSING: "guessing",
}
"""What a lift is over, in plain words."""
RANDOM: Final = "a network with random weights"
_GRADES: Final = {
    "by construction": "computer-rendered faces: not evidence about people",
    "perceived": "photographs with perceived labels",
    "self-reported": "photographs with self-reported labels",
    "predicted": "photographs with labels that a model predicted",
    "unknown": "images with labels of unknown origin",
}
"""By the beginning of `DataRecord.label_origin`."""


@dataclass(frozen=True)
class Reading:
    """How well an attribute can be read from one backbone, at the layer where it is read best."""

    backbone: str
    target: str
    number: Number | None
    """None where nothing was measured."""
    alpha: float
    """The largest adjusted p-value of a claim."""

    @property
    def is_read(self) -> bool:
        """Whether its interval lies above guessing."""
        found = self.number
        return bool(
            found
            and found.estimate
            and found.estimate.lower > (found.chance or 0)
            and not found.is_conditional
        )

    @property
    def adds(self) -> bool:
        """Whether the attribute is easier to read from the backbone than from every baseline."""
        found = self.number
        if not self.is_read or found is None or found.lift is None or found.lift.lower <= 0:
            return False
        return found.adjusted_p is None or found.adjusted_p <= self.alpha

    @property
    def is_worse(self) -> bool:
        """Whether a baseline is easier to read from than the best layer."""
        return bool(self.number and self.number.lift and self.number.lift.upper < 0)


def readings(result: AuditResult) -> tuple[Reading, ...]:
    """Of every backbone and attribute, by the area under the curve of its probes.

    Claims allow for all layers and attributes by their adjusted p-value, and for the number of
    backbones by its limit.
    """
    alpha = error_rate_of(result) / len(result.subjects)
    found = []
    for subject in result.subjects:
        first: dict[str, Sequence[Number]] = {}
        for points in curves(numbers_of(subject.backbone.name, subject.analyses)):
            if points[0].quantity == _PAIRS:
                first.setdefault(points[0].target, points)
        found += [Reading(subject.backbone.name, t, best(p), alpha) for t, p in first.items()]
    return tuple(found)


def by_attribute(result: AuditResult) -> dict[str, list[Reading]]:
    """The readings of every attribute, and of the intersection, backbone by backbone."""
    found: dict[str, list[Reading]] = {}
    for each in readings(result):
        found.setdefault(each.target, []).append(each)
    return found


def error_rate_of(result: AuditResult) -> float:
    """Of every family of tests."""
    return Multiplicity.model_validate(result.config.get("multiplicity") or {}).alpha


def compared_with(result: AuditResult) -> str:
    """The baselines that every backbone was compared with, in plain words."""
    kinds = [
        {record.kind for record in subject.controls if not record.absent}
        for subject in result.subjects
    ]
    shared = set.intersection(*kinds) if kinds else set()
    if {"pixels", "image quality"} & shared:
        return "the pictures themselves"
    return "an untrained network" if "random weights" in shared else "shuffled labels"


def headline(result: AuditResult) -> str:
    """The conclusion, in a few short sentences."""
    by_target = by_attribute(result)
    by_target.pop(INTERSECTION, None)
    if not by_target:
        return _clearest_finding(result)
    n, over = len(result.subjects), compared_with(result)
    states: dict[str, list[str]] = {"adds": [], "read": [], "worse": []}
    said, still_open = [], []
    for target, found in by_target.items():
        n_adds, n_read = (sum(getattr(each, of) for each in found) for of in ("adds", "is_read"))
        if n_adds == n:
            states["adds"].append(target)
        elif n_adds:
            of = f"{n_adds} of {n} backbones"
            said.append(f"From {of}, {target} is easier to read than from {over}.")
        elif n_read == n:
            states["worse" if all(r.is_worse for r in found) else "read"].append(target)
        elif n_read:
            said.append(f"{sentence(target)} can be read from {n_read} of {n} backbones.")
        else:
            still_open.append(target)
    return " ".join((*_in_all(states, result, over), *said, *_open(still_open), *_use(result)))


def _clearest_finding(result: AuditResult) -> str:
    """Of an audit that probed no attribute."""
    analyses = (analysis for _, every in result.analysed for analysis in every)
    decided = [each for one in analyses for each in one.findings if each.weight > 0]
    if not decided:
        return f"{result.name}: no attribute was probed, so nothing can be concluded."
    return max(decided, key=lambda finding: finding.weight).text


def _in_all(states: Mapping[str, Sequence[str]], result: AuditResult, over: str) -> Iterator[str]:
    n = len(result.subjects)
    who = result.subjects[0].backbone.name if n == 1 else f"all {n} backbones"
    if names := states["adds"]:
        are = "is" if len(names) == 1 else "are"
        yield f"From {who}, {listed_all(names)} {are} easier to read than from {over}."
    of = "" if states["adds"] else f" from {who}"
    if names := states["read"]:
        whether = (
            "whether more easily is open"
            if states["adds"]
            else f"whether more easily than from {over} is open"
        )
        yield f"{sentence(listed_all(names))} can be read{of}; {whether}."
    if names := states["worse"]:
        can = f"can be read{of}, but more easily from a baseline"
        yield f"{sentence(listed_all(names))} {can}."


def _open(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"Whether {listed_all(names)} can be read is open."


def _use(result: AuditResult) -> Iterator[str]:
    found = uses(result)
    changing = [*dict.fromkeys(each.target for each in found if each.is_sure)]
    if changing:
        network = "the network" if len(result.subjects) == 1 else "at least one network"
        yield f"Removing {listed_all(changing)} changes the classes that {network} names."
    elif found:
        yield "That the named classes depend on them was not shown."


@dataclass(frozen=True)
class Use:
    """How many of a backbone's own decisions change when an attribute is removed."""

    backbone: str
    target: str
    changed: Estimate
    random: Estimate | None
    """For random directions."""
    excess: Estimate | None
    """How many more change, at a level that allows for all attributes and backbones."""

    @property
    def is_sure(self) -> bool:
        """Whether more change than for random directions."""
        return self.excess is not None and self.excess.lower > 0


def uses(result: AuditResult) -> tuple[Use, ...]:
    """Of every backbone and attribute whose erasure was measured."""
    found = [
        number
        for subject in result.subjects
        for number in numbers_of(subject.backbone.name, subject.analyses)
        if number.quantity == _KEPT and number.group is None
    ]
    level = 1 - error_rate_of(result) / max(len(found), 1)
    return tuple(
        Use(
            n.backbone,
            n.target,
            reflected(n.estimate, 1),
            reflected(n.control, 1) if n.control else None,
            at_level(reflected(n.lift, 0), level) if n.lift else None,
        )
        for n in found
        if n.estimate
    )


def kicker(result: AuditResult) -> str:
    """What was audited, on which faces, when, and the document's status."""
    names = [subject.backbone.name for subject in result.subjects]
    who = names[0] if len(names) == 1 else f"{len(names)} backbones"
    return " · ".join(
        (
            "Bias audit",
            who,
            f"{result.data.name}, {counted(result.data.n_images, 'image')}",
            counted(len(result.data.cells), "group"),
            written_date(result.provenance.started).partition(",")[0],
            declarations_of(result).status,
        )
    )


def grade(result: AuditResult) -> str:
    """What kind of evidence the faces and labels are."""
    origin = result.data.label_origin
    return next(
        (text for key, text in _GRADES.items() if origin.startswith(key)), f"labels: {origin}"
    )


def value_of(reading: Reading) -> float:
    """The estimate; below every estimate where there is none."""
    found = reading.number
    return found.estimate.value if found and found.estimate else -1.0


def baseline_of(number: Number) -> Estimate | float | None:
    """The strongest baseline; a number where that is guessing."""
    if number.control is not None:
        return number.control
    return number.chance if number.over == GUESSING else None


def baseline_name(number: Number) -> str:
    """Its name in plain words; empty where there is none."""
    over = number.over or ""
    return RANDOM if over.startswith("random weights") else BASELINES.get(over, over)


_MOST_STEPS: Final = 4


def steps(result: AuditResult) -> list[str]:
    """What a reviewer does next, the most pressing first."""
    found = [*_repairs(result), *_decisions(result), *_more_images(result)]
    if result.data.label_origin.startswith("by construction"):
        found.append("Audit photographs: rendered faces show how an audit works.")
    found.append("Test the downstream task itself: what can be read need not be used.")
    return found[:_MOST_STEPS]


def _repairs(result: AuditResult) -> Iterator[str]:
    if result.failed:
        titles = dict.fromkeys(analysis.title for analysis in result.failed)
        yield f"Repair what failed: {listed_all([*titles])}."
    if result.selftest and result.selftest.not_ok:
        yield "Do not rely on numbers whose self-test failed; report it to the tool's makers."
    warned = [
        f for _, analyses in result.analysed for a in analyses for f in a.findings if f.is_warning
    ]
    if warned:
        yield f"Check a possible shortcut: {warned[0].text}"


def _decisions(result: AuditResult) -> Iterator[str]:
    if not result.verdicts:
        yield Markup(
            "Decide which use is planned, and set thresholds for it (<code>bias-audit "
            "suggest</code>)."
        )
    failed = dict.fromkeys(v.criterion.name for v in result.verdicts if v.outcome == "FAIL")
    if failed:
        yield f"Decide what follows from the failed criteria: {listed_all([*failed])}."
    waiting = [v for v in result.verdicts if v.outcome == "INCONCLUSIVE" and v.n_to_decide]
    for verdict in sorted(waiting, key=lambda v: v.n_to_decide or 0)[:1]:
        group = verdict.deciding.group.label if verdict.deciding and verdict.deciding.group else ""
        of = f" of {group}" if group else ""
        yield (
            f"Add images{of}: about {counted(verdict.n_to_decide or 0, 'image')} in all would "
            f"decide “{verdict.criterion.name}”."
        )


def _more_images(result: AuditResult) -> Iterator[str]:
    fewest = SmallGroups.model_validate(result.config.get("small_groups") or {}).minimum
    few = [cell for cell in result.data.cells if cell.used < fewest]
    if few:
        text = Markup(
            "Add images of {} of the {} groups: they have fewer than {} "
            '(<a href="#data">Data</a>).'
        )
        yield text.format(len(few), len(result.data.cells), fewest)


def cautions(result: AuditResult) -> list[str]:
    """What must not be concluded, whatever was found."""
    found = [
        "that the network, or a product, treats groups alike or differently: no decision about "
        "people was measured;",
        "anything about a single person, or what people are: labels are annotations;",
    ]
    if result.data.label_origin.startswith("by construction"):
        found.append("anything about real people: these faces are computer renders.")
    else:
        single = [r for r in readings(result) if r.number and r.target != INTERSECTION]
        if len({r.target for r in single}) > 1:
            name = min(single, key=value_of).target
            found.append(f"that {name} is unimportant because it is harder to read.")
    return found


def sureness(result: AuditResult) -> list[str]:
    """How far the numbers can be trusted."""
    found = [r.number for r in readings(result) if r.number and r.number.estimate]
    levels = {f"{100 * n.estimate.level:.4g} %" for n in found if n.estimate}
    layers = max((len(s.backbone.layers) for s in result.subjects), default=0)
    said = []
    if levels:
        choice = f"; at a best layer, they allow for the choice among {layers}"
        said.append(f"{listed_all(sorted(levels))} intervals{choice if layers > 1 else ''}")
        said.append(
            "“easier to read” and “changes the classes” are corrected for layers, attributes and "
            "backbones"
        )
    shown = result.data.n_identities
    people = f"{shown:,} annotated identities" if shown else "it is not recorded whom they show"
    said.append(f"{counted(result.data.n_images, 'image')}; {people}")
    if result.selftest:
        rows, failed = result.selftest.rows, len(result.selftest.not_ok)
        decided = sum(row.outcome != "UNDECIDED" for row in rows)
        link = Markup('<a href="#selftest">Self-test</a>: ')
        if failed:
            said.append(link + f"{failed} of {len(rows)} checks failed")
        elif decided < len(rows):
            said.append(
                link + f"no check failed; {decided} of {len(rows)} had enough runs to judge"
            )
        else:
            said.append(link + f"all {len(rows)} checks passed")
    return said
