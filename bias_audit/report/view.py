"""An audit's results as rows and strings, section by section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bias_audit.report.elements import Fact
from bias_audit.report.references import labels
from bias_audit.report.sections.asked import AskedView, asked
from bias_audit.report.sections.backbone import BackboneView, backbone
from bias_audit.report.sections.cover import CoverView, cover
from bias_audit.report.sections.data import DataView, data
from bias_audit.report.sections.glossary import glossary
from bias_audit.report.sections.method import Sentences, limits, methods
from bias_audit.report.sections.not_measured import NotMeasuredView, not_measured
from bias_audit.report.sections.provenance import ProvenanceView, provenance
from bias_audit.report.sections.purpose import PurposeView, purpose
from bias_audit.report.sections.selftest import SelfTestView, selftest
from bias_audit.report.sections.summary import SummaryView, summary
from bias_audit.results.audit import AuditResult
from bias_audit.results.claims import refuse_overclaims_of


@dataclass(frozen=True)
class AuditView:
    """Everything a report prints, in the order in which it does."""

    cover: CoverView
    summary: SummaryView
    purpose: PurposeView
    not_measured: NotMeasuredView
    limits: tuple[Sentences, ...]
    data: DataView
    backbones: tuple[BackboneView, ...]
    methods: tuple[Sentences, ...]
    selftest: SelfTestView | None
    asked: AskedView
    glossary: tuple[Fact, ...]
    provenance: ProvenanceView
    labels: Mapping[str, tuple[str, ...]]
    """What each section answers, by its key; see `references`."""


def audit_view(result: AuditResult, folder: Path) -> AuditView:
    """Turn results into text and figures.

    Args:
        result: What the audit found.
        folder: The run folder, for the arrays that figures draw.

    Raises:
        OutputError: An array is missing or damaged.
        ValueError: Parts of the result do not belong together.
    """
    refuse_overclaims_of(result)
    found = summary(result)
    seen = data(result.data)
    backbones = tuple(
        backbone(subject, index, folder) for index, subject in enumerate(result.subjects)
    )
    told, bounds = methods(result), limits(result)
    tested = selftest(result.selftest) if result.selftest else None
    return AuditView(
        cover=cover(result),
        summary=found,
        purpose=purpose(result),
        not_measured=not_measured(result),
        limits=bounds,
        data=seen,
        backbones=backbones,
        methods=told,
        selftest=tested,
        asked=asked(result),
        glossary=glossary(found, seen, backbones, told, bounds, tested),
        provenance=provenance(result),
        labels=labels(),
    )
