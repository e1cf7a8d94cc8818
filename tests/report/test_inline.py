"""Figures as part of a page: exact, small, told apart by everyone, and never without words."""

from __future__ import annotations

import base64
import io
import itertools
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from bias_audit.errors import OutputError
from bias_audit.report.figures.drawing import drawing_of
from bias_audit.report.figures.marks import add_mark, placed_marks
from bias_audit.report.figures.saving import FigureView, inline_svg
from bias_audit.report.figures.style import COLOURS, MARKERS, Palette
from bias_audit.report.figures.svg_reader import number, path_data, small_picture
from bias_audit.report.page import template_folder
from bias_audit.shapes.catalog import shape_of
from tests.report.page import read
from tests.report.synthetic import HOSTILE, make_audit

Floats = npt.NDArray[np.float64]


def _drawn(name: str, attributes: Any = HOSTILE) -> tuple[Any, Figure, Markup]:
    made = make_audit(attributes)
    for analysis in made.result.subjects[0].analyses:
        for block in analysis.blocks:
            if block.name == name:
                drawing = drawing_of(name)
                assert drawing is not None
                arrays = made.arrays.get(analysis.arrays, {})
                figure = drawing.draw(block, arrays, Palette(("age",)))
                heading = drawing.keys(block)
                return block, figure, inline_svg(figure, anchor="b", alt="told", heading=heading)
    raise AssertionError(name)


def test_a_figure_without_words_is_refused() -> None:
    with pytest.raises(OutputError, match="figure b-1: expected a text that describes it"):
        FigureView(None, list, alt=" ", caption="c", anchor="b-1", heading="layer")


@pytest.mark.parametrize("name", ["group_table", "layer_curve", "unit_map", "confusions"])
def test_the_same_figure_gives_the_same_svg_with_identifiers_of_its_own(name: str) -> None:
    _, _, one = _drawn(name)
    _, _, two = _drawn(name)
    assert one == two
    page = read(str(one))
    assert all(tag.attributes["id"].startswith("b") for tag in page.tags if "id" in tag.attributes)
    assert not any(
        word in one for word in ("<style", "clip-path=", "metadata", "<script", "xlink", "style=")
    )
    assert page.all("text"), "text is text"


def test_marks_tell_every_group_where_it_is_drawn() -> None:
    block, figure, svg = _drawn("group_table")
    marks = placed_marks(figure)
    assert [mark.key for mark in marks] == [row.group.label for row in block.rows]
    for mark, row in zip(marks, block.rows, strict=True):
        assert f"{row.estimate.value:.2f} [{row.estimate.lower:.2f}, " in mark.text
        assert f"(95 %), n = {row.estimate.n}" in mark.text
    tops = [mark.bounds[3] for mark in marks]
    assert tops == sorted(tops, reverse=True)
    titles = [tag.text for tag in read(str(svg)).all("title")]
    assert titles == [f"{mark.key}\n{mark.text}" for mark in marks]
    assert "<script" not in svg
    assert "&lt;script&gt;alert(1)" in svg


def test_a_mark_covers_what_it_stands_for() -> None:
    figure = Figure(figsize=(4, 2), dpi=100)
    axes = figure.add_axes((0.25, 0.5, 0.5, 0.25))
    axes.set_xlim(0, 10)
    axes.set_ylim(0, 4)
    add_mark(axes, axes.transData, (0, 0, 5, 4), key="left\n half", text="1")
    (mark,) = placed_marks(figure)
    assert mark.bounds == pytest.approx((0.25, 0.5, 0.5, 0.75))
    assert mark.key == "left half"
    svg = inline_svg(figure, anchor="b", alt="a", heading="h")
    assert '<rect x="72" y="36" width="72" height="36"><title>left half\n1</title></rect>' in svg


@pytest.mark.parametrize(
    ("data", "short"),
    [
        ("M 0 129.6 \nL 493.2 129.6 \n", "M0 129.6h493.2"),
        ("M 0.04 0 L 1.26 -2.3 L 1.26 5", "M0 0l1.3-2.3v7.3"),
        ("M 1 1 L 2 2 L 3 1 z M 9 9 L 8 9", "M1 1l1 1l1-1zM9 9h-1"),
        ("M 0 1.5 C 0.3979 1.5 0.77 1 1 1 z", "M0 1.5C.4 1.5 .8 1 1 1z"),
    ],
)
def test_paths_are_short_and_rounding_does_not_add_up(data: str, short: str) -> None:
    assert path_data(data) == short
    many = "M 0 0 " + " ".join(f"L {0.04 * step:.2f} {0.04 * step:.2f}" for step in range(1, 251))
    steps = [float(x) for x in re.findall(r"l(-?[\d.]+) ", path_data(many))]
    assert sum(steps) == pytest.approx(10, abs=0.051)


