"""Small fonts made for tests: a few characters, each a bar as tall as its place among them."""

from __future__ import annotations

from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTCollection, TTFont

BOX = 700


def _bar(height: int) -> object:
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, height), (500, height), (500, 0)):
        pen.lineTo(corner)
    pen.closePath()
    return pen.glyph()


def make_font(
    path: Path, characters: str, *, licence: int = 0, boxes: str = "", weights: bool = False
) -> Path:
    """Write a TrueType font.

    Args:
        path: Where.
        characters: Those that it draws.
        licence: fsType.
        boxes: Those among them that look like a missing character.
        weights: Make it a variable font.
    """
    names = {c: f"u{ord(c):X}" for c in characters}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap({ord(c): name for c, name in names.items()})
    heights = {name: BOX if c in boxes else 100 + i for i, (c, name) in enumerate(names.items())}
    builder.setupGlyf({".notdef": _bar(BOX), **{n: _bar(h) for n, h in heights.items()}})
    builder.setupHorizontalMetrics(dict.fromkeys(builder.font.getGlyphOrder(), (600, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2(fsType=licence)
    builder.setupPost()
    if weights:
        builder.setupFvar([("wght", 100, 400, 900, "Weight")], [])
        builder.setupGvar({name: [] for name in builder.font.getGlyphOrder()})
    builder.save(path)
    return path


def make_collection(path: Path, *fonts: Path) -> Path:
    """Write several fonts as one .ttc."""
    collection = TTCollection()
    collection.fonts = [TTFont(font) for font in fonts]
    collection.save(path)
    return path
