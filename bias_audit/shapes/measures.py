"""Entries by measures: layouts, attribution methods, backbones or votes, each by some numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final, Literal

from bias_audit.groups import Group
from bias_audit.shapes.printed import (
    MISSING,
    chance_of,
    count,
    counted,
    guess,
    interval,
    interval_note,
    sentence,
    signed_interval,
)
from bias_audit.shapes.shape import Block, Frozen, Row, Shape
from bias_audit.shapes.tables import BlockText, Shown, Table, estimates_of, has, table, words
from bias_audit.statistics.estimate import Estimate

_PRINTED: Final = 12


class Measure(Frozen):
    """One of the numbers by which entries are compared."""

    name: str
    """Heads a column, such as "trustworthiness"."""
    better: Literal["higher", "lower"] | None = None
    """None where neither is."""
    meaning: str = ""
    """What it says, for a reader who does not know it; empty where the name says it."""
    reference: float | None = None
    """Where a line is drawn: what guessing, an even spread or a rule's limit gives."""
    reference_is: str = ""
    """What it is, where the heading says so, such as "guessing"."""
    part_of: str | None = None
    """A measure that this one is a part of; it is drawn, but not printed."""


class Entry(Frozen):
    """One of those compared, over all images or in one group."""

    name: str
    """Such as "PCA (cosine), refined"."""
    values: tuple[Estimate | None, ...]
    """In the order of the measures."""
    group: Group | None = None
    """None: all that the measures are about."""
    n: int | None = None
    """Independent images of the group."""
    layer: str | None = None
    """Where its own differs from the block's."""
    standing: str = ""
    """Such as "recommended", "passes", or "4 of 6"."""
    ranks: tuple[tuple[int, int] | None, ...] = ()
    """The best and the worst that comparisons leave open, by measure; None where it has none."""
    reasons: tuple[str | None, ...] = ()
    """Why a value is missing, by measure."""
    is_drawn: bool = True
    is_faint: bool = False
    """Whether it is drawn hollow."""


class Pair(Frozen):
    """Two entries, or one entry in two groups, by one measure."""

    measure: str
    one: str
    other: str
    estimate: Estimate
    """The first less the other, or how far they agree."""
    group: Group | None = None
    adjusted_p: float | None = None
    """Of no difference; None where the two never differ, or nothing was tested."""


class Measures(Block):
    """Entries by measures, with their pairs."""

    block: Literal["measures"] = "measures"
    title: str
    noun: str
    """What the entries are, in the singular: "layout"."""
    target: str | None = None
    layer: str | None = None
    measures: tuple[Measure, ...]
    entries: tuple[Entry, ...]
    standing_is: str = "result"
    """The heading of the column that shows the `standing` of each entry."""
    pairs: tuple[Pair, ...] = ()
    pairs_are: Literal["difference", "agreement"] = "difference"
    rests_on: Literal["images", "repetitions"] = "images"
    """What estimates count."""
    caption: str
    notes: tuple[str, ...] = ()
    """Rules and cautions, in sentences."""
    reading: tuple[str, ...] = ()
    """What the comparison is for, for a reader who meets it for the first time."""
    is_drawn: bool = True
    covariances: tuple[tuple[tuple[float, ...], ...], ...] = ()
    """Of every measure, those of the values of the entries that have one, whose images are the
    same; then those of the pairs. They give means over some of the entries their errors."""

    @property
    def counts_images(self) -> bool:
        """Whether its estimates count images."""
        return self.rests_on == "images"

    def drawn(self) -> tuple[Entry, ...]:
        """What the figure shows; empty where nothing is measured."""
        found = [entry for entry in self.entries if entry.is_drawn]
        known = any(value is not None for entry in found for value in entry.values)
        return tuple(found) if self.is_drawn and known else ()


def _rows(block: Measures) -> Iterator[Row]:
    """Every measure of every entry, then the pairs."""
    for entry in block.entries:
        nothing = (None,) * len(block.measures)
        for measure, value, rank, reason in zip(
            block.measures,
            entry.values,
            entry.ranks or nothing,
            entry.reasons or nothing,
            strict=True,
        ):
            best, worst = rank or (None, None)
            yield {
                "target": block.target,
                "layer": entry.layer or block.layer,
                "series": "value",
                "entry": entry.name,
                "group": entry.group,
                "images": entry.n,
                "standing": entry.standing,
                "measure": measure.name,
                "better": measure.better,
                "reference": measure.reference,
                "estimate": value,
                "best_rank": best,
                "worst_rank": worst,
                "reason": reason,
            }
    for pair in block.pairs:
        yield {
            "target": block.target,
            "layer": block.layer,
            "series": block.pairs_are,
            "entry": pair.one,
            "other": pair.other,
            "group": pair.group,
            "measure": pair.measure,
            "estimate": pair.estimate,
            "adjusted_p": pair.adjusted_p,
        }


