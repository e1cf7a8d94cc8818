"""The figures of a comparison, drawn when a template asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from bias_audit.report.changes.wording import WORDS, format_change, quantity_named
from bias_audit.report.figures.forest import ForestRow, Panel, forest
from bias_audit.report.figures.saving import FigureView
from bias_audit.report.page import Drawn, Fold, Part, Section
from bias_audit.results.differing.shapes import Change
from bias_audit.shapes.printed import counted, sentence, signed_interval
from bias_audit.shapes.shape import Rows

_MOST_ROWS: Final = 48
"""Groups in one figure."""


def change_figures(changes: Sequence[Change], anchor: str) -> Iterator[Part]:
    """One figure per quantity of curves, the lifts of the first, and one per quantity of groups.

    The first is open; the others are folded away.
    """
    curves = [change for change in changes if change.group is None]
    kinds = dict.fromkeys((change.quantity, change.of) for change in curves)
    first = next(iter(kinds), None)
    drawn = (
        [kind for kind in kinds if kind[1] == "estimate" or kind[0] == first[0]] if first else []
    )
    for place, (quantity, of) in enumerate(drawn):
        members = [c for c in curves if (c.quantity, c.of) == (quantity, of)]
        name = ("lift of " if of == "lift" else "") + quantity_named(quantity)
        yield _figure(
            f"{anchor}-{quantity.replace('_', '-')}-{of}",
            f"{sentence(name)} by layer",
            _by_target(members),
            heading="attribute / layer",
            is_main=place == 0,
        )
    groups = [change for change in changes if change.group is not None]
    for quantity in dict.fromkeys(change.quantity for change in groups):
        members = [change for change in groups if change.quantity == quantity]
        shown = _shown(members)
        name = sentence(quantity_named(quantity))
        note = f": the {len(shown)} clearest changes of {len(members)}"
        yield _figure(
            f"{anchor}-{quantity.replace('_', '-')}-groups",
            f"{name} by group{note if len(shown) < len(members) else ''}",
            (_of_groups(name, shown),),
            heading="group",
            is_main=False,
        )


def _shown(members: Sequence[Change]) -> list[Change]:
    by_p = sorted(members, key=lambda change: 1.0 if change.p_value is None else change.p_value)
    kept = {id(change) for change in by_p[:_MOST_ROWS]}
    return [change for change in members if id(change) in kept]


def _by_target(members: Sequence[Change]) -> tuple[Panel, ...]:
    """A panel per target, all with the same layers."""
    layers = list(dict.fromkeys(change.layer for change in members))
    panels = []
    for target in dict.fromkeys(change.target for change in members):
        known = {change.layer: change for change in members if change.target == target}
        rows = (_row(layer, f"{target} / {layer}", known.get(layer)) for layer in layers)
        panels.append(Panel(target, tuple(rows)))
    return tuple(panels)


def _of_groups(name: str, members: Sequence[Change]) -> Panel:
    return Panel(
        name,
        tuple(
            _row(f"{c.target}: {c.group}" if c.group else c.target, c.group or c.target, c)
            for c in members
        ),
    )


def _row(label: str, key: str, change: Change | None) -> ForestRow:
    text = "not compared" if change is None else format_change(change)
    return ForestRow(label, key, text, change)


def _figure(
    anchor: str, title: str, panels: tuple[Panel, ...], *, heading: str, is_main: bool
) -> Part:
    changes = [row.change for panel in panels for row in panel.rows if row.change is not None]
    level = changes[0].difference.level
    caption = (
        f"AFTER minus BEFORE. Thin line: {100 * level:g} % interval; thick: the "
        f"{100 * (2 * level - 1):g} % interval, to compare with the margin (grey band). "
        "Marker and colour show the outcome."
    )
    figure = FigureView(
        make=partial(forest, panels, axis="difference, AFTER minus BEFORE (grey band: margin)"),
        rows=partial(change_rows, changes),
        alt=_alt(title, changes),
        caption=caption,
        anchor=anchor,
        heading=heading,
    )
    if is_main:
        return Section(anchor, title, (Drawn(figure),))
    return Fold(f"Figure: {title}", (Drawn(figure),))


def _alt(title: str, changes: Sequence[Change]) -> str:
    largest = max(changes, key=lambda change: abs(change.difference.value))
    outcomes = dict.fromkeys(change.outcome for change in changes)
    counts = ", ".join(f"{sum(c.outcome == o for c in changes)} {WORDS[o]}" for o in outcomes)
    group = "" if largest.group is None else f", {largest.group}"
    return (
        f"Forest plot of differences, {title}: {counted(len(changes), 'number')}, {counts}. "
        f"Largest: {largest.target} at {largest.layer}{group}, "
        f"{signed_interval(largest.difference)}."
    )


def change_rows(changes: Sequence[Change]) -> Rows:
    """The numbers behind changes, in full."""
    rows: Rows = [
        (
            "backbone", "quantity", "of", "target", "layer", "group", "before", "after",
            "difference", "lower", "upper", "level", "equivalence_lower", "equivalence_upper",
            "noise", "p_value", "adjusted_p", "margin", "better", "outcome", "paired", "identical",
        )
    ]  # fmt: skip
    rows += [
        (
            c.backbone, c.quantity, c.of, c.target, c.layer, c.group, c.before.value,
            c.after.value, c.difference.value, c.difference.lower, c.difference.upper,
            c.difference.level, *c.equivalence, c.noise, c.p_value, c.adjusted_p, c.margin,
            c.better, c.outcome, int(c.paired), int(c.identical),
        )
        for c in changes
    ]  # fmt: skip
    return rows
