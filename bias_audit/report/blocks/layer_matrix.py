"""A number for every pair of layers, in words."""

from __future__ import annotations

from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import counted, interval, interval_note, sentence
from bias_audit.results.blocks import LayerMatrix, LayerPair


def layer_matrix(block: LayerMatrix) -> BlockText:
    """Say which layers are most and least alike, and list every pair."""
    ranked = sorted(block.pairs, key=lambda pair: pair.estimate.value)
    return BlockText(
        alt=_alt(block, ranked) if ranked else None,
        caption=sentence(f"{block.metric}, of every two layers in order of depth."),
        notes=interval_note(pair.estimate for pair in block.pairs),
        tables=(_table(block, ranked),),
    )


def _alt(block: LayerMatrix, ranked: list[LayerPair]) -> str:
    low, high = (
        f"{pair.one} and {pair.other}, {interval(pair.estimate)}"
        for pair in (ranked[0], ranked[-1])
    )
    return (
        f"Heat map of the {block.metric} for {counted(len(block.layers), 'layer')}. Least alike: "
        f"{low}. Most alike: {high}."
    )


def _table(block: LayerMatrix, ranked: list[LayerPair]) -> Table:
    rows, sorted_rows = (
        tuple((pair.one, pair.other, interval(pair.estimate)) for pair in pairs)
        for pairs in (block.pairs, ranked)
    )
    return Table(
        caption=sentence(block.metric),
        columns=(Column("layer"), Column("and"), Column("value", numeric=True)),
        rows=rows,
        n_headers=2,
        excerpt=(*sorted_rows[:4], *sorted_rows[-4:]),
        excerpt_note="The 4 lowest and the 4 highest.",
    )
