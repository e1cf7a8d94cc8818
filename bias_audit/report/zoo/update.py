"""The page of a zoo, made again only where it would say something else."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from bias_audit.files import digest, sha256_of, write_text
from bias_audit.report.page import template_folder
from bias_audit.results.history.reading import read_history
from bias_audit.software import installed


def update_zoo_report(database: Path, to: Path, *, zoo: str) -> bool:
    """Write the page as `write_zoo_report` does, unless it says all but the time of this run.

    Returns:
        Whether it was written.

    Raises:
        OutputError: As `write_zoo_report` does.
    """
    history = read_history(database, zoo=zoo)
    states = history.run.states if history.run else ()
    said = [(each.dataset, each.entry, each.state, each.reason, each.audit_id) for each in states]
    templates = sorted(path for path in template_folder().rglob("*") if path.is_file())
    key = digest(
        installed(),
        *(path.read_bytes() for path in templates),
        repr((history.audits, history.backbones, history.verdicts, history.failures)),
        repr((history.diffs, said)),
    )
    place = to.with_name(f".{to.name}.json")
    with suppress(OSError, ValueError):
        if json.loads(place.read_text(encoding="utf-8")) == [key, sha256_of(to)]:
            return False
    from bias_audit.report.zoo.page import write_zoo_report  # noqa: PLC0415  draws figures

    write_zoo_report(database, to, zoo=zoo)
    write_text(place, json.dumps([key, sha256_of(to)]))
    return True
