"""From a run folder to its report; never loads a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from bias_audit.errors import OutputError
from bias_audit.files import write_atomically, write_text
from bias_audit.report.damage import damage_named
from bias_audit.report.export import write_figure_data
from bias_audit.report.exporting.writing import FOLDER, write_exports
from bias_audit.report.html import html
from bias_audit.report.pdf import Embedded, pdf
from bias_audit.report.view import audit_view
from bias_audit.results.store import audit_bytes, parse_audit

FORMATS = ("html", "pdf")


def render(folder: Path, *, formats: Sequence[str] = FORMATS) -> tuple[Path, ...]:
    """Write `report.html`, `report.pdf`, `figures/` (data) and `exports/` into a run folder.

    Args:
        folder: A finished run: `audit.json` and `arrays/`.
        formats: Which of "html" and "pdf" to write.

    Returns:
        The reports written, HTML first.

    Raises:
        OutputError: The run is missing, damaged or of another schema version; the disk refuses;
            or a PDF was asked for and Pango is missing, in which case the HTML is written first.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise OutputError(f"expected formats among {', '.join(FORMATS)}, got {', '.join(unknown)}")
    with damage_named(folder):
        content = audit_bytes(folder)
        result = parse_audit(content, source=str(folder / "audit.json"))
        digest = hashlib.sha256(content).hexdigest()
        view = audit_view(result, folder, audit_sha256=digest)
        screen = html(view, medium="screen") if "html" in formats else ""
        paper = html(view, medium="paper") if "pdf" in formats else ""
        write_figure_data(result, folder)
        write_exports(result, folder / FOLDER)
    written = []
    if "html" in formats:
        path = folder / "report.html"
        write_text(path, screen)
        written.append(path)
    if "pdf" in formats:
        path = folder / "report.pdf"
        printed = pdf(paper, embedded=Embedded(content, result.provenance.started))
        write_atomically(path, lambda file: file.write(printed))
        written.append(path)
    return tuple(written)
