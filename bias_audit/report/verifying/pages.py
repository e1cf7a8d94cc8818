"""Text of the pages of a PDF that WeasyPrint wrote, by the marks that its structure points to.

An embedded font has to draw the characters that its text is read as.

Only what WeasyPrint writes is understood; everything else is reported as a problem, because text
that is drawn in another way was not drawn by this tool. See ISO 32000-1, 9.10 and 14.6.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.ttLib import TTFont
from fontTools.unicodedata import script
from pypdf.generic import ContentStream, DictionaryObject, StreamObject

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


MOST_DEEP: Final = 60
_MOST_OPERATORS: Final = 20_000_000
_SHOW: Final = {b"Tj", b"TJ", b"'", b'"'}
_READ: Final = {*_SHOW, b"Do", b"Tf", b"Tr", b"BDC", b"BMC", b"EMC"}
_CURVES: Final = {b"c", b"v", b"y", b"sh", b"INLINE IMAGE"}
"""What borders and backgrounds do without, and figures and lettering do not."""
_TOKEN: Final = re.compile(
    rb"(?P<number>[-+.\d]+)|(?P<operator>[A-Za-z'\"*][\w*]*)|(?P<name>/[^\s<>\[\]()/%{}]*)"
    rb"|(?P<dictionary><<[^<>]*>>)|(?P<string><[0-9A-Fa-f\s]*>)|(?P<open>\[)|(?P<close>\])"
    rb"|(?P<other>\S)"
)
_MARK: Final = re.compile(rb"/MCID\s+(\d+)")
_ELSEWHERE: Final = re.compile(rb"[(%]|\bBI\b|\bID\b")
"""Literal strings, comments and images between instructions, which WeasyPrint does not write."""
_NO_GLYPH: Final = "\N{REPLACEMENT CHARACTER}"
_UNREADABLE: Final = GlyphCheck({}, frozenset(), ())


@dataclass
class PageText:
    """What is drawn on one page."""

    marked: dict[int, str] = field(default_factory=dict)
    """By the number of the mark, in the order in which it is drawn."""
    running: list[str] = field(default_factory=list)
    """Heads and page numbers: marked as artifacts."""
    loose: list[str] = field(default_factory=list)
    """Text under no mark."""
    drawings: list[int | None] = field(default_factory=list)
    """The mark that each drawing is under."""
    undrawn: set[str] = field(default_factory=set)
    """Characters in whose place a box is drawn."""
    problems: list[str] = field(default_factory=list)


@dataclass
class _State:
    marks: list[int | str | None] = field(default_factory=list)
    font: str = ""
    invisible: bool = False
    begun: bool = False
    """Whether this artifact has text already."""

    @property
    def mark(self) -> int | str | None:
        """The innermost one."""
        return next((mark for mark in reversed(self.marks) if mark is not None), None)

    def follow(self, operator: bytes, operands: Any) -> None:
        """Take over what an instruction sets for those behind it."""
        if operator == b"Tf":
            self.font = str(operands[0])
        elif operator == b"Tr":
            self.invisible = operands[0] != 0
        elif operator in {b"BDC", b"BMC"}:
            properties = operands[1] if operator == b"BDC" else None
            mark = properties.get("/MCID") if isinstance(properties, dict) else None
            is_artifact = operands[0] == "/Artifact"
            self.marks.append("artifact" if is_artifact else None if mark is None else int(mark))
            self.begun = False
        elif operator == b"EMC":
            if not self.marks:
                raise ValueError("a marked passage ends that never began")
            self.marks.pop()


class PageReader:
    """Reads pages that share their fonts."""

    def __init__(self) -> None:
        self._checks: dict[int, GlyphCheck | None] = {}
        self._operators = 0

    def read(self, page: Any) -> PageText:
        """All text of a page.

        Raises:
            ValueError: The page is not what WeasyPrint writes, or too long.
        """
        text = PageText()
        contents = page.get_contents()
        if contents is not None:
            self._stream(contents, page.get("/Resources", {}), text, 0)
        return text

    def _stream(self, stream: Any, resources: Any, text: PageText, depth: int) -> None:
        """A page itself at depth 0, or a drawing on it."""
        if depth > MOST_DEEP:
            raise ValueError("too many drawings nested in drawings")
        state, resources = _State(), resources.get_object()
        for operands, operator in _instructions(stream):
            self._operators += 1
            if self._operators > _MOST_OPERATORS:
                raise ValueError(f"more than {_MOST_OPERATORS} drawing operators")
            if operator in _SHOW:
                self._show(operands, resources, state, text, is_page=depth == 0)
            elif operator != b"Do" and operator not in _CURVES:
                state.follow(operator, operands)
            elif depth == 0:
                text.drawings.append(state.mark if isinstance(state.mark, int) else None)
            if operator == b"Do":
                name = str(operands[0])
                entry = resources.get("/XObject", {}).get_object().get(name)
                drawn = entry.get_object() if entry is not None else None
                if not isinstance(drawn, StreamObject):
                    raise ValueError(f"the drawing {name} is missing")
                if drawn.get("/Subtype") == "/Form":
                    own = drawn.get("/Resources", DictionaryObject())
                    self._stream(drawn, own, text, depth + 1)

    def _show(
        self, operands: Any, resources: Any, state: _State, text: PageText, *, is_page: bool
    ) -> None:
        said = self._decoded(operands, resources, state.font, text)
        if state.invisible:
            text.problems.append(f"invisible text: {said!r}")
        mark = state.mark
        if not is_page or mark is None:
            text.loose.append(said)
        elif isinstance(mark, int):
            text.marked[mark] = text.marked.get(mark, "") + said
        elif state.begun:
            text.running[-1] += said
        else:
            text.running.append(said)
            state.begun = True

    def _decoded(self, operands: Any, resources: Any, name: str, text: PageText) -> str:
        entry = resources.get("/Font", {}).get_object().get(name)
        check = None
        if entry is not None:
            font = entry.get_object()
            if id(font) not in self._checks:
                self._checks[id(font)] = check_glyphs(font)
            check = self._checks[id(font)]
        if check is None:
            text.problems.append(f"text in a font without a map to characters ({name or 'none'})")
            check = _UNREADABLE
        parts = operands[-1] if isinstance(operands[-1], list) else [operands[-1]]
        strings = (part for part in parts if not isinstance(part, int | float))
        joined = b"".join(bytes(getattr(part, "original_bytes", part)) for part in strings)
        codes = [256 * high + low for high, low in zip(joined[::2], joined[1::2], strict=False)]
        text.undrawn.update(c for code in check.undrawn & set(codes) for c in check.lacks(code))
        return "".join(check.characters.get(code, _NO_GLYPH) for code in codes)


def _instructions(stream: Any) -> Iterator[tuple[list[Any], bytes]]:
    """Operands and operator of the instructions about text, marks, drawings and curves.

    A page that WeasyPrint wrote is read by its few kinds of tokens, since figures make it long;
    any other page is read by pypdf.

    Args:
        stream: A page's contents, or a drawing.
    """
    content = stream.get_data()
    if _ELSEWHERE.search(content):
        parsed = stream if isinstance(stream, ContentStream) else ContentStream(stream, None)
        for values, operator in parsed.operations:
            if operator in _READ or operator in _CURVES:
                yield list(values) if isinstance(values, list) else [], operator
        return
    operands: list[tuple[str, bytes]] = []
    for match in _TOKEN.finditer(content):
        kind = match.lastgroup or "other"
        if kind != "operator":
            operands.append((kind, match[0]))
            continue
        if match[0] in _READ:
            yield _values(operands), match[0]
        elif match[0] in _CURVES:
            yield [], match[0]
        operands.clear()


def _values(tokens: list[tuple[str, bytes]]) -> list[Any]:
    outer: list[Any] = []
    values = outer
    for kind, token in tokens:
        if kind == "open":
            values = []
            outer.append(values)
        elif kind == "close":
            values = outer
        elif kind == "number":
            values.append(float(token))
        elif kind == "name":
            values.append(token.decode("latin-1"))
        elif kind == "string":
            digits = b"".join(token[1:-1].split()).decode()
            values.append(bytes.fromhex(digits + "0" * (len(digits) % 2)))
        elif kind == "dictionary":
            mark = _MARK.search(token)
            values.append({"/MCID": int(mark[1])} if mark else {})
        else:
            raise ValueError(f"an instruction that cannot be read: {token[:20]!r}")
    return outer
