"""From a run folder to its report; never loads a model."""

from __future__ import annotations

import gc
import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bias_audit.config.font_files import FontFile, read_font
from bias_audit.errors import AuditError
from bias_audit.files import write_atomically, write_text
from bias_audit.report.audit_page import audit_page
from bias_audit.report.exporting.writing import FOLDER, write_exports
from bias_audit.report.figures.lettering import lettering
from bias_audit.report.fonts import PrintFonts, undrawn_warning
from bias_audit.report.page import damage_named, html
from bias_audit.report.pdf import Embedded, pdf
from bias_audit.report.sections.blocks import write_figure_data
from bias_audit.results.audit import AuditResult
from bias_audit.results.store import audit_bytes, parse_audit

FORMATS = ("html", "pdf")
_LOG = logging.getLogger(__name__)


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """While millions of small objects are made, look less often for circles among them."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@_seldom_collected()
def render(
    folder: Path, *, formats: Sequence[str] = FORMATS, fonts: Sequence[Path] | None = None
) -> tuple[Path, ...]:
    """Write `report.html`, `report.pdf`, `figures/` (data) and `exports/` into a run folder.

    A warning names the characters that no font draws.

    Args:
        folder: A finished run: `audit.json` and `arrays/`.
        formats: Which of "html" and "pdf" to write.
        fonts: Further font files; default: those that the run's config names.

    Returns:
        The reports written, HTML first.

    Raises:
        AuditError: A format is unknown, or a font that was named cannot be used.
        OutputError: The run is missing, damaged or of another schema version; the disk refuses;
            or a PDF was requested and Pango is missing, in which case the HTML is written first.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise AuditError(
            f"--format: expected formats among {', '.join(FORMATS)}, got {', '.join(unknown)}"
        )
    with damage_named(folder):
        content = audit_bytes(folder)
        result = parse_audit(content, source=str(folder / "audit.json"))
        digest = hashlib.sha256(content).hexdigest()
        further = _further_fonts(result, folder, fonts)
        view = audit_page(result, folder, audit_sha256=digest)
        text = content.decode(errors="replace")
        with lettering(text, further):
            screen = html(view, medium="screen") if "html" in formats else ""
        with lettering(text, further) as undrawn:
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
        embedded = Embedded(content, result.provenance.started)
        fonts_used = PrintFonts(further)
        printed = pdf(paper, embedded=embedded, fonts=fonts_used)
        write_atomically(path, lambda file: file.write(printed))
        written.append(path)
        if not fonts_used.draw(paper):
            from bias_audit.report.verifying import report_reader  # noqa: PLC0415  loads pypdf

            undrawn |= report_reader.undrawn_characters(printed)
        if undrawn:
            _LOG.warning("%s", undrawn_warning(result, undrawn, path))
    return tuple(written)


def _further_fonts(
    result: AuditResult, folder: Path, paths: Sequence[Path] | None
) -> tuple[FontFile, ...]:
    """Fonts that are named now, or in the config of a run that may have been moved since.

    A path of a config is relative to where the run was started, mostly above the run folder.

    Raises:
        AuditError: A font that is named now cannot be used.
    """
    recorded = result.config.get("output", {}).get("fonts", ())
    found = []
    places = (Path(), *folder.resolve().parents)
    for name in paths if paths is not None else map(Path, recorded):
        path = next((p / name for p in places if (p / name).is_file()), name)
        try:
            font = read_font(path)
        except ValueError as error:
            if paths is not None:
                raise AuditError(f"--font: {error}") from error
            _LOG.warning("warning: output.fonts: %s; the report is printed without it", error)
            continue
        if font.assumed:
            _LOG.warning("note: %s", font.assumed)
        found.append(font)
    return tuple(found)
