"""Whether an embedded font draws the characters that its text is read as."""

from __future__ import annotations

import io
from typing import Any

from fontTools.ttLib import TTFont

from bias_audit.report.verifying.glyphs import to_unicode


def wrong_glyphs(font: Any) -> tuple[str, ...]:
    """Characters that the font itself draws with another glyph than the text does.

    A PDF keeps two tables: which glyph is drawn, and which character a reader takes it for. The
    font's own table says which glyph a character has; where they disagree, the page shows
    something else than what is read from it. Ligatures and characters that the font lacks are
    not in that table and are not compared.

    Args:
        font: A font dictionary as WeasyPrint writes them.
    """
    characters = to_unicode(font) or {}
    descendant = font["/DescendantFonts"][0].get_object()
    descriptor = descendant["/FontDescriptor"].get_object()
    file = descriptor.get("/FontFile2", descriptor.get("/FontFile3"))
    if file is None:
        return ("it is not embedded",)
    opened = TTFont(io.BytesIO(file.get_object().get_data()), lazy=True)
    table = opened.getBestCmap() or {}
    order = {name: number for number, name in enumerate(opened.getGlyphOrder())}
    wrong = []
    for code, said in characters.items():
        known = order.get(table.get(ord(said), "")) if len(said) == 1 else None
        if known is not None and known != code:
            wrong.append(repr(said))
    return tuple(wrong)
