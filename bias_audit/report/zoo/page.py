"""From a zoo's history to its page; never loads a model, needs no run folder."""

from __future__ import annotations

from pathlib import Path

import bias_audit
from bias_audit.errors import OutputError
from bias_audit.files import write_text
from bias_audit.report.damage import damage_named
from bias_audit.report.resources import template_engine
from bias_audit.report.zoo.view import ZooView, zoo_view
from bias_audit.results.history.reading import read_history


def write_zoo_report(database: Path, to: Path, *, zoo: str | None = None) -> Path:
    """Write the overview of a zoo.

    Args:
        database: The history.
        to: The page, such as `zoo.html` beside the database; links to audits are relative.
        zoo: Only audits of this zoo; default: all in the history.

    Returns:
        The page.

    Raises:
        OutputError: The history is missing, damaged or of a newer release, or holds no audit of
            the zoo; or the disk refuses.
    """
    history = read_history(database, zoo=zoo)
    if not history.audits:
        of = f" of zoo {zoo!r}" if zoo is not None else ""
        raise OutputError(f"{database}: expected audits{of}, found none; run `bias-audit zoo run`")
    with damage_named(database):
        page = html_of(zoo_view(history, to))
    write_text(to, page)
    return to


def html_of(view: ZooView) -> str:
    """Fill the template."""
    page = template_engine().get_template("zoo.html")
    return page.render(
        zoo=view, medium="screen", version=bias_audit.__version__, own_style="zoo/zoo.css"
    )
