"""An audit's results as rows and strings, section by section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bias_audit.report.elements import Fact
from bias_audit.report.figures.style import Palette
from bias_audit.report.references import labels
from bias_audit.report.sections.asked import AskedView, asked
from bias_audit.report.sections.backbone import BackboneView, backbone, together
from bias_audit.report.sections.cover import CoverView, cover
from bias_audit.report.sections.data import DataView, data
from bias_audit.report.sections.glossary import glossary
from bias_audit.report.sections.method import Sentences, limits, methods
from bias_audit.report.sections.not_measured import NotMeasuredView, not_measured
from bias_audit.report.sections.provenance import ProvenanceView, provenance
from bias_audit.report.sections.purpose import PurposeView, purpose
from bias_audit.report.sections.selectors import Selectors, selectors
from bias_audit.report.sections.selftest import SelfTestView, selftest
from bias_audit.report.sections.signing import SigningView, signing
from bias_audit.report.sections.summary import SummaryView, summary
from bias_audit.results.audit import AuditResult
from bias_audit.results.claims import refuse_overclaims_of


@dataclass(frozen=True)
class AuditView:
    """Everything a report prints, in the order in which it does."""

    cover: CoverView
    signing: SigningView
    summary: SummaryView
    purpose: PurposeView
    not_measured: NotMeasuredView
    limits: tuple[Sentences, ...]
    data: DataView
    backbones: tuple[BackboneView, ...]
    together: BackboneView | None
    """About all backbones at once; None where nothing asks for it."""
    methods: tuple[Sentences, ...]
    selftest: SelfTestView | None
    asked: AskedView
    glossary: tuple[Fact, ...]
    provenance: ProvenanceView
    labels: Mapping[str, tuple[str, ...]]
    """What each section answers, by its key; see `references`."""
    selectors: Selectors
    audit_sha256: str = ""
    """Of the `audit.json` that all of it is made from; empty where it is not known."""

    @property
    def chapters(self) -> tuple[BackboneView, ...]:
        """Every backbone, then all together."""
        return (*self.backbones, *([self.together] if self.together else []))

    @property
    def short_sha256(self) -> str:
        """Enough of it to tell two apart."""
        return self.audit_sha256[:_SHORT]


_SHORT = 16


def audit_view(result: AuditResult, folder: Path | None, *, audit_sha256: str = "") -> AuditView:
    """Turn results into text and figures, which are drawn when they are asked for.

    Args:
        result: What the audit found.
        folder: The run folder, for the arrays that figures draw; None: no figure is drawn.
        audit_sha256: Of `audit.json`.

    Raises:
        ValueError: Parts of the result do not belong together.
    """
    refuse_overclaims_of(result)
    palette = Palette(tuple(attribute.name for attribute in result.data.attributes))
    found = summary(result)
    seen = data(result.data)
    backbones = tuple(
        backbone(subject, index, folder, palette=palette)
        for index, subject in enumerate(result.subjects)
    )
    as_one = together(result, folder, palette=palette)
    told, bounds = methods(result), limits(result)
    tested = selftest(result.selftest) if result.selftest else None
    return AuditView(
        cover=cover(result),
        signing=signing(result, audit_sha256),
        summary=found,
        purpose=purpose(result),
        not_measured=not_measured(result),
        limits=bounds,
        data=seen,
        backbones=backbones,
        together=as_one,
        methods=told,
        selftest=tested,
        asked=asked(result),
        glossary=glossary(found, seen, backbones, as_one, told, bounds, tested),
        provenance=provenance(result),
        labels=labels(),
        selectors=selectors(result),
        audit_sha256=audit_sha256,
    )
