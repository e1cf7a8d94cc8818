"""Whether an embedded font draws the characters that its text is read as."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.ttLib import TTFont
from fontTools.unicodedata import script

_BFCHAR: Final = re.compile(rb"<([0-9A-Fa-f]{4})>\s*<((?:[0-9A-Fa-f]{4})*)>")
_CIDCHAR: Final = re.compile(rb"<([0-9A-Fa-f]{4})>\s+(\d+)")
_UNSHAPED: Final = {"Latn", "Grek", "Cyrl", "Zyyy"}
"""Scripts of which a letter looks the same wherever it stands in a word."""
_OTHER_FORMS: Final = {
    **{"(": ")", ")": "(", "[": "]", "]": "[", "{": "}", "}": "{", "«": "»", "»": "«"},
    **{"i": "\u0131", "j": "\u0237"},
}
"""Brackets in text from right to left, and letters that lose their dot below an accent."""
_BLANK: Final = {"Zs", "Zl", "Zp", "Cf"}
_SIGNS: Final = re.compile("FILLER|VARIATION SELECTOR|GRAPHEME JOINER|PATTERN BLANK|INHERENT")
"""In the names of characters that are blank although they count as letters or marks."""


@dataclass(frozen=True)
class GlyphCheck:
    """What a font draws for each code of its text."""

    characters: Mapping[int, str]
    """What a reader takes each code for."""
    undrawn: frozenset[int]
    """Codes that show an empty box, or nothing, in place of what they are read as."""
    wrong: tuple[str, ...]
    """What the font draws as something else, or why it draws nothing."""

    def lacks(self, code: int) -> frozenset[str]:
        """Characters that readers see as a box where this code is drawn."""
        return frozenset(c for c in self.characters[code] if not _is_blank(c))

    @property
    def lacking(self) -> frozenset[str]:
        """Characters that readers see as a box anywhere."""
        return frozenset(c for code in self.undrawn for c in self.lacks(code))


def check_glyphs(font: Any) -> GlyphCheck | None:
    """Compare what a font draws with what its text is read as.

    A PDF keeps two tables: which glyph is drawn, and which character a reader takes it for. The
    font's own table says which character a glyph belongs to; where they disagree, the page shows
    something else than what is read from it. Ligatures are not in that table and are not
    compared; letters of scripts that join or stack may be drawn with forms that are not in it,
    several to a cluster, of which one has its text.

    Args:
        font: A font dictionary as WeasyPrint writes them; for any other: None.
    """
    characters = _to_unicode(font)
    if characters is None:
        return None
    descendant = font["/DescendantFonts"][0].get_object()
    descriptor = descendant["/FontDescriptor"].get_object()
    file = descriptor.get("/FontFile2", descriptor.get("/FontFile3"))
    if file is None:
        return GlyphCheck(characters, frozenset(), ("it is not embedded",))
    glyphs = _Glyphs(TTFont(io.BytesIO(file.get_object().get_data()), lazy=True))
    encoding, numbers = font["/Encoding"].get_object(), None
    if hasattr(encoding, "get_data"):  # else each code is its glyph (ISO 32000-1, 9.7.5.2)
        found = _between(encoding.get_data(), b"cidchar", _CIDCHAR)
        numbers = {int(code, 16): int(glyph) for code, glyph in found}
    undrawn, wrong = set(), []
    shaped = any(script(c) not in _UNSHAPED for said in characters.values() for c in said)
    for code, said in characters.items():
        glyph = code if numbers is None else numbers.get(code, 0)
        blank = bool(said) and all(map(_is_blank, said))
        if said and not blank and glyphs.is_box(glyph):
            undrawn.add(code)
        elif len(said) == 1 and not (
            glyphs.is_empty(glyph) if blank else glyphs.is_of(glyph, said)
        ):
            wrong.append(repr(said))
        elif not said and not (shaped and glyphs.is_shaped(glyph)):
            wrong.append("a glyph without text")
    return GlyphCheck(characters, frozenset(undrawn), tuple(wrong))


def _is_blank(character: str) -> bool:
    """Whether a character has nothing to draw, such as a space or a mark of direction."""
    return unicodedata.category(character) in _BLANK or bool(
        _SIGNS.search(unicodedata.name(character, ""))
    )


class _Glyphs:
    """The outlines of an embedded font, and the characters that it says they have."""

    def __init__(self, font: Any) -> None:
        self._names = font.getGlyphOrder()
        self._set = font.getGlyphSet()
        self._own: dict[str, list[str]] = {}
        for character, name in (font.getBestCmap() or {}).items():
            self._own.setdefault(name, []).append(chr(character))
        self._box = self._outline(0)

    def is_box(self, glyph: int) -> bool:
        """Whether it is the glyph of missing characters, looks like it, or is empty."""
        return self.is_empty(glyph) or self._outline(glyph) == self._box

    def is_empty(self, glyph: int) -> bool:
        return not 0 < glyph < len(self._names) or not self._outline(glyph)

    def is_of(self, glyph: int, said: str) -> bool:
        """Whether the glyph belongs to a character, or to one of its forms."""
        is_shaped = script(said) not in _UNSHAPED
        own = self._own.get(self._names[glyph], [])
        named = [c for c in own if unicodedata.category(c) != "Co"]
        if not named:
            return is_shaped
        likely = {said, unicodedata.normalize("NFKC", said), _OTHER_FORMS.get(said)}
        if is_shaped:  # a vowel around its consonant has two glyphs
            likely |= set(unicodedata.normalize("NFD", said))
        return bool(likely & {*named, *(unicodedata.normalize("NFKC", c) for c in named)})

    def is_shaped(self, glyph: int) -> bool:
        """Whether it may be one of several glyphs that one cluster of letters is drawn with."""
        own = self._own.get(self._names[glyph], []) if glyph < len(self._names) else []
        return all(script(character) not in _UNSHAPED for character in own)

    def _outline(self, glyph: int) -> list[Any]:
        pen = DecomposingRecordingPen(self._set)
        self._set[self._names[glyph]].draw(pen)
        return list(pen.value)


def _to_unicode(font: Any) -> dict[int, str] | None:
    """Characters by code of a font as WeasyPrint writes them; None for any other font."""
    table = font.get("/ToUnicode")
    if font.get("/Subtype") != "/Type0" or table is None:
        return None
    content = table.get_object().get_data()
    if b"beginbfrange" in content:
        return None
    try:
        return {
            int(code, 16): bytes.fromhex(characters.decode()).decode("utf-16-be")
            for code, characters in _between(content, b"bfchar", _BFCHAR)
        }
    except UnicodeDecodeError:
        return None


def _between(
    content: bytes, kind: bytes, pair: re.Pattern[bytes]
) -> Iterator[tuple[bytes, bytes]]:
    """The pairs in all parts of a character map that are of a kind."""
    for part in content.split(b"begin" + kind)[1:]:
        yield from pair.findall(part.partition(b"end" + kind)[0])
