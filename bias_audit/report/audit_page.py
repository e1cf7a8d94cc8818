"""An audit's results as a page, section by section."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from bias_audit.durations import written_date
from bias_audit.report.figures.style import Palette, shortened
from bias_audit.report.glossary import glossary
from bias_audit.report.page import Choices, Fact, Facts, Only, Page, Picker, Prose, Section, parts
from bias_audit.report.references import labels
from bias_audit.report.sections.backbone import chapter, together
from bias_audit.report.sections.declared import document, purpose_section, regulatory
from bias_audit.report.sections.method import claims, method
from bias_audit.report.sections.selftest import selftest_section
from bias_audit.report.sections.sources import data, provenance
from bias_audit.report.sections.summary import summary_section
from bias_audit.results.audit import AuditResult
from bias_audit.results.claims import refuse_overclaims_of
from bias_audit.shapes.printed import counted

_SHORT, _ID = 16, 12
"""Digits of a digest, and of the config's as the audit's name, that are enough to know it by."""


def audit_page(result: AuditResult, folder: Path | None, *, audit_sha256: str = "") -> Page:
    """Turn results into text and figures, drawn when asked for; without a run folder, into text.

    Raises:
        ValueError: Parts of the result do not belong together.
    """
    refuse_overclaims_of(result)
    palette = Palette(tuple(attribute.name for attribute in result.data.attributes))
    answers = labels()
    cautions = tuple(Prose(each, "box caution", "Caution.") for each in result.cautions)
    audit_id, started = result.provenance.config_sha256[:_ID], result.provenance.started
    seal = Markup("SHA-256 of the embedded audit.json: <code>{}</code>").format(audit_sha256)
    short = f"audit.json SHA-256 {audit_sha256[:_SHORT]}…"
    sealed = (Only("paper", (Prose(seal, "seal", running=short),)),) if audit_sha256 else ()
    body = (
        summary_section(result, answers["summary"]),
        purpose_section(result, answers["purpose"]),
        claims(result, answers["claims"]),
        data(result.data, answers["data"], cautions),
        *(
            chapter(subject, index, folder, palette=palette, answers=answers["backbone"])
            for index, subject in enumerate(result.subjects)
        ),
        *([together(result, folder, palette=palette)] if result.together else []),
        method(result, answers["method"]),
        *([selftest_section(result.selftest, answers["selftest"])] if result.selftest else []),
        regulatory(result, answers["regulatory"]),
    )
    return Page(
        kind="Audit report",
        title=result.name,
        running=f"Audit report: {shortened(result.name, 60)}",
        lead=result.description,
        cover=parts(Facts(_cover(result, audit_id)), sealed, cautions),
        sections=(
            document(result, audit_sha256),
            *body,
            Section(
                "glossary",
                "Glossary",
                (
                    Prose("The terms that this report uses, in plain words."),
                    Facts(glossary(body), "glossary"),
                ),
            ),
            provenance(result, answers["provenance"]),
        ),
        footer=f"Audit {audit_id}",
        created=started,
        description=f"Audit report {result.name}, {audit_id}",
        pickers=_pickers(result),
    )


def _pickers(result: AuditResult) -> tuple[Picker, ...]:
    """Layers in order of depth, levels as declared."""
    layers = tuple(
        Choices(each.backbone.name, tuple(layer.name for layer in each.backbone.layers))
        for each in result.subjects
    )
    groups = tuple(Choices(each.name, each.levels) for each in result.data.attributes)
    return (
        Picker("layer", "Layer", "all layers", layers),
        Picker("group", "Group", "all groups", groups),
    )


def _cover(result: AuditResult, audit_id: str) -> tuple[Fact, ...]:
    backbones = tuple(
        f"{subject.backbone.name} ({subject.backbone.weights})" for subject in result.subjects
    )
    used = counted(result.data.n_images, "image")
    cells = counted(len(result.data.cells), "group")
    return (
        Fact("Backbone" if len(backbones) == 1 else "Backbones", backbones),
        Fact("Faces", (f"{result.data.name}, {used} in {cells}",)),
        Fact("Date", (written_date(result.provenance.started),)),
        Fact("Tool", (f"bias-audit {result.provenance.versions.get('bias-audit', 'unknown')}",)),
        Fact("Audit id", (audit_id,), is_code=True),
    )
