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
from typing import Final

from bias_audit.errors import OutputError
from bias_audit.report.tagging import finish

DATA_NAME: Final = "audit.json"
DATA_DESCRIPTION: Final = "The results that this report prints, as bias-audit wrote them"
_LOGGER: Final = "weasyprint"


@dataclass(frozen=True)
class Embedded:
    """The data a report is made from, to travel inside it."""

    content: bytes
    """Of `audit.json`."""
    date: str
    """ISO 8601: when it was made."""


def pdf(document: str, *, embedded: Embedded | None = None) -> bytes:
    """Print an HTML document; the same document and data give the same bytes.

    Args:
        document: With every image inside it.
        embedded: Becomes an associated file of the PDF (ISO 19005-3, Annex E), of relationship
            "Data": what a visual presentation is derived from (ISO 32000-2, 7.11.3).

    Raises:
        OutputError: The system libraries that lay out text are missing.
        ValueError: An image has no text, or something is not embedded in the document.
    """
    weasyprint = _weasyprint()
    identifier = hashlib.sha256(document.encode()).digest()[:16]
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols={"data"}, allow_redirects=False)
    with _complaints_are_errors(), warnings.catch_warnings():
        # WeasyPrint leaves the file of its colour profile to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        page = weasyprint.HTML(string=document, url_fetcher=fetcher)
        printed: bytes = page.write_pdf(
            pdf_variant="pdf/a-3a",
            pdf_identifier=identifier,
            attachments=_attachments(weasyprint, embedded),
            finisher=finish,
        )
    return printed


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
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _complaints_are_errors() -> Iterator[None]:
    """An image without a text, or one that could not be loaded, is only logged by WeasyPrint."""
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
        import weasyprint  # noqa: PLC0415  needs system libraries that HTML does without
    except OSError as error:
        raise OutputError(
            "a PDF needs the Pango libraries, which could not be loaded "
            f"({str(error).splitlines()[0]}): install them (Debian, Ubuntu: apt-get install "
            "libpango-1.0-0 libpangoft2-1.0-0), or ask for HTML alone; report.html is written"
        ) from error
    module: ModuleType = weasyprint
    return module
