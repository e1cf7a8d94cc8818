"""Which laws, standards and practice each section of an audit report is relevant to.

The one table behind the label of every section and the cross-reference at the report's end. A
requirement is put in our words, not quoted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

READ_ON: Final = date(2026, 11, 30)
"""When the cross-reference, and every text that it rests on, was last read."""
READ: Final = f"{READ_ON.day} {READ_ON:%B %Y}"


@dataclass(frozen=True)
class Text:
    """A law, standard or practice that the report refers to."""

    name: str
    version: str
    """That the cross-reference rests on."""
    source: str
    """Where its wording was read or, failing that, what was read about it."""
    aliases: tuple[str, ...] = ()
    """Other names under which a config may give its version."""
    is_wording: bool = False
    """Whether the wording of every place named here was read."""

    @property
    def checked(self) -> str:
        """Whether its wording was checked, and where."""
        if self.is_wording:
            return f"read at {self.source}"
        return f"not checked against the text, only {self.source}"


AI_ACT: Final = Text(
    "EU AI Act",
    "Regulation (EU) 2024/1689 as amended by Regulation (EU) 2026/1744",
    "github.com/CommonAccord/Cmacc-Org (Artificial_Intelligence_Act/2026-Amended.md)",
    ("AI Act", "Regulation (EU) 2024/1689"),
    is_wording=True,
)
GDPR: Final = Text(
    "GDPR",
    "Regulation (EU) 2016/679",
    "github.com/aptible/www.aptible.com (source/gdpr/articles)",
    ("Regulation (EU) 2016/679", "General Data Protection Regulation"),
    is_wording=True,
)
RMF: Final = Text(
    "NIST AI RMF",
    "NIST AI 100-1, version 1.0",
    "github.com/intuitem/ciso-assistant-community (nist-ai-rmf-1.0.yaml)",
    ("NIST AI RMF 1.0", "AI RMF", "NIST AI 100-1"),
    is_wording=True,
)
TR_24027: Final = Text(
    "ISO/IEC TR 24027:2021", "published", "its scope at theiteh.com", ("ISO/IEC TR 24027",)
)
TS_12791: Final = Text(
    "ISO/IEC TS 12791:2024", "published", "its scope at din.de", ("ISO/IEC TS 12791",)
)
TS_42119: Final = Text(
    "ISO/IEC TS 42119-2:2025", "published", "its scope at theiteh.com", ("ISO/IEC TS 42119-2",)
)
ISO_42005: Final = Text(
    "ISO/IEC 42005:2025",
    "published",
    "its table of contents at store.standards.org.au",
    ("ISO/IEC 42005",),
)
ISO_19795: Final = Text(
    "ISO/IEC 19795-10:2024", "published", "its scope at webstore.iec.ch", ("ISO/IEC 19795-10",)
)
IEEE_7003: Final = Text(
    "IEEE 7003-2024", "published", "an account of its clauses at lab.rivas.ai", ("IEEE 7003",)
)
EN_18283: Final = Text("prEN 18283", "draft", "its scope at iss.rs", ("EN 18283",))
MODEL_CARD: Final = Text(
    "Model card",
    "Mitchell and others, 2019",
    "its headings at github.com/sul-dlss-labs/spoc (model_card.md)",
    ("Model cards", "Model Cards for Model Reporting"),
)
DATASHEET: Final = Text(
    "Datasheet",
    "Gebru and others, version 7 of the paper",
    "its questions at github.com/fau-masters-collected-works-cgarbin "
    "(datasheet-for-dataset-template.md)",
    ("Datasheets", "Datasheets for Datasets"),
)
COLORADO: Final = Text(
    "Colorado SB 26-189",
    "signed on 14 May 2026, in effect from 1 January 2027; it replaces SB 24-205",
    "summaries at coag.gov and everyailaw.com",
    ("SB 26-189",),
)
LAW_144: Final = Text(
    "New York City Local Law 144",
    "of 2021, with the rules of April 2023",
    "summaries at bsk.com and proceptual.com",
    ("Local Law 144", "NYC Local Law 144"),
)

SECTIONS: Final = {
    "cover": "Page one",
    "criteria": "Were the thresholds met?",
    "data": "Data",
    "encoded": "What can be read from the network?",
    "groups": "For whom? Groups compared",
    "maps": "What do groups look like inside the network?",
    "used": "Does the network use it?",
    "where": "Where does the network look?",
    "training": "What changes over training?",
    "together": "What do the backbones show together?",
    "published": "Published claims",
    "claims": "What may be concluded, and what not?",
    "purpose": "Purpose and bias scenarios",
    "backbones": "Backbone",
    "method": "Method",
    "selftest": "Self-test",
    "regulatory": "Regulatory cross-reference",
    "glossary": "Glossary",
    "provenance": "Provenance",
}
"""By key; the heading each has."""


@dataclass(frozen=True)
class Requirement:
    """Something that texts require."""

    what: str
    """In our words."""
    by: tuple[tuple[Text, str], ...]
    """The texts, each with the place in the text ("": the whole text)."""
    sections: tuple[str, ...] = ()
    """Keys of the sections that are relevant to it."""
    analyses: tuple[str, ...] = ()
    """Kinds of which at least one must have been done; empty: every report has the information."""
    declared: tuple[str, ...] = ()
    """Fields of the config's declarations that only a person can give."""
    by_hand: str = ""
    """What a person adds on paper."""
    elsewhere: str = ""
    """What, outside the report, compares this audit with others."""
    not_measured: str = ""
    """Why this tool has nothing about it at all."""

    @property
    def references(self) -> tuple[str, ...]:
        """Such as ("EU AI Act Article 10(2)(f)", "ISO/IEC TR 24027:2021")."""
        return tuple(f"{text.name} {place}".rstrip() for text, place in self.by)


