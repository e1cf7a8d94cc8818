"""From the overview to the audits: relative links to what is there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bias_audit.results.history.records import Audit, Backbone


@dataclass(frozen=True)
class Links:
    """Where the history and the page lie; both can be moved together with the run folders."""

    home: Path
    """The database's folder."""
    page: Path
    """The page's folder."""

    def report(self, audit: Audit, anchor: str = "") -> str | None:
        """A relative link to an audit's report; None where there is no such file."""
        path = self.home / audit.folder / "report.html"
        if audit.is_pruned or not path.is_file():
            return None
        # Escaped, a folder's name can be neither a scheme nor another host.
        way = quote(Path(os.path.relpath(path, self.page)).as_posix())
        return f"{way}#{anchor}" if anchor else way

    def backbone(self, backbone: Backbone) -> str | None:
        """To its part of the report."""
        return self.report(backbone.audit, f"backbone-{backbone.position}")
