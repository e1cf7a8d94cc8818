"""Opening a PDF that may come from anywhere: what it holds, and what has no place in a report."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pypdf import PdfReader

from bias_audit.errors import OutputError
from bias_audit.report.fonts import named
from bias_audit.report.pdf import DATA_NAME
from bias_audit.report.verifying.pages import MOST_DEEP, PageReader, PageText, check_glyphs

_MOST_BYTES: Final = 256 * 2**20
_MOST_PAGES: Final = 2_000
_MOST_ELEMENTS: Final = 2_000_000
_MOST_PLACES: Final = 5
_ACTIVE: Final = ("/OpenAction", "/AA", "/AcroForm", "/OCProperties", "/Collection", "/XFA")
_WRITER: Final = re.compile(r"bias-audit (\S+)")


class UnreadableReportError(OutputError):
    """Not a report of bias-audit, or too damaged to say anything about."""

    exit_code = 2


@dataclass(frozen=True)
class Chunk:
    """A piece of text, or the text of an image."""

    page: int
    """From 0."""
    text: str
    is_alt: bool = False


@dataclass(frozen=True)
class OpenedReport:
    """Everything that is compared."""

    pages: tuple[PageText, ...]
    chunks: tuple[Chunk, ...]
    """All that the structure leads to, in the order in which it is read."""
    unreached: tuple[Chunk, ...]
    """Marked text that the structure does not lead to, or leads to twice."""
    figures: frozenset[tuple[int, int]]
    """Page and mark of every figure."""
    data: bytes
    """The embedded `audit.json`."""
    checksum: str | None
    """The MD5 that the PDF states for it."""
    relationship: str | None
    release: str | None
    """Of bias-audit, that wrote the PDF."""
    foreign: tuple[str, ...]
    """Parts of the file that bias-audit does not write."""
    boxes: tuple[str, ...]
    """Characters that no font draws, and where."""
    n_fonts: int

    @property
    def states_its_checksum(self) -> bool:
        """Whether the embedded bytes have the checksum that the PDF states for them."""
        return self.checksum == hashlib.md5(self.data, usedforsecurity=False).hexdigest()


def open_report(path: Path) -> OpenedReport:
    """Read a report without trusting it.

    Raises:
        UnreadableReportError: It is not a PDF, not one with our data inside, or damaged.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UnreadableReportError(
                f"{path}: expected a report of at most {_MOST_BYTES >> 20} MiB, got a larger file"
            )
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableReportError(
            f"{path}: expected a report as PDF, but it cannot be read: {error.strerror or error}"
        ) from error
    try:
        return _opened(content, path)
    except UnreadableReportError:
        raise
    except Exception as error:  # what a reader raises on arbitrary bytes is not bounded
        said = str(error) or type(error).__name__
        raise UnreadableReportError(
            f"{path}: expected a report as bias-audit wrote it, got a PDF that was changed or "
            f"damaged ({said[:200]}); ask for the original file"
        ) from error


def undrawn_characters(printed: bytes) -> frozenset[str]:
    """Characters that a PDF of ours shows as empty boxes."""
    checks = map(check_glyphs, _fonts(PdfReader(io.BytesIO(printed))))
    return frozenset(c for check in checks if check is not None for c in check.lacking)


