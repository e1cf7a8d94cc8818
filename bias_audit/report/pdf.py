"""The report as a PDF for archives: PDF/A-3a, tagged, with bookmarks."""

from __future__ import annotations

import hashlib
import warnings
from types import ModuleType

from bias_audit.errors import OutputError


def pdf(document: str) -> bytes:
    """Print an HTML document; the same document gives the same bytes.

    Raises:
        OutputError: The system libraries that lay out text are missing.
    """
    weasyprint = _weasyprint()
    identifier = hashlib.sha256(document.encode()).digest()[:16]
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols={"data"}, allow_redirects=False)
    page = weasyprint.HTML(string=document, url_fetcher=fetcher)
    with warnings.catch_warnings():
        # WeasyPrint leaves the file of its colour profile to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        printed: bytes = page.write_pdf(pdf_variant="pdf/a-3a", pdf_identifier=identifier)
    return printed


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
