"""From the overview to the audits: relative links to what is there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bias_audit.results.history.reading import Audit, Backbone


@dataclass(frozen=True)
class Links:
    """Where the history and the page lie; both can be moved together with the run folders."""

    home: Path
    """The database's folder."""
    page: Path
    """The page's folder."""

    def report(self, audit: Audit, anchor: str = "") -> str | None:
        """A relative link to an audit's report; None where there is no such file."""
        way = self._file(audit, "report.html")
        return f"{way}#{anchor}" if way and anchor else way

    def diff(self, audit: Audit) -> str | None:
        """To what changed since the audit before it; None where there is no such file."""
        return self._file(audit, "diff.html")

    def _file(self, audit: Audit, name: str) -> str | None:
        path = self.home / audit.folder / name
        if audit.is_pruned or not path.is_file():
            return None
        # Escaped, a folder's name can be neither a scheme nor another host.
        return quote(Path(os.path.relpath(path, self.page)).as_posix())

    def backbone(self, backbone: Backbone) -> str | None:
        """To its part of the report."""
        return self.report(backbone.audit, f"backbone-{backbone.position}")