def _opened(content: bytes, path: Path) -> OpenedReport:
    if not content.startswith(b"%PDF-"):
        raise UnreadableReportError(f"{path}: expected a report as PDF, got another kind of file")
    reader = PdfReader(io.BytesIO(content), strict=False)
    if reader.is_encrypted:
        raise UnreadableReportError(
            f"{path}: expected a report without encryption; ask for the original file"
        )
    if len(reader.pages) > _MOST_PAGES:
        raise UnreadableReportError(
            f"{path}: expected at most {_MOST_PAGES} pages, got {len(reader.pages)}"
        )
    root: Any = reader.trailer["/Root"].get_object()
    data, checksum, relationship = _embedded(root, path)
    if "/StructTreeRoot" not in root:
        raise UnreadableReportError(
            f"{path}: expected a PDF with tags, as bias-audit writes; ask for the original file"
        )
    page_reader = PageReader()
    pages = tuple(page_reader.read(page) for page in reader.pages)
    references = (page.indirect_reference for page in reader.pages)
    numbers = {(r.idnum, r.generation): n for n, r in enumerate(references) if r is not None}
    walk = _Walk(pages, numbers)
    chunks = tuple(walk.below(root["/StructTreeRoot"].get_object(), None, 0))
    about: Any = reader.metadata or {}
    release = _WRITER.match(str(about.get("/Creator", "")))
    fonts = list(_fonts(reader))
    return OpenedReport(
        pages=pages,
        chunks=chunks,
        unreached=tuple(
            Chunk(page, text)
            for page, left in enumerate(walk.left)
            for text in left.values()
            if text.strip()
        ),
        figures=frozenset(walk.figures),
        data=data,
        checksum=checksum,
        relationship=relationship,
        release=release[1] if release else None,
        foreign=(*_active(root), *_laid_over(reader), *_in_fonts(fonts)),
        boxes=tuple(_boxes(pages)),
        n_fonts=len(fonts),
    )


def _embedded(root: Any, path: Path) -> tuple[bytes, str | None, str | None]:
    """The data, the checksum that is stated for it, and what it is said to be to the report."""
    files = [entry.get_object() for entry in root.get("/AF", [])]
    ours = [file for file in files if str(file.get("/UF", file.get("/F"))) == DATA_NAME]
    if len(ours) != 1:
        raise UnreadableReportError(
            f"{path}: expected one attached file {DATA_NAME}, found {len(ours)}; a copy that was "
            "printed to PDF has none, so ask for the original file"
        )
    stream = ours[0]["/EF"]["/F"].get_object()
    checksum = stream.get("/Params", {}).get("/CheckSum")
    stated = getattr(checksum, "original_bytes", None)
    relationship = ours[0].get("/AFRelationship")
    return (
        bytes(stream.get_data()),
        stated.hex() if stated is not None else None,
        str(relationship) if relationship is not None else None,
    )


def _active(root: Any) -> Iterator[str]:
    for name in _ACTIVE:
        if name in root:
            yield f"the document has {name}"
    names = root.get("/Names", {})
    if "/JavaScript" in names:
        yield "the document has JavaScript"
    embedded = names.get("/EmbeddedFiles", {})
    if len(embedded.get("/Names", [])) != 2 or "/Kids" in embedded:  # noqa: PLR2004  name, file
        yield f"the document contains files besides {DATA_NAME}"


def _laid_over(reader: PdfReader) -> Iterator[str]:
    """Links are all that bias-audit lays over a page."""
    for number, page in enumerate(reader.pages, start=1):
        if page.get("/Rotate", 0) != 0 or "/AA" in page:
            yield f"page {number} is rotated, or does something when it is opened"
        for entry in page.get("/Annots", None) or []:
            note: Any = entry.get_object()
            if note.get("/Subtype") != "/Link" or "/AP" in note or "/A" in note:
                kind = "an active link" if "/A" in note else note.get("/Subtype", "a note")
                yield f"something covers page {number} ({kind})"


def _fonts(reader: PdfReader) -> Iterator[Any]:
    seen = set()
    for page in reader.pages:
        resources = page.get("/Resources", {}).get_object()
        for entry in resources.get("/Font", {}).get_object().values():
            font = entry.get_object()
            if id(font) not in seen:
                seen.add(id(font))
                yield font


def _in_fonts(fonts: list[Any]) -> Iterator[str]:
    for font in fonts:
        check = check_glyphs(font)
        if check is not None and check.wrong:
            name = str(font.get("/BaseFont", "a font")).lstrip("/")
            yield f"font {name} does not draw these as they read: {', '.join(check.wrong[:5])}"


