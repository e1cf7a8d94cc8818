"""Text of the pages of a PDF that WeasyPrint wrote, by the marks that its structure points to.

Only what WeasyPrint writes is understood; everything else is a problem to tell, because text that
is drawn in another way was not drawn by this tool. See ISO 32000-1, 9.10 and 14.6.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from pypdf.generic import DictionaryObject, StreamObject

from bias_audit.report.verifying.fonts import GlyphCheck, check_glyphs
from bias_audit.report.verifying.instructions import instructions
from bias_audit.report.verifying.limits import MOST_DEEP, MOST_OPERATORS

_CURVES: Final = {b"c", b"v", b"y", b"sh", b"INLINE IMAGE"}
"""What borders and backgrounds do without, and figures and lettering do not."""
_SHOW: Final = {b"Tj", b"TJ", b"'", b'"'}
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
    is_page: bool = True
    """Whether this is a page itself, not a drawing on it."""
    font: str = ""
    invisible: bool = False
    begun: bool = False
    """Whether this artifact has text already."""

    @property
    def mark(self) -> int | str | None:
        """The innermost one."""
        return next((mark for mark in reversed(self.marks) if mark is not None), None)

    def draw(self, text: PageText) -> None:
        """Keep under which mark something is drawn."""
        if self.is_page:
            text.drawings.append(self.mark if isinstance(self.mark, int) else None)


class PageReader:
    """Reads pages that share their fonts."""

    def __init__(self) -> None:
        self._checks: dict[int, GlyphCheck | None] = {}
        self._operators = 0

    def read(self, page: Any) -> PageText:
        """All text of a page.

        Raises:
            ValueError: The page is not what WeasyPrint writes, or there is too much of it.
        """
        text = PageText()
        contents = page.get_contents()
        if contents is not None:
            self._stream(contents, page.get("/Resources", {}), text, 0)
        return text

    def _stream(self, stream: Any, resources: Any, text: PageText, depth: int) -> None:
        if depth > MOST_DEEP:
            raise ValueError("drawings within drawings without end")
        state, resources = _State(is_page=depth == 0), resources.get_object()
        for operands, operator in instructions(stream):
            self._operators += 1
            if self._operators > MOST_OPERATORS:
                raise ValueError(f"more than {MOST_OPERATORS} drawing operators")
            if operator in _SHOW:
                self._show(operands, resources, state, text)
            elif operator == b"Do":
                state.draw(text)
                self._drawing(str(operands[0]), resources, text, depth)
            elif operator in _CURVES:
                state.draw(text)
            else:
                _follow(operator, operands, state)

    def _drawing(self, name: str, resources: Any, text: PageText, depth: int) -> None:
        entry = resources.get("/XObject", {}).get_object().get(name)
        drawn = entry.get_object() if entry is not None else None
        if not isinstance(drawn, StreamObject):
            raise ValueError(f"the drawing {name} is missing")  # noqa: TRY004  of a damaged file
        if drawn.get("/Subtype") == "/Form":
            own = drawn.get("/Resources", DictionaryObject())
            self._stream(drawn, own, text, depth + 1)

    def _show(self, operands: Any, resources: Any, state: _State, text: PageText) -> None:
        said = self._decoded(operands, resources, state.font, text)
        if state.invisible:
            text.problems.append(f"invisible text: {said!r}")
        mark = state.mark
        if not state.is_page or mark is None:
            text.loose.append(said)
        elif isinstance(mark, int):
            text.marked[mark] = text.marked.get(mark, "") + said
        elif state.begun:
            text.running[-1] += said
        else:
            text.running.append(said)
            state.begun = True

    def _decoded(self, operands: Any, resources: Any, font: str, text: PageText) -> str:
        entry = resources.get("/Font", {}).get_object().get(font)
        check = self._check(entry.get_object()) if entry is not None else None
        if check is None:
            text.problems.append(f"text in a font without a map to characters ({font or 'none'})")
            check = _UNREADABLE
        parts = operands[-1] if isinstance(operands[-1], list) else [operands[-1]]
        joined = b"".join(_bytes(part) for part in parts if not isinstance(part, int | float))
        codes = [256 * high + low for high, low in zip(joined[::2], joined[1::2], strict=False)]
        text.undrawn.update(c for code in check.undrawn & set(codes) for c in check.lacks(code))
        return "".join(check.characters.get(code, _NO_GLYPH) for code in codes)

    def _check(self, font: Any) -> GlyphCheck | None:
        if id(font) not in self._checks:
            self._checks[id(font)] = check_glyphs(font)
        return self._checks[id(font)]


def _follow(operator: bytes, operands: Any, state: _State) -> None:
    if operator == b"Tf":
        state.font = str(operands[0])
    elif operator == b"Tr":
        state.invisible = operands[0] != 0
    elif operator == b"BDC":
        mark = operands[1].get("/MCID") if isinstance(operands[1], dict) else None
        artifact = operands[0] == "/Artifact"
        state.marks.append("artifact" if artifact else None if mark is None else int(mark))
        state.begun = False
    elif operator == b"BMC":
        state.marks.append("artifact" if operands[0] == "/Artifact" else None)
        state.begun = False
    elif operator == b"EMC":
        if not state.marks:
            raise ValueError("a mark ends that never began")
        state.marks.pop()


def _bytes(part: Any) -> bytes:
    original = getattr(part, "original_bytes", None)
    return bytes(original) if original is not None else bytes(part)
