"""The report as a PDF for archives: PDF/A-3a, tagged, with bookmarks and its data inside."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, Final

from bias_audit.errors import OutputError
from bias_audit.report.fonts import BUNDLED, SCHEME, PrintFonts

DATA_NAME: Final = "audit.json"
DATA_DESCRIPTION: Final = "The results that this report prints, as bias-audit wrote them"
_LOGGER: Final = "weasyprint"
_NO_FONT: Final = "Font-face"
"""Begins the warning about a font that could not be loaded."""
_PAGINATION: Final = (b"/Artifact", b"<</Type/Pagination>>")


@dataclass(frozen=True)
class Embedded:
    """The data a report is made from, to travel inside it."""

    content: bytes
    """Of `audit.json`."""
    date: str
    """ISO 8601: when it was made."""


def pdf(document: str, *, embedded: Embedded | None = None, fonts: PrintFonts = BUNDLED) -> bytes:
    """Print an HTML document; the same document, data and fonts give the same bytes.

    The fonts of the machine are used for characters alone that `fonts` lack.

    Args:
        document: With every image inside it.
        embedded: Becomes an associated file of the PDF (ISO 19005-3, Annex E), of relationship
            "Data": what a visual presentation is derived from (ISO 32000-2, 7.11.3).
        fonts: What the text is set in.

    Raises:
        OutputError: The system libraries that lay out text are missing.
        ValueError: An image has no text, or something is not embedded in the document.
    """
    weasyprint = _weasyprint()
    identifier = hashlib.sha256(document.encode() + fonts.sha256.encode()).digest()[:16]
    fetcher = _fetcher(weasyprint, fonts)
    configuration = weasyprint.text.fonts.FontConfiguration()
    with _complaints_are_errors(), warnings.catch_warnings():
        # WeasyPrint leaves the file of its colour profile to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        faces = weasyprint.CSS(
            string=fonts.style_sheet, font_config=configuration, url_fetcher=fetcher
        )
        page = weasyprint.HTML(string=document, url_fetcher=fetcher)
        printed: bytes = page.write_pdf(
            pdf_variant="pdf/a-3a",
            pdf_identifier=identifier,
            attachments=_attachments(weasyprint, embedded),
            finisher=_finish,
            stylesheets=[faces],
            font_config=configuration,
        )
    return printed


def _fetcher(weasyprint: ModuleType, fonts: PrintFonts) -> Any:
    """Serves what is inside the document, and the fonts: nothing else."""
    urls = weasyprint.urls

    class Fetcher(urls.URLFetcher):  # type: ignore[misc, name-defined]
        def fetch(self, url: str, headers: dict[str, str] | None = None) -> Any:
            if url.startswith(f"{SCHEME}:"):
                return urls.URLFetcherResponse(url, fonts.content(url))
            return super().fetch(url, headers)

    return Fetcher(allowed_protocols={"data"}, allow_redirects=False)


def _attachments(weasyprint: ModuleType, embedded: Embedded | None) -> list[object]:
    if embedded is None:
        return []
    moment = datetime.fromisoformat(embedded.date).astimezone(UTC)
    return [
        weasyprint.Attachment(
            string=embedded.content,
            name=DATA_NAME,
            description=DATA_DESCRIPTION,
            created=moment,
            modified=moment,
            relationship="Data",
        )
    ]


class _Complaints(logging.Handler):
    """Keeps what must not be missing from a document for archives."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.levelno >= logging.ERROR or message.startswith(_NO_FONT):
            self.messages.append(message)


@contextmanager
def _complaints_are_errors() -> Iterator[None]:
    """An image without a text, or what could not be loaded, is only logged by WeasyPrint."""
    logger, complaints = logging.getLogger(_LOGGER), _Complaints()
    logger.addHandler(complaints)
    try:
        yield
    finally:
        logger.removeHandler(complaints)
    if complaints.messages:
        raise ValueError(f"the report cannot be archived: {'; '.join(complaints.messages[:3])}")


def _weasyprint() -> ModuleType:
    try:
        with warnings.catch_warnings():  # a machine without fonts is as good as any
            warnings.filterwarnings("ignore", message=".*FontConfig")
            import weasyprint  # noqa: PLC0415  needs system libraries that HTML does without
    except OSError as error:
        raise OutputError(
            "a PDF needs the Pango libraries, which could not be loaded "
            f"({str(error).splitlines()[0]}): install them (Debian, Ubuntu: apt-get install "
            "libpango-1.0-0 libpangoft2-1.0-0), or ask for HTML alone; report.html is written"
        ) from error
    module: ModuleType = weasyprint
    return module


def _finish(document: object, pdf: Any) -> None:  # noqa: ARG001  WeasyPrint's signature
    """Complete the tags of a PDF before it is written, which WeasyPrint leaves open.

    Running heads and page numbers become artifacts (ISO 32000-1, 14.8.2.2), since WeasyPrint tags
    them as text but leaves them out of the structure; headings of tables get their scope.
    """
    objects: list[Any] = [entry for entry in pdf.objects if isinstance(entry, dict)]
    by_reference = {entry.reference: entry for entry in objects}
    root = by_reference[pdf.catalog["StructTreeRoot"]]
    reached = {element.reference for element in _below(root, by_reference)}
    numbers = by_reference[root["ParentTree"]]["Nums"]
    _mark_artifacts(pdf, objects, numbers, reached)
    for element in objects:
        if element.get("S") == "/TH" and element.reference in reached:
            element["A"]["Scope"] = _scope(element, by_reference)
    if "AF" in pdf.catalog:  # WeasyPrint lists each file twice
        pdf.catalog["AF"][:] = list(dict.fromkeys(pdf.catalog["AF"]))


def _below(node: Any, by_reference: dict[bytes, Any]) -> Iterator[Any]:
    """All structure elements below one, in the order in which they are read."""
    waiting = [node]
    while waiting:
        element = waiting.pop()
        kids = element.get("K", ())
        found = [by_reference[kid] for kid in kids if isinstance(kid, bytes)]
        found = [kid for kid in found if "S" in kid]
        yield from found
        waiting += found


def _mark_artifacts(pdf: Any, objects: list[Any], numbers: list[Any], reached: set[bytes]) -> None:
    """Marked content that no structure element reaches is set aside as an artifact."""
    parents = dict(zip(numbers[::2], numbers[1::2], strict=True))
    streams = {entry.reference: entry for entry in pdf.objects if hasattr(entry, "stream")}
    for page in objects:
        if page.get("Type") != "/Page":
            continue
        elements = parents[page["StructParents"]]
        loose = {number for number, ref in enumerate(elements) if ref not in reached}
        operators = streams[page["Contents"]].stream
        for place, operator in enumerate(operators):
            if operator != b"BDC":
                continue
            marks = operators[place - 1]
            if isinstance(marks, dict) and marks.get("MCID") in loose:
                operators[place - 2 : place] = _PAGINATION
        for number in loose:
            elements[number] = "null"


def _scope(heading: Any, by_reference: dict[bytes, Any]) -> str:
    row = by_reference[heading["P"]]
    return "/Column" if by_reference[row["P"]]["S"] == "/THead" else "/Row"
