"""Text of the pages of a PDF that WeasyPrint wrote, by the marks that its structure points to.

Only what WeasyPrint writes is understood; everything else is reported as a problem, because text
that is drawn in another way was not drawn by this tool. See ISO 32000-1, 9.10 and 14.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pypdf.generic import ContentStream, DictionaryObject, StreamObject

from bias_audit.report.verifying.fonts import GlyphCheck, check_glyphs

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
