"""Reads an HTML page back: what a browser would load, link to and say."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "hr", "source", "base"}
LOADING = ("src", "srcset", "poster", "data", "action", "formaction", "background", "ping")


@dataclass
class Tag:
    name: str
    attributes: dict[str, str]
    text: str = ""
    inside: tuple[str, ...] = ()


@dataclass
class Page(HTMLParser):
    """All tags of a page in order, each with the text below it."""

    tags: list[Tag] = field(default_factory=list)
    stack: list[Tag] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for open_tag in self.stack:
            open_tag.text += " "  # cells and paragraphs are words apart
        inside = tuple(open_tag.name for open_tag in self.stack)
        entry = Tag(tag, {name: value or "" for name, value in attrs}, inside=inside)
        self.tags.append(entry)
        if tag not in VOID:
            self.stack.append(entry)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        opened = self.stack.pop()
        assert opened.name == tag, f"<{opened.name}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        names = [entry.name for entry in self.stack]
        # Words drawn in a figure, such as those of an axis, are no sentences of the page.
        within = self.stack[names.index("text") :] if "text" in names else self.stack
        for entry in within:
            entry.text += data

    def all(self, name: str) -> list[Tag]:
        return [tag for tag in self.tags if tag.name == name]


def read(source: str) -> Page:
    page = Page()
    page.feed(source)
    page.close()
    assert not page.stack, f"never closed: {[tag.name for tag in page.stack]}"
    return page
