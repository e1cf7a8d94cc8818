"""The instructions that draw a page, as far as text and marks need them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from pypdf.generic import ContentStream

_TOKEN: Final = re.compile(
    rb"(?P<number>[-+.\d]+)|(?P<operator>[A-Za-z'\"*][\w*]*)|(?P<name>/[^\s<>\[\]()/%{}]*)"
    rb"|(?P<dictionary><<[^<>]*>>)|(?P<string><[0-9A-Fa-f\s]*>)|(?P<open>\[)|(?P<close>\])"
    rb"|(?P<other>\S)"
)
_MARK: Final = re.compile(rb"/MCID\s+(\d+)")
_READ: Final = {b"Tj", b"TJ", b"'", b'"', b"Do", b"Tf", b"Tr", b"BDC", b"BMC", b"EMC"}
_DRAWN: Final = {b"c", b"v", b"y", b"sh"}
_ELSEWHERE: Final = re.compile(rb"[(%]|\bBI\b|\bID\b")
"""Literal strings, comments and images between instructions, which WeasyPrint does not write."""

Instruction = tuple[list[Any], bytes]


def instructions(stream: Any) -> Iterator[Instruction]:
    """Operands and operator of the instructions about text, marks, drawings and curves.

    A page that WeasyPrint wrote is read by its few kinds of tokens, since figures make it long;
    any other page is read by pypdf.

    Args:
        stream: A page's contents, or a drawing.
    """
    content = stream.get_data()
    if _ELSEWHERE.search(content):
        yield from _in_general(stream)
    else:
        yield from _as_written(content)


def _in_general(stream: Any) -> Iterator[Instruction]:
    parsed = stream if isinstance(stream, ContentStream) else ContentStream(stream, None)
    for operands, operator in parsed.operations:
        if operator in _READ or operator in _DRAWN or operator == b"INLINE IMAGE":
            yield list(operands) if isinstance(operands, list) else [], operator


def _as_written(content: bytes) -> Iterator[Instruction]:
    operands: list[tuple[str, bytes]] = []
    for match in _TOKEN.finditer(content):
        kind = match.lastgroup or "other"
        if kind != "operator":
            operands.append((kind, match[0]))
            continue
        operator = match[0]
        if operator in _READ:
            yield _values(operands), operator
        elif operator in _DRAWN:
            yield [], operator
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
        else:
            values.append(_value(kind, token))
    return outer


def _value(kind: str, token: bytes) -> Any:
    if kind == "number":
        return float(token)
    if kind == "name":
        return token.decode("latin-1")
    if kind == "string":
        digits = b"".join(token[1:-1].split()).decode()
        return bytes.fromhex(digits + "0" * (len(digits) % 2))
    if kind == "dictionary":
        mark = _MARK.search(token)
        return {"/MCID": int(mark[1])} if mark else {}
    raise ValueError(f"an instruction that cannot be read: {token[:20]!r}")
