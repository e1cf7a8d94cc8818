"""Page one: what was found, how sure it is, what to do next, and what not to conclude."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bias_audit.groups import INTERSECTION
from bias_audit.report.figures.saving import FigureView
from bias_audit.report.figures.style import BASELINE, INK, MUTED, RULE, Palette, shortened, styled
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
from bias_audit.report.sections.readings import (
    BASELINES,
    RANDOM,
    Reading,
    Use,
    baseline_name,
    baseline_of,
    by_attribute,
    cautions,
    compared_with,
    grade,
    steps,
    sureness,
    uses,
    value_of,
)
from bias_audit.report.sections.verdicts import VerdictView, badge, by_urgency, verdicts
from bias_audit.results.audit import AuditResult, BackboneRecord
from bias_audit.results.numbers import Number
from bias_audit.results.store import read_array
from bias_audit.shapes.printed import (
    decimal,
    guess,
    interval,
    listed_all,
    percent_interval,
    sentence,
)
from bias_audit.shapes.unit_map import UnitMap, rasters_of
from bias_audit.statistics.estimate import Estimate

_WIDTH: Final = 2.35
"""Inches."""
_PITCH, _HEAD, _FOOT = 0.2, 0.16, 0.16
"""Inches of a bar, and above and below the bars for words."""


@dataclass(frozen=True)
class Bar:
    """One value with its interval."""

    name: str
    """Printed before the bar; empty where there is only one."""
    estimate: Estimate
    baseline: Estimate | float | None
    """A number where it is known exactly, as guessing is."""

    @property
    def tick(self) -> float | None:
        """Where the baseline is."""
        found = self.baseline
        return found.value if isinstance(found, Estimate) else found


@styled
def bars(
    shown: Sequence[Bar],
    *,
    ends: tuple[float, float],
    names: tuple[str, str],
    tick: str,
    colour: str,
) -> Figure:
    """Draw bars from the left end of an axis, with a tick at the baseline of each.

    Args:
        shown: From top to bottom.
        ends: Values at the ends of the axis.
        names: Printed below the ends.
        tick: Names the baseline of the first bar.
        colour: Of the bars.
    """
    height = _HEAD + _PITCH * len(shown) + _FOOT
    figure = Figure(figsize=(_WIDTH, height))
    left = 0.02 if not any(bar.name for bar in shown) else 0.36
    axes = figure.add_axes((left, _FOOT / height, 0.96 - left, 1 - (_HEAD + _FOOT) / height))
    low, high = ends
    axes.set(xlim=ends, ylim=(len(shown) - 0.5, -0.5))
    axes.set_axis_off()
    for place, bar in enumerate(shown):
        _draw(axes, place, bar, colour)
    below = len(shown) - 0.42
    for value, name, side in ((low, names[0], "left"), (high, names[1], "right")):
        axes.text(value, below, name, ha=side, va="top", fontsize=7, color=MUTED)
    first = shown[0].tick
    if first is not None:
        share = (first - low) / (high - low)
        side = "left" if share < 0.25 else "right" if share > 0.75 else "center"  # noqa: PLR2004
        axes.text(first, -0.55, tick, ha=side, va="bottom", fontsize=7, color=BASELINE)
    return figure


def _draw(axes: Axes, place: int, bar: Bar, colour: str) -> None:
    estimate, (low, high) = bar.estimate, axes.get_xlim()
    axes.hlines(place, low, high, color=RULE, linewidth=0.8, zorder=1)
    axes.barh(
        place, estimate.value - low, left=low, height=0.62, color=colour, alpha=0.8, zorder=2
    )
    ends = (max(estimate.lower, low), min(estimate.upper, high))
    axes.hlines(place, *ends, color=INK, linewidth=1.8, zorder=4)
    if bar.tick is not None:
        axes.vlines(bar.tick, place - 0.48, place + 0.48, color=BASELINE, linewidth=1.6, zorder=3)
    if bar.name:
        axes.text(
            low - 0.02 * (high - low),
            place,
            shortened(bar.name, 17),
            ha="right",
            va="center",
            fontsize=7,
        )


_CHANCE, _NEAR, _TWO = 0.5, 0.005, 2
_MOST_VERDICTS, _MOST_BACKBONES = 5, 8
_TICKS: Final = {BASELINES["pixels"]: "pixels", RANDOM: "random weights"}


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
    rows = by_urgency(found.rows)
    items = [Item(_verdict(row, len(result.subjects) > 1)) for row in rows[:_MOST_VERDICTS]]
    if len(rows) > _MOST_VERDICTS:
        more = Markup('{} more: <a href="#criteria">Verdicts</a>')
        items.append(Item(more.format(len(rows) - _MOST_VERDICTS)))
    return Items(tuple(items), "verdict-list")


def _verdict(row: VerdictView, several: bool) -> Markup:  # noqa: FBT001
    on = f" on {row.backbone}" if several else ""
    needs = f"; decides with {row.n_to_decide}" if row.n_to_decide.startswith("about") else ""
    where = f" {row.where.partition(';')[0]}" if row.where else ""
    return Markup("{} {}{} ({}; measured {}{}{})").format(
        badge(row.outcome), row.name, on, row.margin, row.measured, where, needs
    )


def answer_rows(result: AuditResult, palette: Palette) -> AnswerRows:
    """A row for each attribute, and one on whether the network uses them."""
    by_target = by_attribute(result)
    first = next((t for t, found in by_target.items() if any(map(_is_measured, found))), "")
    rows = [
        _row(target, found, result, palette, place=place, is_first=target == first)
        for place, (target, found) in enumerate(by_target.items())
    ]
    if used := uses(result):
        rows.append(_used(used, len(rows), is_named=len(result.subjects) > 1))
    elif unused := _without_erasure(result):
        rows.append(AnswerRow("Does the network use it?", None, unused, ""))
    return AnswerRows(tuple(rows))


def _is_measured(reading: Reading) -> bool:
    return bool(reading.number and reading.number.estimate)


def _row(
    target: str,
    found: Sequence[Reading],
    result: AuditResult,
    palette: Palette,
    *,
    place: int,
    is_first: bool,
) -> AnswerRow:
    measured = [each for each in found if _is_measured(each)]
    names = (attribute.name for attribute in result.data.attributes)
    attributes = " \N{MULTIPLICATION SIGN} ".join(names)
    name = sentence(attributes if target == INTERSECTION else target)
    if not measured:
        reason = found[0].number.reason if found[0].number else None
        return AnswerRow(name, None, f"Not measured: {reason or 'no layer could be probed'}.", "")
    measured.sort(key=lambda each: -value_of(each))
    top = measured[0].number
    assert top is not None
    several = len(result.subjects) > 1
    text = _read_pairs(top, target, result, is_first=is_first)
    meaning = f"{_meaning(measured[0])} {_where(top, result)}"
    if several:
        text = Markup("<strong>{}</strong>: {}").format(measured[0].backbone, text)
        adds, read = (sum(getattr(e, n) for e in found) for n in ("adds", "is_read"))
        meaning += (
            f" It can be read from {read} of {len(result.subjects)} backbones, and more easily "
            f"than from {compared_with(result)} from {adds}."
        )
    shown = measured[:_MOST_BACKBONES]
    figure = _bars(
        place,
        name,
        [
            Bar(e.backbone if several else "", e.number.estimate, baseline_of(e.number))
            for e in shown
            if e.number and e.number.estimate
        ],
        ends=(_CHANCE, 1.0),
        names=("0.5 guessing", "1"),
        tick=_tick(top),
        colour=palette.colour(target),
    )
    return AnswerRow(name, figure, text, meaning)


def _where(number: Number, result: AuditResult) -> str:
    """The layer at which an attribute is easiest to read."""
    record = next(s.backbone for s in result.subjects if s.backbone.name == number.backbone)
    if len(record.layers) == 1 or number.layer is None:
        return ""
    return f"{sentence(_place(record, number.layer))}."


def _place(record: BackboneRecord, layer: str) -> str:
    """Such as "layer 6 of 8"."""
    names = [each.name for each in record.layers]
    return f"layer {names.index(layer) + 1} of {len(names)}"


def _tick(number: Number) -> str:
    over = baseline_name(number)
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
    base = Bar("", estimate, baseline_of(number)).tick
    return text + (f"; {baseline_name(number)} {_of_100(base)}." if base is not None else ".")


def _meaning(reading: Reading) -> str:
    """What a number says, beside guessing and the strongest baseline."""
    number = reading.number
    if number is not None and number.is_conditional:
        return "This may be recognition of single people, who are not recorded."
    if not reading.is_read or number is None:
        return "Not shown to be readable: the interval does not lie above guessing."
    lift = number.lift
    if lift is None:
        return "There is no baseline to compare with."
    size = _of_100_pairs(lift)
    if reading.adds:
        return f"The network adds {size}."
    over = baseline_name(number)
    if lift.upper < 0:
        return f"It is easier to read from {over} than from this layer: {size}."
    return f"{_OPEN.get(over, _OPEN[RANDOM])}: {size}."


_OPEN: Final = {
    "guessing": "Whether it exceeds guessing is open",
    "shuffled labels": "Whether it exceeds chance is open",
    RANDOM: "Whether training adds anything is open",
    BASELINES["pixels"]: "Visible in the picture itself; whether the network adds is open",
    BASELINES["image quality"]: "Visible in the picture; whether the network adds is open",
}
"""By the strongest baseline: what stays open where the difference from it is not significant."""


def _of_100_pairs(lift: Estimate) -> str:
    """Such as "19 (15 to 23)"; with decimals where whole numbers would hide a sign."""
    bounds = (lift.value, lift.lower, lift.upper)
    digits = 1 if any(0 < abs(x) < _NEAR for x in bounds) else 0
    value, low, high = (decimal(100 * x, digits) for x in bounds)
    return f"{value} ({low} to {high})"


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


def _used(found: Sequence[Use], place: int, *, is_named: bool) -> AnswerRow:
    """The attribute whose removal changes most, beyond what random directions change."""
    top = max(found, key=lambda each: each.excess.value if each.excess else -1.0)
    changed, on = top.changed, f" of {top.backbone}" if is_named else ""
    text = Markup(
        "When {} is removed from the last layer{}, the class that the network names changes for "
        "<b>{} %</b> of the images ({} to {})"
    ).format(
        top.target, on, _of_100(changed.value), _of_100(changed.lower), _of_100(changed.upper)
    )
    if top.random is not None:
        text += f", against {_of_100(top.random.value)} % for random directions."
    more = (
        "More than these random directions change."
        if top.is_sure
        else "Not significantly more than random directions change."
    )
    others = [
        f"{each.target} of {each.backbone}" if is_named else each.target
        for each in found
        if each.is_sure and each is not top
    ]
    if others:
        more += f" {'Also more' if top.is_sure else 'More'} than random directions: "
        more += f"{listed_all(others)}."
    high = max(0.1, -(-changed.upper * 10 // 1) / 10)
    figure = _bars(
        place,
        "Does the network use it?",
        [Bar("", changed, top.random)],
        ends=(0.0, high),
        names=("0 %", f"{100 * high:.0f} % of images"),
        tick="random directions",
        colour="#5b616b",
    )
    return AnswerRow("Does the network use it?", figure, text, more)


def _without_erasure(result: AuditResult) -> str:
    reasons = [s.without_head for s in result.subjects if s.without_head]
    if reasons:
        return f"Not measured: {reasons[0]}."
    return "Not examined: no erasure analysis was run."


def _strip(result: AuditResult, folder: Path | None) -> tuple[Part, ...]:
    """The maps of the attribute that explains most of the differences between maps."""
    found = [
        (block, analysis, subject)
        for subject in result.subjects
        for analysis in subject.analyses
        for block in analysis.blocks
        if isinstance(block, UnitMap) and block.shares
    ]
    if not found:
        return ()
    block, analysis, subject = found[0]
    entry = max(block.shares, key=lambda each: each.share.value)
    name = entry.attribute

    def make(folder: Path) -> object:
        arrays = {block.rasters: read_array(folder, analysis.arrays, block.rasters)}
        return strip(block, rasters_of(block, arrays), name)

    levels = [g.label for g in block.groups if g.levels[0][0] == name]
    of = f"{_place(subject.backbone, block.layer)} ({block.layer})"
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
        f"The same units, group by group: of the attributes, {name} explains most of the "
        f"differences between maps ({percent_interval(entry.share)})"
    )
    return (Section("", title, (Drawn(figure, "strip"),), "strip"),)
