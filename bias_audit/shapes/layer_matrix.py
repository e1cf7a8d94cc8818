"""A number for every pair of layers, such as how alike they arrange the groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from bias_audit.shapes.printed import counted, interval_note, sentence
from bias_audit.shapes.shape import Block, Frozen, Row, Shape
from bias_audit.shapes.tables import (
    BlockText,
    ascending,
    ends,
    estimates_of,
    lowest_and_highest,
    measured,
    table,
    words,
)
from bias_audit.statistics.estimate import Estimate


class LayerPair(Frozen):
    """How alike two layers are."""

    one: str
    other: str
    estimate: Estimate


class LayerMatrix(Block):
    """A number for every pair of layers, such as how alike they arrange the groups."""

    block: Literal["layer_matrix"] = "layer_matrix"
    title: str
    metric: str
    layers: tuple[str, ...]
    """In order of depth."""
    pairs: tuple[LayerPair, ...]
    """Every pair of different layers that could be compared, the earlier layer first."""


def _rows(block: LayerMatrix) -> Iterator[Row]:
    for pair in block.pairs:
        yield {
            "metric": block.metric,
            "layer": pair.one,
            "other_layer": pair.other,
            "estimate": pair.estimate,
        }


def _text(block: LayerMatrix) -> BlockText:
    """Say which layers are most and least alike, and list every pair."""
    rows = [*_rows(block)]
    said = lowest_and_highest(
        rows, lambda row: f"{row['layer']} and {row['other_layer']}", ("Least alike", "Most alike")
    )
    return BlockText(
        alt=(
            f"Heat map of the {block.metric} for {counted(len(block.layers), 'layer')}. {said}"
            if rows
            else None
        ),
        caption=sentence(f"Each square is the {block.metric} of two layers, in order of depth."),
        notes=interval_note(estimates_of(rows)),
        tables=(
            table(
                sentence(block.metric),
                rows,
                (words("layer", "layer"), words("and", "other_layer"), measured("value")),
                excerpt=ends(ascending(rows), 4),
                note="The 4 lowest and the 4 highest.",
                n_headers=2,
            ),
        ),
    )


_READING: Final = (
    "Two layers are alike when they put the same groups near each other and the same groups far "
    "apart{}: 1 would be the same order of all distances, 0 no relation."
)
SHAPE = Shape(
    LayerMatrix,
    place=90,
    table="layer_pairs",
    about="two layers",
    columns=("metric", "layer", "other_layer", "estimate"),
    rows=_rows,
    text=_text,
    reading=(_READING.format(", whatever units they do it with"),),
    in_short=_READING.format(""),
)
