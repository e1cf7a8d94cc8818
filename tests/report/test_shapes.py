"""Every block shape can be told, drawn and printed."""

from __future__ import annotations

import base64
import functools
import io
import typing
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bias_audit.report.figures.drawing import drawing_of
from bias_audit.report.figures.map_sheet import wrapped
from bias_audit.report.figures.saving import data_uri
from bias_audit.report.figures.style import PLAIN, settings
from bias_audit.report.figures.unit_map import _usual
from bias_audit.report.grid import arranged
from bias_audit.report.sections.backbone import overrides, preprocessing
from bias_audit.results.store import read_array
from bias_audit.shapes.catalog import shape_of, shapes
from tests.report.synthetic import CONTROLS, HOSTILE, LARGE, SMALL, Made, make_audit

NAMES = tuple(shapes())
DRAWN = [name for name in NAMES if drawing_of(name)]


def draw(block: typing.Any, arrays: typing.Any) -> Figure:
    drawing = drawing_of(block.name)
    assert drawing is not None
    return drawing.draw(block, arrays, PLAIN)


@pytest.mark.slow
@pytest.mark.parametrize("attributes", [SMALL, LARGE, HOSTILE], ids=["small", "large", "hostile"])
def test_every_shape_is_told_and_drawn(attributes: typing.Any, tmp_path: Path) -> None:
    made = make_audit(attributes, empty=(1,))
    made.write(tmp_path)
    seen = set()
    for analysis in (*made.result.subjects[0].analyses, *made.result.together):
        for block in analysis.blocks:
            text, drawing = shape_of(block).text(block), drawing_of(block.name)
            assert text.caption
            seen.add(block.name)
            if text.alt is None:
                assert text.tables
                continue
            assert drawing is not None
            keys = drawing.arrays(block)
            arrays = {key: read_array(tmp_path, analysis.arrays, key) for key in keys}
            figure = draw(block, arrays)
            assert isinstance(figure, Figure)
            assert data_uri(figure, form=drawing.form).startswith("data:image/")
    assert seen == set(NAMES)


@functools.cache
def _made() -> Made:
    return make_audit(empty=(1,))


def _blocks(name: str) -> list[typing.Any]:
    result = _made().result
    analyses = (*result.subjects[0].analyses, *result.together)
    return [block for each in analyses for block in each.blocks if block.name == name]


def _block(name: str) -> tuple[typing.Any, dict[str, typing.Any]]:
    made = _made()
    for analysis in (*made.result.subjects[0].analyses, *made.result.together):
        for block in analysis.blocks:
            if block.name == name:
                return block, made.arrays.get(analysis.arrays, {})
    raise AssertionError(name)


@pytest.mark.parametrize("name", DRAWN)
def test_the_same_block_gives_the_same_bytes(name: str) -> None:
    block, arrays = _block(name)
    drawing = drawing_of(name)
    assert drawing is not None
    one, two = (data_uri(draw(block, arrays), form=drawing.form) for _ in range(2))
    assert one == two


def test_maps_share_one_symmetric_colour_scale_and_leave_empty_groups_blank() -> None:
    block, arrays = _block("unit_map")
    axes = draw(block, arrays).axes[0]
    assert sum(n > 0 for n in block.counts) == len(block.groups) - 1
    assert {image.get_clim() for image in axes.get_images()} == {(-block.limit, block.limit)}
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("too\nfew") == 1
    usual = _usual(block.counts)
    sizes = [f"n {n}" for n in block.counts if n and n != usual]
    assert sorted(t for t in texts if t.startswith("n ")) == sorted(sizes)


def test_every_map_lies_in_the_row_and_column_that_name_its_group() -> None:
    """And is its own; those at the edges are the means of the maps beside them."""
    block, arrays = _block("unit_map")
    arrays = {block.rasters: np.full((len(block.groups), 4, 4), 0.0)}
    for index in range(len(block.groups)):
        arrays[block.rasters][index] = index
    axes = draw(block, arrays).axes[0]
    by_text: dict[str, list[tuple[float, float]]] = {}
    for text in axes.texts:
        by_text.setdefault(text.get_text(), []).append(text.get_position())
    shown = {}
    for image in axes.get_images():
        left, right, bottom, top = image.get_extent()
        shown[round((left + right) / 2, 3), round((bottom + top) / 2, 3)] = float(
            np.asarray(image.get_array())[0, 0]
        )
    grid = arranged(block.groups)
    assert grid is not None
    for (of_block, row, column), index in grid.places.items():
        if not block.counts[index]:
            continue
        xs = [x for x, _ in by_text[wrapped(column, 9)]]
        ys = [y for _, y in by_text[wrapped(" / ".join(row), 14)]]
        places = [(x, y) for (x, y), value in shown.items() if value == index]
        assert any(
            min(abs(x - each) for each in xs) < 0.01 and min(abs(y - each) for each in ys) < 0.01
            for x, y in places
        ), (of_block, row, column)
    others = sorted(set(shown.values()) - set(range(len(block.groups))))
    assert others  # means of several groups


