"""An audit's results as a page, section by section."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from bias_audit.report.figures.style import Palette, shortened
from bias_audit.report.glossary import glossary
from bias_audit.report.page import (
    Choices,
    Facts,
    Fold,
    Only,
    Page,
    Part,
    Picker,
    Prose,
    Section,
    parts,
)
from bias_audit.report.references import labels
from bias_audit.report.sections.answer import answer
from bias_audit.report.sections.backbone import backbones_section
from bias_audit.report.sections.declared import document, purpose_section, regulatory
from bias_audit.report.sections.method import (
    claims,
    failed_box,
    method,
    selftest,
    selftest_section,
)
from bias_audit.report.sections.questions import (
    Failure,
    failed_sections,
    failures,
    question_sections,
)
from bias_audit.report.sections.readings import headline, kicker
from bias_audit.report.sections.sources import data, provenance
from bias_audit.report.sections.verdicts import verdicts, verdicts_sections
from bias_audit.results.audit import AuditResult
from bias_audit.results.claims import refuse_overclaims_of

_SHORT, _ID = 16, 12
"""Digits of a digest, and of the config's as the audit's name, that are enough to know it by."""


def audit_page(result: AuditResult, folder: Path | None, *, audit_sha256: str = "") -> Page:
    """Turn results into text and figures, drawn when needed; without a run folder, into text.

    Raises:
        ValueError: Parts of the result do not belong together.
    """
    refuse_overclaims_of(result)
    palette = Palette(tuple(attribute.name for attribute in result.data.attributes))
    answers = labels()
    failed = failures(result)
    audit_id, started = result.provenance.config_sha256[:_ID], result.provenance.started
    short = f"audit.json SHA-256 {audit_sha256[:_SHORT]}…"
    seal = Prose(f"{short} · {tool(result)}", "seal", running=short)
    body = (
        *failed_sections(failed),
        *verdicts_sections(verdicts(result), answers["criteria"]),
        data(result.data, answers["data"], result.cautions),
        *question_sections(result, folder, palette=palette, answers=answers),
        *claims(result, answers["claims"]),
        purpose_section(result, answers["purpose"]),
        backbones_section(result, answers["backbones"]),
        method(result, answers["method"]),
        *([selftest_section(result.selftest, answers["selftest"])] if result.selftest else []),
        regulatory(result, answers["regulatory"]),
    )
    terms = glossary(body)
    return Page(
        kind=kicker(result),
        title=result.name,
        headline=headline(result),
        running=f"Audit report: {shortened(result.name, 60)}",
        lead="",
        cover=parts(
            answer(result, folder, palette=palette, failures=_warnings(result, failed)),
            (Only("paper", (seal,)),) if audit_sha256 else (),
        ),
        sections=(
            document(result, audit_sha256),
            *body,
            Section(
                "glossary",
                "Glossary",
                (
                    Prose("The terms that this report uses, in plain words."),
                    Only("screen", (Fold("All terms", (Facts(terms, "glossary"),)),)),
                    Only("paper", (Facts(terms, "glossary"),)),
                ),
            ),
            provenance(result, answers["provenance"]),
        ),
        footer=f"Audit {result.name}, id {audit_id}. {result.description}",
        created=started,
        description=f"Audit report {result.name}, {audit_id}",
        pickers=_pickers(result),
    )


def _warnings(result: AuditResult, failed: Sequence[Failure]) -> tuple[Part, ...]:
    """What a reader must know before any number."""
    found = list(failed_box(selftest(result.selftest).warning if result.selftest else ""))
    if failed:
        said = Markup('{} of its analyses could not be computed (<a href="#failed">why</a>): {}.')
        named = "; ".join(dict.fromkeys(each.title for each in failed))
        text = said.format(len(failed), named)
        found.append(Prose(text, "box failure", "This report is incomplete."))
    return tuple(found)


def tool(result: AuditResult) -> str:
    """Such as "bias-audit 0.2.0"."""
    return f"bias-audit {result.provenance.versions.get('bias-audit', 'of an unknown version')}"


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