REQUIREMENTS: Final = (
    Requirement(
        "Which system was examined, when, with what, and who answers for it",
        ((AI_ACT, "Annex IV 1"), (MODEL_CARD, "model details")),
        ("cover",),
        declared=("responsible_person", "organisation"),
    ),
    Requirement(
        "Results compared with thresholds chosen beforehand, open questions, and the decision "
        "taken on them",
        (
            (AI_ACT, "Article 9(8)"),
            (AI_ACT, "Annex IV 2(g)"),
            (RMF, "MEASURE 2.11"),
            (MODEL_CARD, "quantitative analyses"),
        ),
        ("criteria",),
        declared=("acceptance_decision",),
    ),
    Requirement(
        "What the system is for, on whom it is used, and who could be harmed and how",
        (
            (AI_ACT, "Annex IV 1(a)"),
            (RMF, "MAP 1.1"),
            (IEEE_7003, ""),
            (EN_18283, ""),
            (TR_24027, ""),
            (MODEL_CARD, "intended use"),
            (COLORADO, "6-1-1702(1)"),
        ),
        ("purpose",),
        declared=("purpose", "intended_use", "downstream_task", "scenarios"),
    ),
    Requirement(
        "Impact on people, and who was consulted",
        ((AI_ACT, "Article 27"), (GDPR, "Article 35"), (ISO_42005, ""), (IEEE_7003, "clause 6")),
        ("purpose",),
        declared=("impact_assessment", "stakeholders"),
    ),
    Requirement(
        "Measures against bias that was found, and the risk that remains",
        ((AI_ACT, "Article 9"), (AI_ACT, "Article 10(2)(g)"), (TS_12791, "")),
        ("purpose",),
        declared=("mitigation", "residual_risk"),
    ),
    Requirement(
        "What was not or cannot be measured, and the limits of what was",
        (
            (AI_ACT, "Article 13(3)(b)"),
            (AI_ACT, "Annex IV 3"),
            (RMF, "MEASURE 1.1"),
            (MODEL_CARD, "caveats"),
            (COLORADO, "6-1-1702(1)"),
        ),
        ("claims",),
    ),
    Requirement(
        "Where the images and labels come from, whom they show, gaps, exclusions and small groups",
        (
            (AI_ACT, "Article 10(2)(b) to (e)"),
            (AI_ACT, "Article 10(2)(h)"),
            (AI_ACT, "Article 10(3)"),
            (DATASHEET, "composition, collection, labelling"),
        ),
        ("data",),
        declared=("data_collection",),
    ),
    Requirement(
        "What the model is: architecture, weights, input, and what it was trained on",
        (
            (AI_ACT, "Annex IV 2(a) to (d)"),
            (MODEL_CARD, "model details, training data"),
            (COLORADO, "6-1-1702(1)"),
        ),
        ("backbones",),
        declared=("pretraining_data",),
    ),
    Requirement(
        "Examination for possible bias: what is encoded about each attribute",
        (
            (AI_ACT, "Article 10(2)(f)"),
            (AI_ACT, "Annex IV 2(g)"),
            (RMF, "MEASURE 2.11"),
            (TR_24027, ""),
        ),
        ("encoded",),
        analyses=("linear_probe",),
    ),
    Requirement(
        "The same for single groups and for intersections of attributes",
        (
            (AI_ACT, "Article 10(2)(f)"),
            (AI_ACT, "Article 13(3)(b)"),
            (AI_ACT, "Annex IV 3"),
            (MODEL_CARD, "intersectional results"),
        ),
        ("groups",),
        analyses=("intersections", "confusions"),
    ),
    Requirement(
        "Whether the model's own decisions use what is encoded",
        ((AI_ACT, "Annex IV 3"), (RMF, "MEASURE 2.9"), (RMF, "MEASURE 2.11")),
        ("used",),
        analyses=("erasure",),
    ),
    Requirement(
        "How it was tested: plan, data splits, baselines, margins, many tests, seeds",
        ((AI_ACT, "Annex IV 2(g)"), (RMF, "MEASURE 2.1"), (TS_42119, "")),
        ("method",),
    ),
    Requirement("Whether the measuring itself works", ((RMF, "MEASURE 2.13"),), ("selftest",)),
    Requirement(
        "Protection of the people shown, and why sensitive data is needed",
        ((AI_ACT, "Article 4a (before 27 July 2026: 10(5))"), (GDPR, "Article 9")),
        ("purpose", "regulatory"),
        declared=(
            "legal_basis",
            "consent",
            "sensitive_data_necessity",
            "sensitive_data_retention",
        ),
    ),
    Requirement(
        "No sorting of individual people by race from their faces",
        ((AI_ACT, "Article 5(1)(g)"),),
        ("regulatory",),
    ),
    Requirement(
        "Test reports dated and signed by the responsible persons",
        ((AI_ACT, "Annex IV 2(g)"),),
        ("cover", "provenance"),
        by_hand="signature and date",
    ),
    Requirement(
        "What changed since the last examination, and when the next one is due",
        (
            (AI_ACT, "Article 11(1)"),
            (AI_ACT, "Article 72"),
            (AI_ACT, "Annex IV 6"),
            (COLORADO, "6-1-1702(2)"),
        ),
        ("purpose", "maps"),
        declared=("document_version", "change_log", "next_review"),
        elsewhere="outside this report: bias-audit diff, the reports of bias-audit zoo",
    ),
    Requirement(
        "Rates at which people of each group are selected",
        ((LAW_144, ""),),
        ("claims",),
        not_measured="no selection rates",
    ),
    Requirement(
        "Rates at which faces of each group are matched",
        ((ISO_19795, ""),),
        ("claims",),
        not_measured="no match rates",
    ),
)

TEXTS: Final = tuple(dict.fromkeys(text for entry in REQUIREMENTS for text, _ in entry.by))


def labels() -> dict[str, tuple[str, ...]]:
    """What each section is relevant to, by its key; empty for sections that no text names."""
    found: dict[str, dict[str, None]] = {key: {} for key in SECTIONS}
    for requirement in REQUIREMENTS:
        if not requirement.not_measured:
            for key in requirement.sections:
                found[key] |= dict.fromkeys(requirement.references)
    return {key: tuple(references) for key, references in found.items()}