def _lines(axes: typing.Any) -> dict[str, typing.Any]:
    """By name; matplotlib begins those of mere decoration with a line below."""
    named = {line.get_label(): line for line in axes.get_lines()}
    return {name: line for name, line in named.items() if not name.startswith("_")}


def test_a_curve_breaks_where_a_layer_was_not_measured() -> None:
    block, arrays = _block("layer_curve")
    panels = draw(block, arrays).axes
    assert [axes.get_title(loc="left") for axes in panels] == list(block.chance)
    values = [np.asarray(_lines(axes)["estimate"].get_ydata()) for axes in panels]
    assert [int(np.isnan(each).sum()) for each in values] == [0, 0, 0, 1]
    assert "glasses: not measured" in " ".join(shapes()["layer_curve"].text(block).notes)


def test_every_control_is_drawn_in_a_kind_of_its_own_named_and_listed() -> None:
    block, arrays = _block("layer_curve")
    shape = shapes()["layer_curve"]
    text = shape.text(block)
    for axes, curve in zip(draw(block, arrays).axes, block.curves, strict=False):
        lines = _lines(axes)
        kinds = {(lines[name].get_marker(), str(lines[name]._dash_pattern)) for name in CONTROLS}
        assert len(kinds) == len(CONTROLS)
        names = {annotation.get_text() for annotation in axes.texts}
        assert {*CONTROLS, "as annotated", "chance 0.50"} <= names
        for place, point in enumerate(curve.points):
            drawn = {name: float(np.asarray(lines[name].get_ydata())[place]) for name in CONTROLS}
            for control in point.controls:
                assert drawn[control.name] == pytest.approx(control.estimate.value)
    every, controls = text.tables
    assert [column.label for column in every.columns][3:6] == [
        "strongest baseline", "lift over it", "adjusted p",
    ]  # fmt: skip
    told = {row[3].split("\n")[0] for row in every.rows}
    assert {"pixels", "guessing"} <= told
    assert {row[2] for row in controls.rows} == set(CONTROLS)
    assert len(controls.rows) == len(CONTROLS) * len(block.chance)


def test_tables_print_effective_clusters_where_images_are_worth_fewer() -> None:
    block, _ = _block("group_table")
    rows = tuple(
        row.model_copy(update={"estimate": row.estimate and replace(row.estimate, clusters=2.5)})
        for row in block.rows
    )
    (even,) = shapes()["group_table"].text(block).tables
    (table,) = shapes()["group_table"].text(block.model_copy(update={"rows": rows})).tables
    assert (even.columns[1].label, even.rows[0][1]) == ("images", f"{rows[0].n}")
    assert table.columns[1].label == "images\n(effective clusters)"
    for row, cells in zip(rows, table.rows, strict=True):
        assert cells[1] == f"{row.n} (2.5)" if row.estimate else f"{row.n}"


def test_bits_may_be_negative_and_have_an_axis_of_their_own() -> None:
    made = make_audit()
    blocks_of = [b for a in made.result.subjects[0].analyses for b in a.blocks]
    bits = next(b for b in blocks_of if getattr(b, "quantity", "") == "bits")
    values = []
    for axes in draw(bits, {}).axes:
        low, high = axes.get_ylim()
        drawn = np.asarray(_lines(axes)["estimate"].get_ydata())
        assert low < np.nanmin(drawn) and np.nanmax(drawn) < high and low < 0 < high
        assert "chance 0" in {text.get_text() for text in axes.texts}
        values.append(drawn)
    assert np.nanmin(np.concatenate(values)) < 0
    assert np.nanmax(np.concatenate(values)) > 1


