"""What a printed report must say, passage by passage: the text of the document it is made from."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Final, Literal

Kind = Literal["text", "alt", "contents"]

_INLINE: Final = {"a", "strong", "em", "span", "code", "b", "i", "sub", "sup", "small", "abbr"}
_VOID: Final = {"meta", "img", "br", "link", "hr", "input"}
_UNPRINTED: Final = {"head", "footer", "script", "template"}
_SLOTS: Final = {"h1": "audit", "h2": "section"}


@dataclass(frozen=True)
class Passage:
    """A paragraph, a cell, a heading or the text of an image."""

    text: str
    kind: Kind = "text"
    target: str | None = None
    """Of an entry of the table of contents: the heading it leads to."""
    anchor: str | None = None
    """The heading's own name."""
    running: tuple[str, str] | None = None
    """A place in the head or foot of pages, and what it says from here on."""


def passages(document: str) -> tuple[Passage, ...]:
    """All passages of a paper document, in the order in which they are read."""
    reader = _Reader()
    reader.feed(document)
    reader.close()
    reader.flush()
    return tuple(reader.found)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Passage] = []
        self._text: list[str] = []
        self._unprinted = 0
        self._in_contents = False
        self._target: str | None = None
        self._heading: dict[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag in _UNPRINTED:
            self._unprinted += 1
        if tag == "br":
            self._text.append(" ")
        elif tag not in _INLINE:
            self.flush()
        if tag == "img" and not self._unprinted:
            self.found.append(Passage(attributes.get("alt", ""), "alt"))
        if tag == "nav":
            self._in_contents = True
        if tag == "a" and self._in_contents:
            self._target = attributes.get("href", "").removeprefix("#")
        if tag in _SLOTS or attributes.get("class") == "seal":
            self._heading = {"slot": _SLOTS.get(tag, "seal"), **attributes}

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNPRINTED:
            self._text.clear()
            self._unprinted -= 1
        if tag not in _INLINE and tag not in _VOID:
            self.flush()
        if tag == "nav":
            self._in_contents = False
        if tag in {*_SLOTS, "p"}:
            self._heading = None

    def handle_data(self, data: str) -> None:
        self._text.append(data)

    def flush(self) -> None:
        """Close the passage that is being read."""
        text = "".join(self._text).strip()
        self._text.clear()
        if not text or self._unprinted:
            return
        target, self._target = self._target, None
        kind: Kind = "contents" if target else "text"
        heading = self._heading or {}
        self.found.append(
            Passage(text, kind, target, heading.get("id"), self._running(heading, text))
        )

    @staticmethod
    def _running(heading: dict[str, str], text: str) -> tuple[str, str] | None:
        if not heading:
            return None
        return heading["slot"], heading.get("data-running", text)
