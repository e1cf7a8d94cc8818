"""A finished audit as an object that a notebook shows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bias_audit.report.brief import brief
from bias_audit.report.figures.style import PLAIN
from bias_audit.report.resources import template_engine
from bias_audit.report.sections.answer import answer_rows
from bias_audit.report.sections.questions import failures
from bias_audit.report.sections.readings import headline
from bias_audit.results.audit import AuditResult
from bias_audit.results.store import read_audit


@dataclass(frozen=True)
class Audit:
    """A run folder that was read; its last expression in a notebook cell prints the summary."""

    folder: Path
    result: AuditResult
    """Everything found; `result.model_dump()` gives plain dictionaries."""

    def __str__(self) -> str:
        """At most ten lines."""
        return "\n".join(brief(self.result, self._reports()))

    def _repr_html_(self) -> str:
        """Verdicts, the conclusion and its numbers; one HTML fragment that loads nothing."""
        reports = self._reports()
        where = quote(Path(os.path.relpath(reports[0])).as_posix()) if reports else None
        page = template_engine().get_template("notebook.html")
        return page.render(
            lines=brief(self.result, ()),
            headline=headline(self.result),
            failures=failures(self.result),
            rows=answer_rows(self.result, PLAIN).rows,
            report=where,
        )

    def _reports(self) -> tuple[Path, ...]:
        paths = (self.folder / "report.html", self.folder / "report.pdf")
        return tuple(path for path in paths if path.is_file())


def open_audit(folder: str | Path) -> Audit:
    """Read a finished run.

    Raises:
        OutputError: The folder holds no finished run, or a damaged one.
    """
    path = Path(folder).expanduser()
    return Audit(path, read_audit(path))