def test_numbers_lose_nothing_but_decimals() -> None:
    assert [number(x) for x in (0, -0.04, 0.5, -0.5, 12.0, 100.25, 1e6)] == [
        "0", "0", ".5", "-.5", "12", "100.2", "1000000",
    ]  # fmt: skip


def _uri(pixels: npt.NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _pixels(uri: str) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return np.asarray(image)


def test_pictures_of_few_colours_are_exact_and_smooth_ones_close() -> None:
    flat = np.zeros((40, 40, 3), dtype=np.uint8)
    flat[10:20] = (0, 114, 178)
    assert np.array_equal(_pixels(small_picture(_uri(flat))), flat)
    y, x = np.mgrid[0:1:200j, 0:1:200j]
    smooth = np.stack([255 * x, 255 * y, 127 * (x + y)], axis=-1).astype(np.uint8)
    encoded = small_picture(_uri(smooth))
    assert len(encoded) < 0.5 * len(_uri(smooth))
    off = np.abs(_pixels(encoded).astype(int) - smooth.astype(int))
    assert off.mean() < 3


def test_an_attribute_has_one_colour_and_marker_everywhere() -> None:
    palette = Palette(("age", "race", "gender"))
    looks = [palette.look(name) for name in (*palette.attributes, "age and race")]
    assert len(set(looks)) == 4
    assert palette.colour("intersection", 0) == palette.colour("age and race", 5)
    assert palette.colour("race", 0) == COLOURS[1]
    assert palette.look("race", 0).marker == MARKERS[1]
    assert Palette().colour("race", 3) == COLOURS[3]


# Machado, Oliveira and Fernandes (2009), severity 1.
DEFICIENCIES = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
                   (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
                     (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602),
                   (0.004733, 0.691367, 0.303900)),
}  # fmt: skip


def _linear(colour: str) -> Floats:
    channels = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    bent = ((channels + 0.055) / 1.055) ** 2.4
    return np.where(channels <= 0.04045, channels / 12.92, bent)


def _lab(linear: Floats) -> Floats:
    """CIE L*a*b* (D65) of linear sRGB."""
    xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ) @ np.clip(linear, 0, 1)
    ratio = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def _themes() -> dict[str, dict[str, str]]:
    folder = template_folder()
    told = re.compile(r"--([a-z0-9-]+): (#[0-9a-f]{6});")
    light = "".join((folder / name).read_text("utf-8") for name in ("report.css", "screen.css"))
    dark = (folder / "screen" / "dark.css").read_text("utf-8")
    return {"light": dict(told.findall(light)), "dark": dict(told.findall(dark))}


def _contrast(one: str, two: str) -> float:
    weights = np.array([0.2126, 0.7152, 0.0722])
    low, high = sorted(float(weights @ _linear(colour)) for colour in (one, two))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("deficiency", ["", *DEFICIENCIES])
def test_colours_of_attributes_are_told_apart(theme: str, deficiency: str) -> None:
    """The first four, which three attributes and their intersections take."""
    matrix = np.array(DEFICIENCIES[deficiency]) if deficiency else np.eye(3)
    colours = [_themes()[theme][f"c{place}"] for place in range(4)]
    seen = [_lab(matrix @ _linear(colour)) for colour in colours]
    for one, two in itertools.combinations(seen, 2):
        assert np.linalg.norm(one - two) > 10
    assert len(set(MARKERS[:6])) == 6, "and nobody has to tell them by colour"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_lines_stand_out_in_both_themes(theme: str) -> None:
    colours = _themes()[theme]
    for name in (
        "ink",
        "soft",
        "link",
        "caution",
        "failure",
        "pass",
        *(f"c{i}" for i in range(6)),
    ):
        assert _contrast(colours[name], colours["paper"]) >= 4.5, name
    for name in ("ink", "soft", "link"):
        assert _contrast(colours[name], colours["shade"]) >= 4.5, name
    assert _contrast(colours["control"], colours["paper"]) >= 3
    assert _contrast(colours["caution"], colours["caution-shade"]) >= 4.5
    assert _contrast(colours["failure"], colours["failure-shade"]) >= 4.5


def test_the_palette_of_the_page_is_that_of_paper() -> None:
    light = _themes()["light"]
    assert tuple(light[f"c{place}"] for place in range(6)) == COLOURS


def test_no_table_has_more_columns_than_the_page_can_align() -> None:
    style = (template_folder() / "screen.css").read_text(encoding="utf-8")
    aligned = max(int(place) for place in re.findall(r"\.n(\d+) td:nth-child", style))
    made = make_audit(HOSTILE)
    blocks = (b for a in made.result.subjects[0].analyses for b in a.blocks)
    widest = max(len(t.columns) for b in blocks for t in shape_of(b).text(b).tables)
    assert widest <= aligned
