"""Keeping what single images contribute to an analysis' numbers, for comparisons of audits."""

from __future__ import annotations

import json
from pathlib import Path

from bias_audit.analyses.analysis import Outcome, Subject
from bias_audit.analyses.probing.separability import Units
from bias_audit.files import digest
from bias_audit.results.contributions import Contributions, write_contributions


def keep_contributions(outcome: Outcome, subject: Subject, cache: Path) -> str | None:
    """Write what an analysis measured, unit by unit, into the cache.

    Args:
        outcome: Of the analysis.
        subject: That it looked at.
        cache: The audit's cache folder.

    Returns:
        The name of the entry; None if the analysis has nothing to compare image by image.

    Raises:
        OutputError: The disk refuses.
    """
    if not outcome.measures:
        return None
    units = Units.of(subject)
    return write_contributions(
        cache,
        Contributions(
            images=subject.faces.sha256,
            labels=_labels(subject),
            clusters=units.clusters,
            n_clusters=units.n_clusters,
            seeds=_seeds(subject, units.n_seeds),
            measures=outcome.measures,
        ),
    )


def _labels(subject: Subject) -> tuple[str, ...]:
    table = subject.faces.table
    return tuple(
        digest(
            json.dumps(
                {a.name: a.levels[c] for a, c in zip(table.attributes, row, strict=True)},
                sort_keys=True,
            )
        )[:12]
        for row in table.codes
    )


def _seeds(subject: Subject, n_seeds: int) -> tuple[str, ...]:
    """What stands at each seed's place, by content: the n-th draw of every control with several.

    Two audits with the same draws, such as random weights of one architecture seen through the
    same images, share them; all else is independent.
    """
    by_kind: dict[str, list[str]] = {}
    for control in subject.controls:
        by_kind.setdefault(control.kind, []).append(control.fingerprint)
    drawn = [prints for prints in by_kind.values() if len(prints) > 1]
    return tuple(
        digest(str(place), *(prints[place] for prints in drawn if place < len(prints)))
        for place in range(n_seeds)
    )