def _text(block: Measures) -> BlockText:
    """Say what each measure means, and list every entry and pair."""
    overall = [entry for entry in block.entries if entry.group is None]
    by_group = [entry for entry in block.entries if entry.group is not None]
    reasons = Counter(next((why for why in entry.reasons if why), None) for entry in block.entries)
    missing = "; ".join(f"{why} ({counted(n, 'row')})" for why, n in reasons.items() if why)
    return BlockText(
        alt=_alt(block) if block.drawn() else None,
        caption=block.caption,
        notes=(
            *block.notes,
            *(
                f"{sentence(measure.name)} ({measure.better} is better): {measure.meaning}."
                for measure in block.measures
                if measure.meaning
            ),
            *((f"Not measured: {missing}.",) if missing else ()),
            *interval_note(estimates_of(_rows(block))),
        ),
        tables=(*_entries(block, overall), *_entries(block, by_group), *_pairs(block)),
        reading=block.reading,
    )


def _alt(block: Measures) -> str:
    drawn, first = block.drawn(), block.measures[0].name
    at = f" at {block.layer}" if block.layer else ""
    listed = "; ".join(
        f"{label_of(block, entry)} {entry.standing}".rstrip()
        + f", {first} {interval(entry.values[0])}"
        for entry in drawn[:_PRINTED]
    )
    return (
        f"Dot plots of {counted(len(block.measures), 'measure')} of "
        f"{counted(len(drawn), block.noun)}{at}. {listed}."
    )


def label_of(block: Measures, entry: Entry) -> str:
    """What distinguishes a drawn entry from the others: its name, or its group."""
    names = {each.name for each in block.drawn()}
    return entry.group.label if len(names) == 1 and entry.group else entry.name


def _entries(block: Measures, entries: Sequence[Entry]) -> Iterator[Table]:
    rows = [
        {"name": s.name, "group": s.group, "n": s.n, "layer": s.layer, "standing": s.standing}
        | {"entry": s}
        for s in entries
    ]
    if not rows:
        return
    is_grouped = rows[0]["group"] is not None
    heads = [
        *((Shown("group", lambda r: r["group"].label, numeric=False),) if is_grouped else ()),
        words(block.noun, "name"),
        *((words("layer", "layer"),) if has(rows, "layer") else ()),
    ]
    columns = [
        *heads,
        *((Shown("images", lambda r: count(r["n"])),) if has(rows, "n") and is_grouped else ()),
        *((words(block.standing_is, "standing"),) if any(s.standing for s in entries) else ()),
        *(
            Shown(_heading(measure), partial(_cell, place=place))
            for place, measure in enumerate(block.measures)
            if measure.part_of is None
        ),
    ]
    some = [row for row, s in zip(rows, entries, strict=True) if s.is_drawn]
    yield table(
        _caption(block, ", by group" if is_grouped else ""),
        rows,
        columns,
        excerpt=(some or rows)[:_PRINTED],
        note=f"The first {block.noun}s.",
        n_headers=1 + is_grouped,
        is_detail=is_grouped and len(entries) < len(block.entries),
    )


def _caption(block: Measures, by: str) -> str:
    """The title with the layer that it does not name; a question stays one."""
    at = f" at {block.layer}" if block.layer and block.layer not in block.title else ""
    end = "?" if block.title.endswith("?") else ""
    return sentence(f"{block.title.removesuffix('?')}{at}{by}{end}")


def _heading(measure: Measure) -> str:
    if not measure.reference_is or measure.reference is None:
        return measure.name
    return f"{measure.name}\n({measure.reference_is} {guess(measure.reference)})"


def _cell(row: Mapping[str, Entry], place: int) -> str:
    entry = row["entry"]
    value, rank = entry.values[place], entry.ranks[place] if entry.ranks else None
    reason = entry.reasons[place] if entry.reasons else None
    said = interval(value) if value is not None else (reason or MISSING)
    if rank is None:
        return said
    best, worst = rank
    return f"{said}\nrank {best}" if best == worst else f"{said}\nrank {best} to {worst}"


def _pairs(block: Measures) -> Iterator[Table]:
    rows = [*_rows(block)][len(block.entries) * len(block.measures) :]
    if not rows:
        return
    is_difference = block.pairs_are == "difference"
    form = signed_interval if is_difference else interval
    by_p = sorted(rows, key=lambda r: 1.0 if r["adjusted_p"] is None else r["adjusted_p"])
    yield table(
        sentence(f"{block.pairs_are}s: {block.title}"),
        rows,
        (
            words(block.noun, "entry"),
            words("minus" if is_difference else "and", "other"),
            *(
                (Shown("group", lambda r: r["group"].label if r["group"] else "all images"),)
                if has(rows, "group")
                else ()
            ),
            words("measure", "measure"),
            Shown(block.pairs_are, lambda row: form(row["estimate"])),
            *((Shown("adjusted p", _adjusted),) if is_difference else ()),
        ),
        excerpt=by_p[:_PRINTED],
        note="The smallest adjusted p-values." if is_difference else "The first pairs.",
        n_headers=2,
    )


def _adjusted(row: Row) -> str:
    return "never differ" if row["adjusted_p"] is None else chance_of(row["adjusted_p"])


_COLUMNS: Final = (
    "target", "layer", "series", "entry", "other", "group", "images", "standing", "measure",
    "better", "reference", "estimate", "best_rank", "worst_rank", "adjusted_p", "reason",
)  # fmt: skip
SHAPE = Shape(
    Measures,
    place=125,
    table="measures",
    about="an entry by one measure, the difference of two entries or groups, or their agreement "
    "(see series)",
    columns=_COLUMNS,
    rows=_rows,
    text=_text,
    printed=True,
)
