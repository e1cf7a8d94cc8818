"""Opening a PDF that may come from anywhere: what it holds, and what has no place in a report."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pypdf import PdfReader

from bias_audit.errors import OutputError
from bias_audit.report.pdf import DATA_NAME
from bias_audit.report.undrawn import named
from bias_audit.report.verifying.fonts import check_glyphs
from bias_audit.report.verifying.glyphs import PageReader, PageText
from bias_audit.report.verifying.limits import MOST_BYTES, MOST_PAGES
from bias_audit.report.verifying.structure import Reading, reading

_ACTIVE = ("/OpenAction", "/AA", "/AcroForm", "/OCProperties", "/Collection", "/XFA")
_MOST_PLACES = 5
_WRITER = re.compile(r"bias-audit (\S+)")


class UnreadableReportError(OutputError):
    """Not a report of bias-audit, or too damaged to say anything about."""

    exit_code = 2


@dataclass(frozen=True)
class OpenedReport:
    """Everything that is compared."""

    pages: tuple[PageText, ...]
    reading: Reading
    data: bytes
    """The embedded `audit.json`."""
    checksum: str | None
    """MD5 of it, as the PDF states."""
    relationship: str | None
    release: str | None
    """Of bias-audit, that wrote the PDF."""
    foreign: tuple[str, ...]
    """What bias-audit does not write."""
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
        if path.stat().st_size > MOST_BYTES:
            raise UnreadableReportError(
                f"{path}: expected a report of at most {MOST_BYTES >> 20} MiB, got a larger file"
            )
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableReportError(f"{path}: expected a report as PDF, got {error}") from error
    try:
        return _opened(content, path)
    except UnreadableReportError:
        raise
    except Exception as error:  # what a reader raises on arbitrary bytes is not bounded
        raise _damaged(path, error) from error


def _damaged(path: Path, error: BaseException) -> UnreadableReportError:
    said = str(error) or type(error).__name__
    return UnreadableReportError(
        f"{path}: expected a report as bias-audit writes it, got a file that cannot be read as "
        f"one ({said[:200]}); ask for the file as it was first written"
    )


def _opened(content: bytes, path: Path) -> OpenedReport:
    if not content.startswith(b"%PDF-"):
        raise UnreadableReportError(f"{path}: expected a report as PDF, got another kind of file")
    reader = PdfReader(io.BytesIO(content), strict=False)
    if reader.is_encrypted:
        raise UnreadableReportError(f"{path}: expected a report that is not encrypted")
    if len(reader.pages) > MOST_PAGES:
        raise UnreadableReportError(
            f"{path}: expected at most {MOST_PAGES} pages, got {len(reader.pages)}"
        )
    root: Any = reader.trailer["/Root"].get_object()
    data, checksum, relationship = _embedded(root, path)
    if "/StructTreeRoot" not in root:
        raise UnreadableReportError(f"{path}: expected a tagged PDF, as bias-audit writes")
    page_reader = PageReader()
    pages = tuple(page_reader.read(page) for page in reader.pages)
    references = (page.indirect_reference for page in reader.pages)
    numbers = {(r.idnum, r.generation): n for n, r in enumerate(references) if r is not None}
    fonts = list(_fonts(reader))
    return OpenedReport(
        pages=pages,
        reading=reading(root["/StructTreeRoot"].get_object(), pages, numbers),
        data=data,
        checksum=checksum,
        relationship=relationship,
        release=_release(reader),
        foreign=(*_active(root), *_laid_over(reader), *_in_fonts(fonts)),
        boxes=tuple(_boxes(pages)),
        n_fonts=len(fonts),
    )


def _embedded(root: Any, path: Path) -> tuple[bytes, str | None, str | None]:
    files = [entry.get_object() for entry in root.get("/AF", [])]
    ours = [file for file in files if str(file.get("/UF", file.get("/F"))) == DATA_NAME]
    if len(ours) != 1:
        raise UnreadableReportError(
            f"{path}: expected one associated file {DATA_NAME}, found {len(ours)} in "
            f"{len(files)}; copies that a printer made have none"
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


def _release(reader: PdfReader) -> str | None:
    about: Any = reader.metadata or {}
    match = _WRITER.match(str(about.get("/Creator", "")))
    return match[1] if match else None


def _active(root: Any) -> Iterator[str]:
    for name in _ACTIVE:
        if name in root:
            yield f"the document has {name}"
    names = root.get("/Names", {})
    if "/JavaScript" in names:
        yield "the document has JavaScript"
    embedded = names.get("/EmbeddedFiles", {})
    if len(embedded.get("/Names", [])) != 2 or "/Kids" in embedded:  # noqa: PLR2004  name, file
        yield f"the document holds files besides {DATA_NAME}"


def _laid_over(reader: PdfReader) -> Iterator[str]:
    """Links are all that bias-audit lays over a page."""
    for number, page in enumerate(reader.pages, start=1):
        if page.get("/Rotate", 0) != 0 or "/AA" in page:
            yield f"page {number} is turned, or acts when it is opened"
        for entry in page.get("/Annots", None) or []:
            note: Any = entry.get_object()
            if note.get("/Subtype") != "/Link" or "/AP" in note or "/A" in note:
                kind = "a link that acts" if "/A" in note else note.get("/Subtype", "a note")
                yield f"page {number} has something laid over it ({kind})"


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
            yield f"{name} does not draw what it is read as: {', '.join(check.wrong[:5])}"


def _boxes(pages: Sequence[PageText]) -> Iterator[str]:
    """Which characters no font draws, and where."""
    found: dict[str, list[str]] = {}
    for number, page in enumerate(pages, start=1):
        for character in sorted(page.undrawn):
            found.setdefault(character, []).append(str(number))
    for character, places in sorted(found.items()):
        more = f" and {len(places) - _MOST_PLACES} more" if len(places) > _MOST_PLACES else ""
        yield (
            f"{named(character)} is in no font inside, so that readers see an empty box: "
            f"page {', '.join(places[:_MOST_PLACES])}{more}"
        )


def undrawn_characters(printed: bytes) -> frozenset[str]:
    """Characters that a PDF of ours shows as empty boxes."""
    checks = map(check_glyphs, _fonts(PdfReader(io.BytesIO(printed))))
    return frozenset(c for check in checks if check is not None for c in check.lacking)
