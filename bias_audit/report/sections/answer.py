"""Page one: what was found, how sure it is, what to do next, and what not to conclude."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from markupsafe import Markup

from bias_audit.durations import written_date
from bias_audit.report.figures.answer import Bar, bars
from bias_audit.report.figures.saving import FigureView
from bias_audit.report.figures.style import Palette
from bias_audit.report.figures.unit_map import strip
from bias_audit.report.page import (
    AnswerRow,
    AnswerRows,
    Beside,
    Drawn,
    Item,
    Items,
    Part,
    Prose,
    Section,
    parts,
)
from bias_audit.report.sections.verdicts import VerdictView, verdicts
from bias_audit.results.audit import AuditResult, SubjectResult, declarations_of
from bias_audit.results.numbers import Number, best, curves, numbers_of
from bias_audit.results.store import read_array
from bias_audit.shapes.layer_curve import GUESSING
from bias_audit.shapes.printed import counted, decimal, guess, interval, percent_interval, sentence
from bias_audit.shapes.unit_map import UnitMap, rasters_of
from bias_audit.statistics.estimate import Estimate

_PAIRS: Final = "macro_auc"
_KEPT: Final = "top1_agreement"
INTERSECTION: Final = "intersection"
_CHANCE, _NEAR, _TWO = 0.5, 0.005, 2
_MOST_VERDICTS, _MOST_BACKBONES, _MOST_STEPS = 5, 8, 4
_URGENCY: Final = ("FAIL", "INCONCLUSIVE", "PASS")
_BASELINES: Final = {
    "pixels": "the plain pixels",
    "image quality": "brightness, contrast and sharpness",
    "shuffled labels": "shuffled labels",
    GUESSING: "guessing",
}
"""What a lift is over, in plain words; everything else is a network with random weights."""
_TICKS: Final = {"the plain pixels": "pixels", "a network with random weights": "random weights"}
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
        probed = [points for points in every if points[0].quantity == _PAIRS]
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
    found = [number for subject in result.subjects for number in _kept(subject)]
    used = {n.target: None for n in found if n.lift and n.lift.upper < 0}
    if used:
        network = "the network" if len(result.subjects) == 1 else "at least one network"
        yield f"Removing {listed([*used])} changes decisions of {network}."
    elif found:
        yield "That its decisions use them was not shown."


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


def answer(
    result: AuditResult, folder: Path | None, *, palette: Palette, failures: tuple[Part, ...]
) -> tuple[Part, ...]:
    """Everything on page one below its headline."""
    asides = (
        _box("Do next", steps(result), is_numbered=True),
        _box("Do not conclude", cautions(result)),
        _box("How sure", sureness(result)),
    )
    n = len({verdict.criterion.name for verdict in result.verdicts})
    declared = f"{n} in the config" if n else "none declared"
    return parts(
        Prose(f"{grade(result)}. Acceptance thresholds: {declared}.", "box caution", "Evidence:"),
        failures,
        Beside(parts(_verdicts(result), answer_rows(result, palette)), asides),
        _strip(result, folder),
    )


def _box(title: str, lines: Sequence[str], *, is_numbered: bool = False) -> Section:
    return Section("", title, (Items(tuple(map(Item, lines)), is_numbered=is_numbered),), "box")


def _verdicts(result: AuditResult) -> Part:
    found = verdicts(result)
    if not found.rows:
        return Prose(
            Markup(
                "No acceptance threshold was set, so there is no pass or fail. "
                "<code>bias-audit suggest CONFIG</code> proposes criteria to start from."
            ),
            "verdict-line",
        )
    rows = sorted(found.rows, key=lambda row: _URGENCY.index(row.outcome))
    items = [Item(_verdict(row, len(result.subjects) > 1)) for row in rows[:_MOST_VERDICTS]]
    if len(rows) > _MOST_VERDICTS:
        more = Markup('{} more: <a href="#criteria">Verdicts</a>')
        items.append(Item(more.format(len(rows) - _MOST_VERDICTS)))
    return Items(tuple(items), "verdict-list")


def outcome(row: VerdictView) -> Markup:
    """The verdict as a word with its mark."""
    badge = Markup('<span class="outcome {}"><span aria-hidden="true">{}</span> {}</span>')
    return badge.format(row.outcome.lower(), row.shape, row.outcome)


def _verdict(row: VerdictView, several: bool) -> Markup:  # noqa: FBT001
    on = f" on {row.backbone}" if several else ""
    needs = f"; decides with {row.n_to_decide}" if row.n_to_decide.startswith("about") else ""
    return Markup("{} {}{} ({}; measured {}{})").format(
        outcome(row), row.name, on, row.margin, row.measured, needs
    )


def answer_rows(result: AuditResult, palette: Palette) -> AnswerRows:
    """A row for each attribute, and one on whether the network uses them."""
    by_target: dict[str, list[Reading]] = {}
    for each in readings(result):
        by_target.setdefault(each.target, []).append(each)
    rows = [
        _row(target, found, result, palette, place=place)
        for place, (target, found) in enumerate(by_target.items())
    ]
    used = [n for subject in result.subjects for n in _kept(subject)]
    if used:
        rows.append(_used(used, len(rows)))
    elif unused := _without_erasure(result):
        rows.append(AnswerRow("Does the network use it?", None, unused, ""))
    return AnswerRows(tuple(rows))


def _row(
    target: str, found: Sequence[Reading], result: AuditResult, palette: Palette, *, place: int
) -> AnswerRow:
    measured = [each for each in found if each.number and each.number.estimate]
    name = "Intersections" if target == INTERSECTION else sentence(target)
    if not measured:
        reason = found[0].number.reason if found[0].number else None
        return AnswerRow(name, None, f"Not measured: {reason or 'no layer could be probed'}.", "")
    measured.sort(key=lambda each: -_value(each))
    top = measured[0].number
    assert top is not None
    several = len(found) > 1
    of_pairs = top.quantity == _PAIRS
    text = _read_pairs(top, target, result, is_first=place == 0) if of_pairs else _read_metric(top)
    meaning = _meaning(measured[0], of_pairs=of_pairs)
    if several:
        text = Markup("<strong>{}</strong>: {}").format(measured[0].backbone, text)
        adds, read = (sum(getattr(e, n) for e in found) for n in ("adds", "is_read"))
        meaning += (
            f" Of {len(found)} backbones, {read} can be read from and {adds} add to the pictures."
        )
    shown = measured[:_MOST_BACKBONES]
    figure = _bars(
        place,
        name,
        [
            Bar(e.backbone if several else "", e.number.estimate, _baseline(e.number))
            for e in shown
            if e.number and e.number.estimate
        ],
        ends=(0.5, 1.0) if of_pairs else (0.0, 1.0),
        names=("0.5 guessing", "1") if of_pairs else ("0", "1"),
        tick=_tick(top),
        colour=palette.colour(target),
    )
    return AnswerRow(name, figure, text, meaning)


def _value(reading: Reading) -> float:
    found = reading.number
    return found.estimate.value if found and found.estimate else -1.0


def _baseline(number: Number) -> Estimate | float | None:
    if number.control is not None:
        return number.control
    return number.chance if number.over == GUESSING else None


def _over(number: Number) -> str:
    if number.over is None:
        return ""
    return _BASELINES.get(number.over, "a network with random weights")


def _tick(number: Number) -> str:
    over = _over(number)
    return _TICKS.get(over, over)


def _of_100(value: float) -> str:
    return f"{100 * value:.0f}"


def _range(estimate: Estimate) -> str:
    """Such as "82 to 87"; with decimals where whole numbers would hide where a bound lies."""
    is_clear = all(abs(x - _CHANCE) >= _NEAR for x in (estimate.lower, estimate.upper))
    digits = 0 if is_clear else 1
    return f"{100 * estimate.lower:.{digits}f} to {100 * estimate.upper:.{digits}f}"


def _read_pairs(number: Number, target: str, result: AuditResult, is_first: bool) -> Markup:  # noqa: FBT001
    estimate = number.estimate
    assert estimate is not None
    if is_first:
        levels = next((a.levels for a in result.data.attributes if a.name == target), ())
        pair = (
            f"one {levels[0]} and one {levels[1]}"
            if len(levels) == _TWO
            else "one of a group and one not"
        )
        text = Markup(
            "Of 100 pairs of faces, {}, a simple probe ranks <b>{}</b> correctly ({})"
        ).format(pair, _of_100(estimate.value), _range(estimate))
    else:
        text = Markup("<b>{}</b> of 100 pairs ({})").format(
            _of_100(estimate.value), _range(estimate)
        )
    base = Bar("", estimate, _baseline(number)).tick
    return text + (f"; {_over(number)} {_of_100(base)}." if base is not None else ".")


def _read_metric(number: Number) -> str:
    base = number.control
    beside = f"; {_over(number)} {interval(base)}" if base is not None else ""
    return f"{number.metric} {interval(number.estimate)}{beside}."


def _meaning(reading: Reading, *, of_pairs: bool) -> str:
    """What a number says, beside guessing and the strongest baseline."""
    number = reading.number
    if not reading.is_read or number is None:
        return "Not shown to be readable: the interval includes guessing."
    lift = number.lift
    if lift is None:
        return "There is no baseline to compare with."
    size = _of_100_pairs(lift) if of_pairs else f"{decimal(lift.value)} ({_bounds(lift)})"
    if lift.lower > 0:
        return f"The network adds {size}."
    over = _over(number)
    if lift.upper < 0:
        return f"It is easier to read from {over} than from the network: {size}."
    return f"{_OPEN.get(over, _OPEN[_RANDOM])}: {size}."


_RANDOM: Final = "a network with random weights"
_OPEN: Final = {
    "guessing": "Whether it exceeds guessing is open",
    "shuffled labels": "Whether it exceeds chance is open",
    _RANDOM: "Whether training adds anything is open",
    _BASELINES["pixels"]: "Visible in the picture itself; whether the network adds is open",
    _BASELINES["image quality"]: "Visible in the picture; whether the network adds is open",
}
"""By the strongest baseline: what stays open where the difference from it is not significant."""


def _of_100_pairs(lift: Estimate) -> str:
    value, low, high = (decimal(100 * x, 0) for x in (lift.value, lift.lower, lift.upper))
    return f"{value} ({low} to {high})"


def _bounds(estimate: Estimate) -> str:
    return f"{decimal(estimate.lower)} to {decimal(estimate.upper)}"


def _bars(place: int, name: str, shown: Sequence[Bar], **options: object) -> FigureView:
    def rows() -> list[tuple[str | float | None, ...]]:
        head = ("backbone", "estimate", "lower", "upper", "baseline")
        found = ((b.name, b.estimate, b.tick) for b in shown)
        return [head, *((name, e.value, e.lower, e.upper, tick) for name, e, tick in found)]

    def said(bar: Bar) -> str:
        text = f"{bar.name} {interval(bar.estimate)}".strip()
        if isinstance(bar.baseline, Estimate):
            return f"{text}, {options['tick']} {interval(bar.baseline)}"
        return text if bar.baseline is None else f"{text}, chance {guess(bar.baseline)}"

    return FigureView(
        make=partial(bars, shown, **options),  # type: ignore[arg-type]
        rows=rows,
        alt=f"{name}: {'; '.join(map(said, shown))}.",
        caption="",
        anchor=f"answer-{place}",
        heading="backbone",
    )


def _kept(subject: SubjectResult) -> list[Number]:
    """How many decisions stay when an attribute is removed, of every attribute."""
    found = numbers_of(subject.backbone.name, subject.analyses)
    return [n for n in found if n.quantity == _KEPT and n.group is None and n.estimate]


def _used(found: Sequence[Number], place: int) -> AnswerRow:
    """The attribute whose removal changes most, beyond what random directions change."""
    top = max(found, key=lambda n: -n.lift.value if n.lift else -1.0)
    assert top.estimate is not None
    changed, excess = _reversed(top.estimate), _reversed(top.lift, whole=0.0) if top.lift else None
    base = _reversed(top.control) if top.control else None
    sure = excess is not None and excess.lower > 0
    text = Markup(
        "When {} is removed from its last layer, <b>{}</b> of its own decisions change ({})"
    ).format(
        top.target,
        f"{100 * changed.value:.0f} %",
        f"{100 * changed.lower:.0f} to {100 * changed.upper:.0f}",
    )
    if base is not None:
        text += f", against {100 * base.value:.0f} % for random directions."
    others = [n.target for n in found if n.lift and n.lift.upper < 0 and n is not top]
    more = (
        "More than random directions of the same size."
        if sure
        else ("Not significantly more than random directions of the same size.")
    )
    if others:
        names = listed([*dict.fromkeys(others)])
        more += f" {'Also more' if sure else 'More'} than random directions: {names}."
    high = max(0.1, -(-changed.upper * 10 // 1) / 10)
    figure = _bars(
        place,
        "Does the network use it?",
        [Bar("", changed, base)],
        ends=(0.0, high),
        names=("0 %", f"{100 * high:.0f} % of decisions"),
        tick="random directions",
        colour="#5b616b",
    )
    return AnswerRow("Does the network use it?", figure, text, more)


def _reversed(kept: Estimate, *, whole: float = 1.0) -> Estimate:
    return replace(
        kept, value=whole - kept.value, lower=whole - kept.upper, upper=whole - kept.lower
    )


def _without_erasure(result: AuditResult) -> str:
    reasons = [s.without_head for s in result.subjects if s.without_head]
    if reasons:
        return f"Not measured: {reasons[0]}."
    return "Not examined: no erasure analysis was run."


def steps(result: AuditResult) -> list[str]:
    """What a reviewer does next, the most pressing first."""
    found = [*_repairs(result), *_decisions(result), *_more_images(result)]
    if result.data.label_origin.startswith("by construction"):
        found.append("Audit photographs: rendered faces show how an audit works.")
    found.append("Test the downstream task itself: what can be read need not be used.")
    return found[:_MOST_STEPS]


def _repairs(result: AuditResult) -> Iterator[str]:
    if result.failed:
        yield f"Repair what failed: {listed([*dict.fromkeys(a.title for a in result.failed)])}."
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
    failed = [v.criterion.name for v in result.verdicts if v.outcome == "FAIL"]
    if failed:
        yield f"Decide what follows from the failed criteria: {listed([*dict.fromkeys(failed)])}."
    waiting = [v for v in result.verdicts if v.outcome == "INCONCLUSIVE" and v.n_to_decide]
    for verdict in sorted(waiting, key=lambda v: v.n_to_decide or 0)[:1]:
        group = verdict.deciding.group.label if verdict.deciding and verdict.deciding.group else ""
        of = f" of {group}" if group else ""
        yield (
            f"Add images{of}: about {counted(verdict.n_to_decide or 0, 'image')} would decide "
            f"“{verdict.criterion.name}”."
        )


def _more_images(result: AuditResult) -> Iterator[str]:
    fewest = (result.config.get("small_groups") or {}).get("minimum", 10)
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
        least = min((r for r in readings(result) if r.number), key=_value, default=None)
        name = least.target if least and least.target != INTERSECTION else "an attribute"
        found.append(f"that {name} is unimportant because it is harder to read.")
    return found


def sureness(result: AuditResult) -> list[str]:
    """How far the numbers can be trusted."""
    found = [r.number for r in readings(result) if r.number and r.number.estimate]
    levels = {f"{100 * n.estimate.level:.4g} %" for n in found if n.estimate}
    layers = max((len(s.backbone.layers) for s in result.subjects), default=0)
    said = []
    if levels:
        said.append(
            f"{listed(sorted(levels))} intervals; those of a best layer allow for the choice "
            f"among {counted(layers, 'layer')}"
        )
    people = result.data.n_identities
    who = (
        f"{counted(people, 'person').replace('persons', 'people')}" if people else "people unknown"
    )
    said.append(f"{counted(result.data.n_images, 'image')}; {who}")
    if result.selftest:
        rows, failed = result.selftest.rows, len(result.selftest.not_ok)
        decided = sum(row.outcome != "UNDECIDED" for row in rows)
        text = Markup('<a href="#selftest">Self-test</a> of the statistics: {} of {} checks {}')
        if failed:
            said.append(text.format(failed, len(rows), "failed"))
        else:
            quick = ", the others had too few runs" if decided < len(rows) else ""
            said.append(text.format(decided, len(rows), f"passed{quick}"))
    return said


def _strip(result: AuditResult, folder: Path | None) -> tuple[Part, ...]:
    """The maps of the attribute that explains most of the differences between maps."""
    found = [
        (max(block.shares, key=lambda entry: entry.share.value), block, analysis, subject)
        for subject in result.subjects
        for analysis in subject.analyses
        for block in analysis.blocks
        if isinstance(block, UnitMap) and block.shares
    ]
    if not found:
        return ()
    entry, block, analysis, subject = max(found, key=lambda each: each[0].share.value)
    name = entry.attribute

    def make(folder: Path) -> object:
        arrays = {block.rasters: read_array(folder, analysis.arrays, block.rasters)}
        return strip(block, rasters_of(block, arrays), name)

    levels = [g.label for g in block.groups if g.levels[0][0] == name]
    place = [layer.name for layer in subject.backbone.layers].index(block.layer) + 1
    of = f"layer {place} of {len(subject.backbone.layers)} ({block.layer})"
    on = f" of {subject.backbone.name}" if len(result.subjects) > 1 else ""
    figure = FigureView(
        make=partial(make, folder) if folder else None,  # type: ignore[arg-type]
        rows=lambda: [
            ("attribute", "share", "lower", "upper"),
            (name, entry.share.value, entry.share.lower, entry.share.upper),
        ],
        alt=f"Topographic maps of {name}: {', '.join(levels)}.",
        caption=(
            f"Each disc shows the {block.n_units} units of {of}{on}. Units that respond alike lie "
            f"close together. Red: they respond more strongly to this group than to the average "
            f"face; blue: less."
        ),
        anchor="answer-maps",
        heading=name,
        form="png",
    )
    title = (
        f"The same units, group by group: {name} explains {percent_interval(entry.share)} of the "
        "differences"
    )
    return (Section("", title, (Drawn(figure, "strip"),), "strip"),)
