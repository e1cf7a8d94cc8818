"""The text of a tagged PDF in the order in which it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bias_audit.report.verifying.glyphs import PageText
from bias_audit.report.verifying.limits import MOST_DEEP, MOST_ELEMENTS


@dataclass(frozen=True)
class Chunk:
    """A piece of text, or the text of an image."""

    page: int
    """From 0."""
    text: str
    is_alt: bool = False


@dataclass(frozen=True)
class Reading:
    """Everything the structure of a PDF leads to."""

    chunks: tuple[Chunk, ...]
    unreached: tuple[Chunk, ...]
    """Marked text that it does not lead to, or leads to twice."""
    figures: frozenset[tuple[int, int]]
    """Page and mark of every figure."""


class _Walk:
    def __init__(self, pages: Sequence[PageText], numbers: dict[tuple[int, int], int]) -> None:
        self.pages, self.numbers = pages, numbers
        self.left = [dict(page.marked) for page in pages]
        self.figures: set[tuple[int, int]] = set()
        self.header: list[str] = []
        self.n_elements = 0

    def below(self, node: Any, page: int | None, depth: int) -> Iterator[Chunk]:
        """Everything below an element; list marks and repeated headings are left out."""
        self.n_elements += 1
        if depth > MOST_DEEP or self.n_elements > MOST_ELEMENTS:
            raise ValueError("its structure is too deep or too large")
        page = self._page(node, page)
        kind = str(node.get("/S", ""))
        if kind == "/Figure":
            yield Chunk(-1 if page is None else page, str(node.get("/Alt", "")), is_alt=True)
            marks = [kid for kid in _list(node.get("/K")) if isinstance(kid, int)]
            self.figures.update((-1 if page is None else page, mark) for mark in marks)
        found = self._kids(node, page, depth)
        if kind == "/Lbl":
            yield from self._label(list(found))
        elif kind == "/Table":
            yield from self._table(node, page, depth)
        else:
            yield from found

    def _kids(self, node: Any, page: int | None, depth: int) -> Iterator[Chunk]:
        for kid in _list(node.get("/K")):
            yield from self._kid(kid, page, depth)

    def _kid(self, kid: Any, page: int | None, depth: int) -> Iterator[Chunk]:
        if isinstance(kid, int):
            yield from self._marked(page, kid)
        elif isinstance(kid, dict) and "/S" in kid:
            yield from self.below(kid, page, depth + 1)
        elif isinstance(kid, dict) and kid.get("/Type") == "/MCR":
            yield from self._marked(self._page(kid, page), int(kid["/MCID"]))

    def _marked(self, page: int | None, mark: int) -> Iterator[Chunk]:
        if page is not None and mark in self.left[page]:
            yield Chunk(page, self.left[page].pop(mark))

    def _label(self, found: list[Chunk]) -> Iterator[Chunk]:
        """Marks of lists are not in the document; anything else in their place is told."""
        said = "".join(chunk.text for chunk in found).strip()
        if said.strip("•◦▪ ") and not said.removesuffix(".").isdigit():
            yield from found

    def _table(self, node: Any, page: int | None, depth: int) -> Iterator[Chunk]:
        """A table that goes on from the page before repeats its headings and has no caption."""
        kids = [kid for kid in _list(node.get("/K")) if isinstance(kid, dict)]
        goes_on = not any(kid.get("/S") == "/Caption" for kid in kids)
        for kid in kids:
            found = list(self._kid(kid, page, depth))
            if kid.get("/S") == "/THead":
                said = [chunk.text for chunk in found]
                if goes_on and said == self.header:
                    continue
                self.header = said
            yield from found

    def _page(self, node: Any, page: int | None) -> int | None:
        reference = node.raw_get("/Pg") if "/Pg" in node else None
        if reference is None:
            return page
        return self.numbers.get((reference.idnum, reference.generation))


def reading(root: Any, pages: Sequence[PageText], numbers: dict[tuple[int, int], int]) -> Reading:
    """Follow the structure of a document.

    Args:
        root: Its /StructTreeRoot.
        pages: The text of every page.
        numbers: Number of each page by its object.

    Raises:
        ValueError: It is too deep or too large.
    """
    walk = _Walk(pages, numbers)
    chunks = tuple(walk.below(root, None, 0))
    unreached = tuple(
        Chunk(page, text)
        for page, left in enumerate(walk.left)
        for text in left.values()
        if text.strip()
    )
    return Reading(chunks, unreached, frozenset(walk.figures))


def _list(kids: Any) -> list[Any]:
    resolved = kids.get_object() if hasattr(kids, "get_object") else kids
    if resolved is None:
        return []
    entries = resolved if isinstance(resolved, list) else [resolved]
    return [entry.get_object() if hasattr(entry, "get_object") else entry for entry in entries]
