"""Confusions in words and numbers."""

from __future__ import annotations

from bias_audit.report.blocks.groups import group_heading
from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import count, counted, interval_note, percent, percent_interval
from bias_audit.results.blocks import Confusion, ConfusionClass, Confusions


def confusions(block: Confusions) -> BlockText:
    """Say which attributes change in confusions, and list the most frequent pairs."""
    shares = [entry.share for entry in block.classes]
    shares += [entry.share for entry in block.most_frequent]
    total = f"{count(block.n_confused)} of {counted(block.n_images, 'image')}"
    tables = [_class_table(block)] if block.classes else []
    tables += [_pair_table(block)] if block.most_frequent else []
    return BlockText(
        alt=_alt(block) if block.classes else None,
        caption=(
            "Confusions by the set of annotated attributes that changed: share of all confusions, "
            "beside the share expected if wrong predictions fell on groups as often as these are "
            "predicted at all."
        ),
        notes=(f"At {block.layer}, {total} are confused.", *interval_note(shares)),
        tables=tuple(tables),
    )


def _changed(entry: Confusion | ConfusionClass) -> str:
    return " + ".join(entry.changed)


def _alt(block: Confusions) -> str:
    parts = [
        f"{_changed(entry)}: {percent_interval(entry.share)}, expected {percent(entry.expected)}"
        for entry in block.classes
    ]
    return (
        f"Bar chart of {counted(block.n_confused, 'confusion')} at {block.layer} by the "
        f"attributes that changed. {'; '.join(parts)}."
    )


def _class_table(block: Confusions) -> Table:
    return Table(
        caption="Confusions by the attributes that changed",
        columns=(
            Column("changed"),
            Column("confusions", numeric=True),
            Column("share of all confusions", numeric=True),
            Column("expected by chance", numeric=True),
        ),
        rows=tuple(
            (_changed(e), count(e.count), percent_interval(e.share), percent(e.expected))
            for e in block.classes
        ),
    )


def _pair_table(block: Confusions) -> Table:
    heading = group_heading([entry.true for entry in block.most_frequent])
    rows = tuple(
        (
            entry.true.label,
            entry.predicted.label,
            _changed(entry),
            f"{count(entry.count)} of {count(entry.n_true)}",
            percent_interval(entry.share),
        )
        for entry in block.most_frequent
    )
    return Table(
        caption="The most frequent confusions",
        columns=(
            Column(f"annotated as ({heading})"),
            Column("predicted as"),
            Column("changed"),
            Column("images", numeric=True),
            Column("share of the group", numeric=True),
        ),
        rows=rows,
        n_headers=2,
        excerpt=rows[:6],
        excerpt_note="The most frequent.",
    )