def test_raw_and_shrunk_values_stand_side_by_side() -> None:
    made = make_audit(empty=(1,))
    tables = [b for a in made.result.subjects[0].analyses for b in a.blocks]
    block: typing.Any = next(b for b in tables if getattr(b, "shrinkage", None))
    shape = shapes()["group_table"]
    figure, text = draw(block, {}), shape.text(block)
    for marker, pick in (("o", "estimate"), ("D", "shrunk")):
        drawn = [
            float(np.asarray(line.get_xdata())[0])
            for line in figure.axes[0].get_lines()
            if line.get_marker() == marker
        ]
        rows = [getattr(row, pick) for row in block.rows if getattr(row, pick)]
        assert drawn == [estimate.value for estimate in rows]
    labels = [column.label for column in text.tables[0].columns]
    assert labels[2:] == ["recall", "stabilised", "adjusted p"]
    assert {row[4] for row in text.tables[0].rows} == {"p < 0.001", "p = 0.200", "not tested"}
    assert any("structured regression" in note for note in text.notes)


def test_a_block_without_any_estimate_is_told_and_not_drawn() -> None:
    block, _ = _block("group_table")
    rows = tuple(
        r.model_copy(update={"estimate": None, "reason": "no images"}) for r in block.rows
    )
    text = shapes()["group_table"].text(block.model_copy(update={"rows": rows}))
    assert text.alt is None
    assert "not measured: no images" in text.tables[0].rows[0][2]
    curve, _ = _block("layer_curve")
    bare = tuple(c.model_copy(update={"points": (), "not_measured": "why"}) for c in curve.curves)
    text = shapes()["layer_curve"].text(curve.model_copy(update={"curves": bare}))
    assert text.alt is None
    assert any("why" in note for note in text.notes)


def test_what_a_group_gets_by_chance_is_drawn_told_and_listed() -> None:
    block, arrays = _block("group_table")
    shape = shapes()["group_table"]
    figure, text = draw(block, arrays), shape.text(block)
    ticks = [
        (float(np.asarray(line.get_xdata())[0]), float(np.asarray(line.get_ydata())[0]))
        for axes in figure.axes
        for line in axes.get_lines()
        if line.get_marker() == "|"
    ]
    assert ticks == [(row.by_chance, place) for place, row in enumerate(block.rows)]
    low, high = figure.axes[0].get_xlim()
    assert all(low < x < high for x, _ in ticks)
    assert "grey tick: if predictions ignored the image" in figure.get_supxlabel()
    assert "Grey tick" in text.caption
    assert "by chance" in (text.alt or "")
    assert [row[-1] for row in text.tables[0].rows] == [f"{r.by_chance:.3f}" for r in block.rows]

    rows = tuple(row.model_copy(update={"by_chance": None}) for row in block.rows)
    plain = block.model_copy(update={"rows": rows, "chance": 0.25})
    figure, text = draw(plain, arrays), shape.text(plain)
    assert figure.get_supxlabel() == "recall (dotted line: chance, 0.25)"
    assert not any(line.get_marker() == "|" for line in figure.axes[0].get_lines())
    assert "by chance" not in [column.label for column in text.tables[0].columns]
    assert "Dotted: chance." in text.caption


def test_a_picture_has_the_colours_of_its_figure() -> None:
    block, arrays = _block("unit_map")
    figure = draw(block, arrays)
    encoded = data_uri(figure, form="png").removeprefix("data:image/png;base64,")
    drawn = io.BytesIO()
    with mpl.rc_context(settings()):
        figure.savefig(drawn, format="png", dpi=figure.dpi)
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as one, Image.open(drawn) as two:
        assert one.mode == "RGB"
        assert np.array_equal(np.asarray(one), np.asarray(two.convert("RGBA"))[..., :3])
        assert np.asarray(two.convert("RGBA"))[..., 3].min() == 255, "nothing shines through"


@pytest.mark.parametrize(
    ("resize", "told"),
    [("crop", ("crop keeps: 0.875 of the resized shorter side",)), ("stretch", ())],
)
def test_a_crop_fraction_is_told_where_something_is_cropped(
    resize: str, told: tuple[str, ...]
) -> None:
    lines = preprocessing({"resize": resize, "crop_fraction": 0.875, "mean": [0.5, 0.4, 0.3]})
    assert tuple(line for line in lines if "0.875" in line) == told
    assert lines[-1] == "mean subtracted (RGB): 0.5, 0.4, 0.3"


def test_changes_are_gathered_by_what_they_set_and_module_names_stay() -> None:
    changes = {"layer2.0.conv_dw.stride": [2, 2], "layer3.0.conv1.stride": [2, 2], "a.eps": 0.001}
    assert overrides(changes) == (
        "stride set to 2, 2 in layer2.0.conv_dw, layer3.0.conv1",
        "eps set to 0.001 in a",
    )


