"""Backbones side by side, by the checks of their attribution maps, in words and numbers."""

from __future__ import annotations

from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import MISSING, interval, interval_note, sentence
from bias_audit.results.blocks import BackboneComparison, ComparedBackbone
from bias_audit.statistics.estimate import Estimate


def backbone_comparison(block: BackboneComparison) -> BlockText:
    """Say what each check came to on every backbone, and which ranks that leaves open."""
    known = [v for backbone in block.backbones for v in backbone.estimates if v is not None]
    return BlockText(
        alt=_alt(block) if known else None,
        caption=(
            f"Checks of the maps of the decision about {block.target}, as means over methods, "
            "with intervals. Dotted: the limit of the check, or what a map without meaning gives. "
            "Arrows: the better direction."
        ),
        notes=(
            _methods(block),
            block.rule,
            *(
                f"{sentence(measure.name)} ({measure.better} is better): {measure.meaning}."
                for measure in block.measures
            ),
            *interval_note(known),
        ),
        tables=(_table(block),),
    )


def _methods(block: BackboneComparison) -> str:
    if not block.methods:
        return "No method applies to every backbone, so there are no means and no ranks."
    return (
        f"Means over the {len(block.methods)} methods that apply to every backbone: "
        f"{', '.join(block.methods)}."
    )


def _alt(block: BackboneComparison) -> str:
    first = block.measures[0].name
    told = "; ".join(f"{b.name} {first} {_value(b.estimates[0])}" for b in block.backbones)
    return (
        f"Dot plots of {len(block.measures)} checks of {len(block.backbones)} backbones. {told}."
    )


def _table(block: BackboneComparison) -> Table:
    rows = (
        ("layer", *(backbone.layer for backbone in block.backbones)),
        (
            "methods that pass the sanity check",
            *(f"{backbone.passing} of {backbone.applied}" for backbone in block.backbones),
        ),
        *(
            (
                f"{measure.name} ({measure.better} is better)",
                *(_cell(backbone, place) for backbone in block.backbones),
            )
            for place, measure in enumerate(block.measures)
        ),
    )
    return Table(
        caption=f"Checks of the maps of the decision about {block.target}, backbone by backbone",
        columns=(
            Column("check"),
            *(Column(backbone.name, numeric=True) for backbone in block.backbones),
        ),
        rows=rows,
        excerpt=rows,
        excerpt_note="All checks.",
    )


def _cell(backbone: ComparedBackbone, place: int) -> str:
    value, rank = _value(backbone.estimates[place]), backbone.ranks[place]
    if rank is None:
        return value
    best, worst = rank
    return f"{value}\nrank {best}" if best == worst else f"{value}\nrank {best} to {worst}"


def _value(value: Estimate | None) -> str:
    return MISSING if value is None else interval(value)