def _boxes(pages: Sequence[PageText]) -> Iterator[str]:
    """Which characters no font draws, and where."""
    found: dict[str, list[str]] = {}
    for number, page in enumerate(pages, start=1):
        for character in page.undrawn:
            found.setdefault(character, []).append(str(number))
    for character, places in sorted(found.items()):
        more = f" and {len(places) - _MOST_PLACES} more" if len(places) > _MOST_PLACES else ""
        yield (
            f"{named(character)} is in no embedded font, so readers see an empty box: "
            f"page {', '.join(places[:_MOST_PLACES])}{more}"
        )


class _Walk:
    """Along the structure of a document, from its root down."""

    def __init__(self, pages: Sequence[PageText], numbers: dict[tuple[int, int], int]) -> None:
        self._numbers = numbers
        """Number of each page by its object."""
        self.left = [dict(page.marked) for page in pages]
        """Text by mark that nothing has led to yet."""
        self.figures: set[tuple[int, int]] = set()
        self._header: list[str] = []
        self._n_elements = 0

    def below(self, node: Any, page: int | None, depth: int) -> Iterator[Chunk]:
        """Everything below an element; list marks and repeated headings are left out.

        Raises:
            ValueError: It is too deep or too large.
        """
        self._n_elements += 1
        if depth > MOST_DEEP or self._n_elements > _MOST_ELEMENTS:
            raise ValueError("its structure is too deep or too large")
        page, kind = self._page(node, page), str(node.get("/S", ""))
        kids = _list(node.get("/K"))
        if kind == "/Figure":
            place = -1 if page is None else page
            yield Chunk(place, str(node.get("/Alt", "")), is_alt=True)
            self.figures.update((place, mark) for mark in kids if isinstance(mark, int))
        if kind == "/Table":
            yield from self._table(kids, page, depth)
            return
        found = (chunk for kid in kids for chunk in self._kid(kid, page, depth))
        if kind == "/Lbl":  # marks of lists are not in the document; anything else there is text
            label = list(found)
            said = "".join(chunk.text for chunk in label).strip()
            is_mark = not said.strip("•◦▪ ") or said.removesuffix(".").isdigit()
            yield from () if is_mark else label
        else:
            yield from found

    def _kid(self, kid: Any, page: int | None, depth: int) -> Iterator[Chunk]:
        if isinstance(kid, dict) and "/S" in kid:
            yield from self.below(kid, page, depth + 1)
            return
        mark = kid if isinstance(kid, int) else None
        if isinstance(kid, dict) and kid.get("/Type") == "/MCR":
            page, mark = self._page(kid, page), int(kid["/MCID"])
        if page is not None and mark in self.left[page]:
            yield Chunk(page, self.left[page].pop(mark))

    def _table(self, kids: list[Any], page: int | None, depth: int) -> Iterator[Chunk]:
        """A table continued from the page before repeats its headings and has no caption."""
        parts = [kid for kid in kids if isinstance(kid, dict)]
        is_continued = not any(part.get("/S") == "/Caption" for part in parts)
        for part in parts:
            found = list(self._kid(part, page, depth))
            if part.get("/S") == "/THead":
                said = [chunk.text for chunk in found]
                if is_continued and said == self._header:
                    continue
                self._header = said
            yield from found

    def _page(self, node: Any, page: int | None) -> int | None:
        reference = node.raw_get("/Pg") if "/Pg" in node else None
        if reference is None:
            return page
        return self._numbers.get((reference.idnum, reference.generation))


def _list(kids: Any) -> list[Any]:
    resolved = kids.get_object() if hasattr(kids, "get_object") else kids
    if resolved is None:
        return []
    entries = resolved if isinstance(resolved, list) else [resolved]
    return [entry.get_object() if hasattr(entry, "get_object") else entry for entry in entries]