def test_shapes_without_a_figure_are_text_and_tables() -> None:
    assert {"test_families", "group_ledger"} == set(NAMES) - set(DRAWN)


def test_families_behind_a_closed_gate_claim_nothing_and_too_few_draws_are_told() -> None:
    block, _ = _block("test_families")
    text = shapes()["test_families"].text(block)
    rows = {row[0]: row for row in text.tables[0].rows}
    assert [rows[name][7] for name in ("global", "marginals", "cells")] == ["1", "0", "not tested"]
    assert rows["cells"][8] == "not tested, because no test in marginals was significant"
    assert not text.notes
    poor = block.families[0].model_copy(update={"n_hypotheses": 126, "smallest_p": 0.126})
    text = shapes()["test_families"].text(block.model_copy(update={"families": (poor,)}))
    assert "too few for a single one of 126 hypotheses to be significant" in text.notes[0]


def test_a_comparison_lists_every_measure_its_standing_and_what_is_missing() -> None:
    block = next(b for b in _blocks("measures") if b.noun == "layout")
    text = shape_of(block).text(block)
    assert text.alt is None
    assert block.notes[0] == text.notes[0]
    (table,) = text.tables
    assert [column.label for column in table.columns[2:]] == [m.name for m in block.measures]
    assert [row[1] for row in table.rows] == ["recommended", "tied", "behind"]
    assert table.rows[0][3] == "0.94 [0.92, 0.96]"
    assert table.rows[2][4] == "not measured"


def test_comparisons_list_groups_ranks_and_pairs() -> None:
    votes, backbones = (
        next(b for b in _blocks("measures") if b.noun == noun) for noun in ("voter", "backbone")
    )
    overall, by_group, pairs = shape_of(votes).text(votes).tables
    assert overall.columns[-1].label == "macro F1\n(guessing 0.33)"
    assert len(by_group.rows) == len(votes.entries) - len(overall.rows)
    assert "4 independent images: suppressed" in by_group.rows[0]
    assert [row[-1] for row in pairs.rows] == ["p = 0.020", "never differ"]
    (table,) = shape_of(backbones).text(backbones).tables
    assert table.rows[0][3].endswith("\nrank 1")


def test_robustness_curves_start_where_nothing_is_disturbed_and_name_what_has_none() -> None:
    block, arrays = _block("robustness_curves")
    shape = shapes()["robustness_curves"]
    for axes, panel in zip(draw(block, arrays).axes, block.panels, strict=True):
        lines = _lines(axes)
        assert set(lines) == {curve.method for curve in panel.curves if curve.points}
        for curve in panel.curves[:2]:
            drawn = np.asarray(lines[curve.method].get_xydata())
            assert drawn[0].tolist() == [0, 0]
            assert drawn[1:, 1].tolist() == [point.change.value for point in curve.points]
        assert {text.get_text() for text in axes.texts} == {"1. UMAP (cosine)", "2. PCA (cosine)"}
    assert "random (cosine): not measured" in shape.text(block).notes[0]
    rows = shape.data(block, arrays)
    assert len(rows) == 1 + 2 * 2 * 3
    assert rows[1][2:6] == ("Gaussian blur", "UMAP (cosine)", 1, 1.0)


def test_a_ledger_says_so_where_nothing_was_excluded() -> None:
    block, _ = _block("group_ledger")
    text = shapes()["group_ledger"].text(block)
    assert len(text.tables[0].rows) == len(block.entries)
    assert f"of {block.n_groups} groups" in text.notes[1]
    text = shapes()["group_ledger"].text(block.model_copy(update={"entries": ()}))
    assert not text.tables
    assert "No group was excluded or pooled" in text.notes[1]


def test_difference_maps_keep_colour_in_rejected_regions_alone() -> None:
    block, arrays = _block("difference_map")
    axes = draw(block, arrays).axes[0]
    drawn = [entry for entry in block.differences if min(entry.counts) > 0]
    tested = [entry for entry in drawn if entry.adjusted_p is not None]
    assert len(block.differences) > len(drawn) > len(tested) > 1
    drawings = axes.get_images()
    veils = [image for image in drawings if np.asarray(image.get_array()).ndim == 3]
    maps = [image for image in drawings if np.asarray(image.get_array()).ndim == 2]
    assert len(maps) == len(drawn)
    assert len(veils) == len(tested)
    assert {image.get_clim() for image in maps} == {(-block.limit, block.limit)}
    for entry, mask, veil in zip(block.differences, arrays[block.masks], veils, strict=False):
        transparent = np.asarray(veil.get_array())[..., 3] == 0
        np.testing.assert_array_equal(transparent, mask != 0)
        assert transparent.any() == bool(entry.n_regions)
    texts = " ".join(text.get_text() for text in axes.texts)
    assert "nothing found, p = 1.000" in texts
    assert "not tested" in texts
    assert "12 % of units, p = 0.009" in texts


