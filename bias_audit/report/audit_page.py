"""An audit's results as a page, section by section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from markupsafe import Markup

from bias_audit.report.elements import BlockView, Fact, Failure
from bias_audit.report.figures.style import Palette
from bias_audit.report.page import (
    Choices,
    Code,
    Counted,
    Facts,
    Fold,
    Form,
    Item,
    Items,
    Medium,
    Only,
    Page,
    Part,
    Picker,
    Prose,
    Section,
    Shown,
    Tabled,
    bullets,
    linked,
    maybe,
    paragraphs,
    parts,
)
from bias_audit.report.references import SECTIONS, labels
from bias_audit.report.sections.asked import asked
from bias_audit.report.sections.backbone import BackboneView, backbone, together
from bias_audit.report.sections.claims import CLAIMS, NEVER_MEASURED
from bias_audit.report.sections.cover import cover
from bias_audit.report.sections.data import data
from bias_audit.report.sections.findings import FindingsView, FindingView
from bias_audit.report.sections.glossary import glossary
from bias_audit.report.sections.method import limits, methods
from bias_audit.report.sections.not_measured import not_measured
from bias_audit.report.sections.provenance import provenance
from bias_audit.report.sections.purpose import purpose
from bias_audit.report.sections.selftest import selftest
from bias_audit.report.sections.signing import signing
from bias_audit.report.sections.summary import SubjectSummary, SummaryView, summary
from bias_audit.report.sections.verdicts import VerdictsView
from bias_audit.results.audit import AuditResult
from bias_audit.results.claims import refuse_overclaims_of
from bias_audit.shapes.tables import Column, Table

_SHORT: Final = 16
"""Digits of a digest that are enough to know it by."""
_DECIDED, _UNDECIDED = 3, 2
"""Findings of an analysis that paper prints."""


def audit_page(result: AuditResult, folder: Path | None, *, audit_sha256: str = "") -> Page:
    """Turn results into text and figures, which are drawn when they are asked for.

    Args:
        result: What the audit found.
        folder: The run folder, for the arrays that figures draw; None: no figure is drawn.
        audit_sha256: Of `audit.json`; empty where it is not known.

    Raises:
        ValueError: Parts of the result do not belong together.
    """
    refuse_overclaims_of(result)
    palette = Palette(tuple(attribute.name for attribute in result.data.attributes))
    answers = labels()
    chapters = [
        backbone(subject, index, folder, palette=palette)
        for index, subject in enumerate(result.subjects)
    ]
    as_one = together(result, folder, palette=palette)
    front = cover(result)
    cautions = tuple(Prose(each, "box caution", "Caution.") for each in front.cautions)
    seal = Markup("SHA-256 of the embedded audit.json: <code>{}</code>").format(audit_sha256)
    short = f"audit.json SHA-256 {audit_sha256[:_SHORT]}…"
    sealed = (Only("paper", (Prose(seal, "seal", running=short),)),) if audit_sha256 else ()
    body = (
        _summary(result, as_one, answers["summary"]),
        _purpose(result, answers["purpose"]),
        _claims(result, answers["claims"]),
        _data(result, answers["data"], cautions),
        *(_chapter(chapter, answers["backbone"]) for chapter in chapters),
        *([_chapter(as_one, ())] if as_one else []),
        _method(result, answers["method"]),
        *_selftest(result, answers.get("selftest", ())),
        _asked(result, answers["asked"]),
    )
    terms = tuple(Fact(term.name, term.values) for term in glossary(body))
    return Page(
        kind="Audit report",
        title=front.name,
        running=f"Audit report: {front.running}",
        lead=front.description,
        cover=parts(Facts(front.facts), sealed, cautions),
        sections=(
            *_document(result, audit_sha256),
            *body,
            Section(
                "glossary",
                "Glossary",
                (
                    Prose("The terms that this report uses, in plain words."),
                    Facts(terms, "glossary"),
                ),
            ),
            _provenance(result, answers["provenance"]),
        ),
        footer=f"Audit {front.audit_id}",
        created=front.started,
        description=f"Audit report {front.name}, {front.audit_id}",
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


def _document(result: AuditResult, audit_sha256: str) -> tuple[Section, ...]:
    """On paper: what identifies it, and what the person who reviews it fills in."""
    found = signing(result, audit_sha256)
    return (
        Section(
            "document",
            "This document",
            (
                Facts(found.facts),
                Prose(
                    Markup(
                        "The numbers behind this document are embedded in it, as the file "
                        "<code>audit.json</code>. <code>bias-audit verify report.pdf</code> takes "
                        "it out, checks its digest, and compares every sentence and number "
                        "printed here with it."
                    )
                ),
                Prose(
                    Markup(
                        "Paper shows what carries the message of each analysis. What it leaves "
                        "out is named where it is left out, and is in <code>report.html</code>, "
                        "<code>audit.json</code> and the folder <code>figures/</code> of the run. "
                        "A note that holds for several tables or figures of a backbone is printed "
                        "at the first of them."
                    )
                ),
                Form(
                    "Review: to be completed by the person who reviewed these results",
                    tuple((line, "") for line in found.lines),
                ),
            ),
            look="document",
            medium="paper",
        ),
    )


def _summary(
    result: AuditResult, as_one: BackboneView | None, answers: tuple[str, ...]
) -> Section:
    found = summary(result)
    tested = selftest(result.selftest) if result.selftest else None
    see = Markup('{} See <a href="#selftest">Self-test</a>.')
    rate = Markup('{} See <a href="#method">Method</a>.')
    return Section(
        "summary",
        "Summary",
        parts(
            (Prose(see.format(tested.warning), "box failure", "The self-test failed."),)
            if tested and tested.warning
            else (),
            _verdicts(found.verdicts),
            (Prose(rate.format(found.error_rate), "note"),) if found.error_rate else (),
            _incomplete(found),
            (Section("glance", "At a glance", (Tabled(found.overview),)),)
            if found.overview
            else (),
            [_subject(subject) for subject in found.subjects],
            (_joint(found, as_one),) if as_one else (),
        ),
        answers=answers,
    )


def _verdicts(found: VerdictsView) -> tuple[Part, ...]:
    if not found.rows:
        return (
            Prose(
                "The config declares no criterion, so nothing here was held against a margin; "
                "what follows is description.",
                "box",
                "No verdict.",
            ),
        )
    outcome = Markup('<span class="outcome {}"><span aria-hidden="true">{}</span> {}</span>')
    name = Markup(
        '<strong>{}</strong><br>{}<br><span class="rationale">Why this margin: {}</span>'
    )
    rows = tuple(
        (
            name.format(row.name, row.claim, row.rationale),
            row.backbone,
            outcome.format(row.outcome.lower(), row.shape, row.outcome),
            "\n".join(filter(None, (row.measured, row.where, f"{row.reason}."))),
            row.detectable,
            row.n_to_decide,
        )
        for row in found.rows
    )
    table = Table(
        caption="Criteria and verdicts",
        columns=(
            Column("criterion"),
            Column("backbone"),
            Column("verdict"),
            Column("what decides"),
            Column(f"smallest detectable distance ({found.power})", numeric=True),
            Column(f"images that would decide ({found.power})", numeric=True),
        ),
        rows=rows,
        excerpt=rows,
    )
    return (
        Section(
            "criteria",
            f"Verdicts on the declared criteria: {found.counts}",
            (
                Prose(
                    "The criteria and their margins are those of the config. A verdict holds an "
                    "interval against a margin: PASS where all of it lies within, FAIL where all "
                    "of it lies beyond, INCONCLUSIVE otherwise; that no difference was found is "
                    "never a PASS. It is a statement about these images and annotations, not "
                    "about whether a use of the backbone is acceptable."
                ),
                Tabled(table, "verdicts", rows_named="verdict"),
                Prose(
                    "A criterion over several numbers passes when each interval, at the "
                    "criterion's level, lies within the margin, and fails when one lies beyond it "
                    "after Holm's adjustment for their number; the interval of the number that "
                    "decides is printed at the level that decided. “Images that would decide” are "
                    "independent images behind that number, if the value observed held.",
                    "note of-table",
                ),
            ),
        ),
    )


def _incomplete(found: SummaryView) -> tuple[Part, ...]:
    if not found.failures:
        return ()
    said = (
        f"{len(found.failures)} of its analyses could not be computed; the rest does not depend "
        "on them."
    )
    return (Prose(said, "box failure", "This report is incomplete."), *_failures(found.failures))


def _failures(found: Sequence[Failure]) -> tuple[Part, ...]:
    return tuple(
        Section(
            "",
            f"Not computed: {each.title} on {each.backbone}",
            (Code(each.error),),
            "box failure",
        )
        for each in found
    )


def _subject(subject: SubjectSummary) -> Section:
    def said(medium: Medium) -> tuple[Part, ...]:
        replies = tuple(
            Fact(
                answer.question,
                (_with_evidence(answer.text, answer.anchor, medium),),
                tag="undecided" if answer.anchor and not answer.is_decided else "",
                look="" if answer.is_decided else "undecided",
            )
            for answer in subject.answers
        )
        undecided = tuple(
            Item(_with_evidence(view.text, view.anchor, medium)) for view in subject.undecided
        )
        nothing = Prose(
            "Nothing was found that its interval separates from chance or from the control. That "
            "is not evidence of absence."
        )
        open_ones = Section(
            f"{subject.anchor}-open", "What is not decided", (Items(undecided, "undecided"),)
        )
        return parts(
            Facts(replies, "replies"),
            () if subject.n_decided else (nothing,),
            (open_ones,) if undecided else (),
        )

    every = Markup(
        '<a href="#{}-findings">All findings on {}</a>: {} decided, {} not decided or not '
        "measured."
    )
    return Section(
        f"{subject.anchor}-summary",
        linked(subject.name, f"#{subject.anchor}"),
        (
            Only("screen", said("screen")),
            Only("paper", said("paper")),
            Prose(
                every.format(subject.anchor, subject.name, subject.n_decided, subject.n_undecided),
                "note",
            ),
        ),
    )


def _with_evidence(text: str, anchor: str | None, medium: Medium) -> str:
    if anchor is None or medium == "paper":
        return text
    return Markup('{} <a href="#{}">Evidence</a>').format(text, anchor)


def _joint(found: SummaryView, as_one: BackboneView) -> Section:
    def surest(medium: Medium) -> Items:
        return Items(
            tuple(
                Item(
                    _with_evidence(view.text, view.anchor, medium),
                    "undecided" if view.weight <= 0 else "",
                )
                for view in found.together
            )
        )

    note = Markup('The surest ones: all are among the <a href="#{}-findings">findings on {}</a>.')
    return Section(
        f"{as_one.anchor}-summary",
        linked(as_one.heading, f"#{as_one.anchor}"),
        (
            Only("screen", (surest("screen"),)),
            Only("paper", (surest("paper"),)),
            Prose(note.format(as_one.anchor, as_one.name), "note"),
        ),
    )


def _purpose(result: AuditResult, answers: tuple[str, ...]) -> Section:
    found = purpose(result)
    scenarios: tuple[Part, ...] = (
        Prose(
            "NOT PROVIDED: which groups could be harmed and how, what would show it, from which "
            "value on, what is done about it, and what makes people look again."
        ),
    )
    if found.scenarios:
        stands = (
            "A verdict holds a number of this audit against a margin. It answers a scenario only "
            "as far as that number stands for the harm feared."
        )
        scenarios = (Tabled(found.scenarios), Prose(stands, "note of-table"))
    return Section(
        "purpose",
        "Purpose and bias scenarios",
        (
            Prose(
                "Only people can say what follows. It is printed as the config declares it, was "
                "not checked, and changes no number of this report. NOT PROVIDED: nobody said."
            ),
            Facts(found.facts),
            Section("scenarios", "Bias scenarios", scenarios),
            Section(
                "decision",
                "Decision, mitigation and residual risk",
                (
                    Form(
                        "For people to complete after reading, in the config or by hand",
                        tuple((fact.name, fact.values[0]) for fact in found.form),
                    ),
                ),
            ),
        ),
        look="declared",
        answers=answers,
    )


def _claims(result: AuditResult, answers: tuple[str, ...]) -> Section:
    gaps = not_measured(result)
    strong = Markup("<strong>{}</strong> {}")
    others = strong.format("Other attributes:", f"only these are annotated: {gaps.attributes}.")
    missing = [strong.format(name, text) for name, text in NEVER_MEASURED]
    missing.insert(3, others)
    missing += [strong.format("In this audit:", f"{gap}.") for gap in gaps.gaps]
    bounds = tuple(
        Section(f"limits-{place}", each.title, bullets(each.sentences))
        for place, each in enumerate(limits(result))
    )
    return Section(
        "claims",
        "What this report can and cannot say",
        parts(
            bullets([strong.format(name, text) for name, text in CLAIMS]),
            Section("gaps", "What was not measured", bullets(missing)),
            (Section("limits", "Limits of the analyses", bounds),) if bounds else (),
        ),
        answers=answers,
    )


def _data(result: AuditResult, answers: tuple[str, ...], cautions: tuple[Prose, ...]) -> Section:
    found = data(result.data)
    empty = f"Groups without images, which no analysis can speak about: {found.composition.empty}."
    too_long = (
        "The table is too long to print; it is in the HTML report, and its numbers are in "
        "audit.json."
    )
    return Section(
        "data",
        "Data",
        parts(
            Only("screen", cautions),
            Facts(found.facts),
            Section(
                "images",
                "Images in each group",
                parts(
                    Prose(found.composition.summary),
                    Only("screen", (Counted(found.composition),)),
                    Only(
                        "paper",
                        (Prose(too_long, "note"),)
                        if found.composition.is_long
                        else (Counted(found.composition),),
                    ),
                    (Prose(empty, "note"),) if found.composition.empty else (),
                ),
            ),
            (Section("notices", "Noticed on reading", bullets(found.notices)),)
            if found.notices
            else (),
            Section(
                "exclusions",
                "Exclusions",
                maybe(found.exclusions, otherwise="No image was excluded or treated specially."),
            ),
        ),
        answers=answers,
    )


def _chapter(found: BackboneView, answers: tuple[str, ...]) -> Section:
    layers = tuple(Item(line) for line in found.layers)
    all_layers = f"{'; '.join(found.layers)}."
    about = (
        "What follows is asked once, of the backbones of this audit as one, or of each beside the "
        "others."
    )
    fold = Fold("Layers audited, from input to output", (Items(layers, "columns", True),))  # noqa: FBT003
    named = Prose(all_layers, "layers", "Layers audited, from input to output.")
    return Section(
        found.anchor,
        found.heading,
        parts(
            () if layers else (Prose(about),),
            Facts(found.facts),
            (Only("screen", (fold,)), Only("paper", (named,))) if layers else (),
            _failures(found.failures),
            (_findings(found),) if found.findings else (),
            [_block(found, block) for block in found.blocks],
            (_rest(found),) if found.rest else (),
        ),
        look="backbone" if layers else "together",
        name=found.name if layers else "",
        answers=answers,
        running=f"Backbone {found.running}" if layers else found.running,
    )


def _findings(found: BackboneView) -> Section:
    return Section(
        f"{found.anchor}-findings",
        f"Findings on {found.name}",
        tuple(
            Section("", each.title, (Only("screen", _told(each)), Only("paper", _few(each))))
            for each in found.findings
        ),
        look="all-findings",
    )


def _told(found: FindingsView) -> tuple[Part, ...]:
    return (Items(tuple(_items(found.decided, found.undecided, "screen")), "findings"),)


def _few(found: FindingsView) -> tuple[Part, ...]:
    decided, undecided = found.decided[:_DECIDED], found.undecided[:_UNDECIDED]
    more = len(found.decided) + len(found.undecided) - len(decided) - len(undecided)
    rest = (Prose(f"{more} more in report.html.", "note of-table"),) if more else ()
    return (Items(tuple(_items(decided, undecided, "paper")), "findings"), *rest)


def _items(
    decided: Sequence[FindingView], undecided: Sequence[FindingView], medium: Medium
) -> Iterator[Item]:
    for view in decided:
        yield Item(_with_evidence(view.text, view.evidence, medium), anchor=view.anchor)
    for view in undecided:
        text = _with_evidence(view.text, view.evidence, medium)
        yield Item(text, "undecided", view.anchor, "undecided")


def _block(found: BackboneView, block: BlockView) -> Section:
    return Section(
        block.anchor,
        block.title,
        (Only("screen", (Prose(block.analysis, "analysis"),)), Shown(block)),
        look=f"block {block.shape}",
        layer=block.layer if block.layer and found.layers else "",
        is_listed=True,
        medium="screen" if block.is_detail else None,
    )


def _rest(found: BackboneView) -> Section:
    """On paper: what is not printed, and where it is."""
    rows = tuple(
        (
            analysis if place == 0 else "",
            block.title,
            "figure" if block.figure and not block.n_rows else str(block.n_rows),
            block.figure.data if block.figure and block.figure.data else "audit.json",
        )
        for analysis, blocks in found.rest
        for place, block in enumerate(blocks)
    )
    columns = (Column("analysis"), Column("what"), Column("rows", numeric=True), Column("file"))
    caption = "Figures and tables in report.html, and files of the run folder with their numbers"
    table = Table(caption, columns, rows, n_headers=2, excerpt=rows)
    return Section(
        f"{found.anchor}-rest",
        f"More about {found.name}, not printed",
        (Tabled(table, "rest"),),
        medium="paper",
    )


def _method(result: AuditResult, answers: tuple[str, ...]) -> Section:
    nothing = Prose("No analysis could be computed, so there is nothing to describe.")
    found = tuple(
        Section("", entry.title, paragraphs(entry.sentences)) for entry in methods(result)
    )
    return Section("method", "Method", found or (nothing,), answers=answers)


def _selftest(result: AuditResult, answers: tuple[str, ...]) -> tuple[Section, ...]:
    if result.selftest is None:
        return ()
    found = selftest(result.selftest)
    warning = Prose(found.warning, "box failure", "The self-test failed.")
    return (
        Section(
            "selftest",
            SECTIONS["selftest"],
            parts(
                (warning,) if found.warning else (),
                Prose(
                    "Before the numbers of an audit are read, its own code is run on simulated "
                    f"activations, where the answers are known: {found.counts}. Brackets hold the "
                    "95 % Monte-Carlo interval over the simulations. OK: it lies within what is "
                    "tolerated; NOT OK: it lies beyond, for all conditions of a row or for one; "
                    "UNDECIDED: there were too few simulations to say."
                ),
                Facts(found.facts),
                Tabled(found.table),
                Prose(
                    "Rows that rest on the same simulations have their time counted at the first "
                    "of them. Simulated units are Gaussian; activations of real images are not, "
                    "so that an interval that covers here may cover a little less there.",
                    "note of-table",
                ),
            ),
            answers=answers,
        ),
    )


def _asked(result: AuditResult, answers: tuple[str, ...]) -> Section:
    found = asked(result)
    without = (
        f"NOT PROVIDED: which version was read, and of which date, of {found.without_version}."
    )
    return Section(
        "asked",
        "What laws and standards ask",
        (
            Prose(
                "The table helps to find what a law, standard or practice asks for. It puts that "
                "in our words and quotes nothing. Whether a text applies to a system, and whether "
                "what it asks is met, is for the reader to decide."
            ),
            Tabled(found.table),
            Section(
                "versions",
                "Versions of these texts",
                parts(maybe(found.texts), (Prose(without),) if found.without_version else ()),
            ),
            Section(
                "law",
                "Faces, race and law",
                (
                    Prose(
                        "Article 5(1)(g) of the EU AI Act forbids systems that sort individual "
                        "people by their faces or other biometric data to infer their race, "
                        "political opinions, beliefs, sex life or sexual orientation; labelling "
                        "or filtering of lawfully acquired biometric data is treated apart. "
                        "Therefore this tool gives no value about a single person, and no probe "
                        "leaves it. What it measures must not be used to build such a system. "
                        "Categories of race are made by people and differ between datasets."
                    ),
                ),
            ),
            Section(
                "privacy",
                "Privacy",
                (
                    Prose(
                        "The report and the files beside it hold aggregates over groups of "
                        "images: no face, no prediction about one person, no activation of one "
                        "image. Groups of few images are marked, and their values are withheld "
                        "below a stated size."
                    ),
                ),
            ),
        ),
        answers=answers,
    )


def _provenance(result: AuditResult, answers: tuple[str, ...]) -> Section:
    found = provenance(result)
    n_lines = len(found.config.splitlines())
    signature = Form(
        "Signature, for those who print this page; the PDF has it behind its cover",
        (("Responsible person, signature, date", ""),),
    )
    return Section(
        "provenance",
        "Provenance",
        parts(
            Prose(
                "With these, the same faces and the same weights a second person can repeat the "
                "audit. Results are aggregates over groups of images, and no face is shown. The "
                "only single images named are those of the exclusion ledger, by file name."
            ),
            Only(
                "paper", (Prose(f"The config is in the embedded audit.json, in {n_lines} lines."),)
            ),
            Facts(found.facts),
            Section("digests", "Digests", (Facts(found.digests),)),
            (Section("cost", "Cost", (Tabled(found.cost),)),) if found.cost else (),
            Only(
                "screen",
                (
                    Section("config", "Config", (Code(found.config, "config"),)),
                    Section("sign", "For a person to complete", (signature,)),
                ),
            ),
        ),
        answers=answers,
    )
