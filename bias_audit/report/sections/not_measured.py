"""What an audit did not look at, told from its results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bias_audit.results.audit import AuditResult

QUESTIONS: Final = {
    "linear_probe": "at which layers an attribute can be read, beside controls",
    "confusions": "which groups are taken for which others",
    "intersections": "how well groups by several attributes at once are told apart",
    "topomap": "in which units of a layer two groups differ",
    "group_geometry": "how far groups lie from each other",
    "erasure": "whether the backbone's own decisions use what is encoded",
}
"""By kind of analysis: what stays open without it."""


@dataclass(frozen=True)
class NotMeasuredView:
    """Gaps of this audit."""

    attributes: str
    """The only ones annotated."""
    gaps: tuple[str, ...]
    """Questions that no analysis of this audit asked, or that could not be answered."""


def not_measured(result: AuditResult) -> NotMeasuredView:
    """Collect the gaps."""
    names = ", ".join(attribute.name for attribute in result.data.attributes)
    return NotMeasuredView(names, tuple(_gaps(result)))


def _gaps(result: AuditResult) -> Iterator[str]:
    for kind, question in QUESTIONS.items():
        outcomes = {
            subject.backbone.name: {a.status for a in subject.analyses if a.kind == kind}
            for subject in result.subjects
        }
        if not any(outcomes.values()):
            yield f"{question} (not asked for)"
            continue
        without = [name for name, found in outcomes.items() if "done" not in found]
        if without:
            yield f"{question} (not computed on {', '.join(without)})"
