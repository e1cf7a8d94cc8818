"""From a comparison to its files; never loads a model."""

from __future__ import annotations

from pathlib import Path

import bias_audit
from bias_audit.files import write_text
from bias_audit.report.changes.view import diff_view
from bias_audit.report.resources import template_engine
from bias_audit.results.differing.shapes import AuditDiff


def diff_html(found: AuditDiff) -> str:
    """The page, complete in itself."""
    template = template_engine().get_template("diff.html")
    return template.render(audit=diff_view(found), medium="screen", version=bias_audit.__version__)


def write_diff(found: AuditDiff, folder: Path) -> tuple[Path, Path]:
    """Write `diff.html` and `diff.json` into a folder.

    Returns:
        Both files, the page first.

    Raises:
        OutputError: The disk refuses.
    """
    page, data = folder / "diff.html", folder / "diff.json"
    html = diff_html(found)
    write_text(data, found.model_dump_json(indent=1) + "\n")
    write_text(page, html)
    return page, data
