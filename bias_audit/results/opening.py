"""A finished audit for comparison: its results, and what the cache holds of single images."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bias_audit.results.contributions import Contributions, read_contributions
from bias_audit.results.differing.comparables import Audited
from bias_audit.results.store import audit_bytes, parse_audit


def open_audited(folder: Path, *, cache: Path | None = None) -> Audited:
    """Read a run folder, and the entries of the cache that its analyses name.

    Args:
        folder: A finished run's folder.
        cache: Where to look for entries; the folder that the audit's config names if not given.
            What is not there, or is damaged, is left out.

    Raises:
        OutputError: The folder holds no audit of this version.
    """
    content = audit_bytes(folder)
    result = parse_audit(content, source=str(folder / "audit.json"))
    named = (result.config.get("output") or {}).get("cache")
    place = cache or (Path(named) if isinstance(named, str) else None)
    found: dict[str, Contributions] = {}
    for subject in result.subjects:
        for analysis in subject.analyses:
            name = analysis.contributions
            if name is None or place is None:
                continue
            entry = read_contributions(place, name)
            if entry is not None:
                found[name] = entry
    return Audited(result, str(folder), hashlib.sha256(content).hexdigest(), found)
