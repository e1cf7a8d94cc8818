"""What page one rests on: how well each attribute can be read, and the conclusion in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bias_audit.durations import written_date
from bias_audit.results.audit import AuditResult, SubjectResult, declarations_of
from bias_audit.results.numbers import Number, best, curves, numbers_of
from bias_audit.shapes.layer_curve import GUESSING
from bias_audit.shapes.printed import counted, sentence
from bias_audit.statistics.estimate import Estimate

PAIRS: Final = "macro_auc"
_KEPT: Final = "top1_agreement"
INTERSECTION: Final = "intersection"
BASELINES: Final = {
    "pixels": "the plain pixels",
    "image quality": "brightness, contrast and sharpness",
    "shuffled labels": "shuffled labels",
    GUESSING: "guessing",
}
"""What a lift is over, in plain words; everything else is a network with random weights."""
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

    @property
    def is_read(self) -> bool:
        """Whether its interval lies above guessing."""
        found = self.number
        return bool(found and found.estimate and found.estimate.lower > (found.chance or 0))

    @property
    def adds(self) -> bool:
        """Whether the attribute can be read better from the backbone than from any baseline."""
        return bool(self.number and self.number.lift and self.number.lift.lower > 0)


def readings(result: AuditResult) -> tuple[Reading, ...]:
    """Of every backbone and attribute, by the probes' area under the curve where there is one."""
    found = []
    for subject in result.subjects:
        every = [*curves(numbers_of(subject.backbone.name, subject.analyses))]
        probed = [points for points in every if points[0].quantity == PAIRS]
        first: dict[str, Sequence[Number]] = {}
        for points in probed or [p for p in every if p[0].quantity == every[0][0].quantity]:
            first.setdefault(points[0].target, points)
        found += [Reading(subject.backbone.name, t, best(p)) for t, p in first.items()]
    return tuple(found)


def headline(result: AuditResult) -> str:
    """The conclusion, in a few short sentences."""
    by_target: dict[str, list[Reading]] = {}
    for each in readings(result):
        if each.target != INTERSECTION:
            by_target.setdefault(each.target, []).append(each)
    if not by_target:
        return f"{result.name}: no attribute was probed, so nothing can be concluded."
    states: dict[str, list[str]] = {"adds": [], "some": [], "read": [], "open": []}
    for target, found in by_target.items():
        states[_state(found)].append(target)
    n = len(result.subjects)
    who = result.subjects[0].backbone.name if n == 1 else f"All {n} backbones"
    said = []
    if states["adds"]:
        carry = "carries" if n == 1 else "carry"
        said.append(f"{who} {carry} {listed(states['adds'])} beyond what the pictures show.")
    for target in states["some"]:
        some = sum(each.adds for each in by_target[target])
        said.append(f"{some} of {n} backbones carry {target} beyond what the pictures show.")
    if states["read"]:
        of = "" if said else f" from {who}"
        said.append(
            f"{sentence(listed(states['read']))} can be read{of}; whether the network adds to the "
            "pictures is open."
        )
    if states["open"]:
        said.append(f"Whether {listed(states['open'])} can be read is open.")
    return " ".join((*said, *_use_in_short(result)))


def _state(found: Sequence[Reading]) -> str:
    """What holds for an attribute on all backbones."""
    if all(each.adds for each in found):
        return "adds"
    if any(each.adds for each in found):
        return "some"
    return "read" if all(each.is_read for each in found) else "open"


def _use_in_short(result: AuditResult) -> Iterator[str]:
    found = [number for subject in result.subjects for number in unchanged_decisions(subject)]
    used = {n.target: None for n in found if n.lift and n.lift.upper < 0}
    if used:
        network = "the network" if len(result.subjects) == 1 else "at least one network"
        yield f"Removing {listed([*used])} changes the classes that {network} names."
    elif found:
        yield "That the classes it names depend on them was not shown."


def listed(names: Sequence[str]) -> str:
    """Such as "age, race and gender"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


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
    if number.over is None:
        return ""
    return BASELINES.get(number.over, RANDOM)


def unchanged_decisions(subject: SubjectResult) -> list[Number]:
    """How many decisions stay when an attribute is removed, of every attribute."""
    found = numbers_of(subject.backbone.name, subject.analyses)
    return [n for n in found if n.quantity == _KEPT and n.group is None and n.estimate]