def test_difference_maps_are_told_with_regions_effects_and_reasons() -> None:
    block, _ = _block("difference_map")
    text = shapes()["difference_map"].text(block)
    rows = text.tables[0].rows
    assert rows[0][2:] == ("40", "3, 1, 4, ...", "+0.50 [0.40, 0.60]", "p = 0.009")
    assert any(row[-1] == "not tested" for row in rows)
    notes = " ".join(text.notes)
    assert "only images that are alike in them are compared" in notes
    assert "no images of it" in notes
    assert "label no permutation can change" in notes
    assert text.alt is not None
    assert "Of 2 tested, 1 show regions" in text.alt
    poor = block.model_copy(update={"smallest_p": 0.2})
    assert ("too few for any map to differ significantly") in " ".join(
        shapes()["difference_map"].text(poor).notes
    )


def test_levels_stand_under_what_their_attribute_explains() -> None:
    made = make_audit(empty=(1,))
    analysis = next(a for a in made.result.subjects[0].analyses if a.kind == "topomap")
    block: typing.Any = next(b for b in analysis.blocks if getattr(b, "shares", ()))
    shape = shapes()["unit_map"]
    axes = draw(block, made.arrays[analysis.arrays]).axes[0]
    by_text = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert (
        by_text["age: explains 60.0 % [56.0, 64.0] of the differences"] < by_text["child\nn 120"]
    )
    assert (
        by_text["child\nn 120"]
        < by_text["phenotype: explains 30.0 % [26.0, 34.0] of the differences"]
    )
    assert "age 60.0 % [56.0, 64.0]" in (shape.text(block).alt or "")


def test_a_dendrogram_stands_above_the_matrix_in_the_order_of_its_leaves() -> None:
    block, arrays = _block("group_matrix")
    above, axes = draw(block, arrays).axes[:2]
    merges = above.get_lines()
    assert len(merges) == len(arrays[block.tree])
    heights = [float(np.asarray(line.get_ydata()).max()) for line in merges]
    np.testing.assert_allclose(heights, arrays[block.tree][:, 2])
    assert above.get_xlim() == axes.get_xlim()
    bad = arrays | {block.tree: arrays[block.tree] + 1000}
    with pytest.raises(ValueError, match="expected each merge to join"):
        draw(block, bad)


def test_layers_are_compared_in_a_triangle() -> None:
    block, arrays = _block("layer_matrix")
    axes = draw(block, arrays).axes[0]
    drawn: npt.NDArray[np.float64] = np.ma.filled(
        np.ma.asarray(axes.get_images()[0].get_array()), np.nan
    )
    place = {layer: index for index, layer in enumerate(block.layers)}
    for pair in block.pairs:
        assert drawn[place[pair.other], place[pair.one]] == pytest.approx(pair.estimate.value)
        assert np.isnan(drawn[place[pair.one], place[pair.other]])


def test_clusters_show_how_many_groups_of_each_level_they_have() -> None:
    block, arrays = _block("group_clusters")
    figure = draw(block, arrays)
    assert len(figure.axes) == len(block.attributes)
    for place, (axes, attribute) in enumerate(zip(figure.axes, block.attributes, strict=True)):
        texts = {text.get_position(): text.get_text() for text in axes.texts}
        for row, cluster in enumerate(block.clusters):
            own = [dict(group.levels)[attribute.name] for group in cluster.groups]
            shown = [texts.get((column, row), "0") for column in range(len(attribute.levels))]
            assert shown == [str(own.count(level)) for level in attribute.levels]
            entropy = cluster.entropies[place]
            said = [t for (x, y), t in texts.items() if y == row and x > len(attribute.levels) - 1]
            assert said == ["" if entropy is None else f"{100 * entropy:.0f} %"]
    text = shapes()["group_clusters"].text(block)
    (table,) = text.tables
    assert table.rows[-1][0] == f"cluster {len(block.clusters)} (1 group)"
    assert "one group" in table.rows[-1][1]
    n_rows = len([*shapes()["group_clusters"].rows(block)])
    assert n_rows == sum(len(cluster.groups) for cluster in block.clusters)
