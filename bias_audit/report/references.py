"""What laws, standards and practice ask of an audit report, and where this one answers.

The one table behind the label of every section and the map at the report's end. What is asked is
put in our words, not quoted; which version of a text somebody read is for the config to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Text:
    """A law, standard or practice that the report refers to."""

    name: str
    aliases: tuple[str, ...] = ()
    """Other names under which a config may give its version."""


AI_ACT: Final = Text("EU AI Act", ("AI Act", "Regulation (EU) 2024/1689"))
GDPR: Final = Text("GDPR", ("Regulation (EU) 2016/679", "General Data Protection Regulation"))
RMF: Final = Text("NIST AI RMF", ("NIST AI RMF 1.0", "AI RMF", "NIST AI 100-1"))
TR_24027: Final = Text("ISO/IEC TR 24027", ("ISO/IEC TR 24027:2021",))
TS_12791: Final = Text("ISO/IEC TS 12791", ("ISO/IEC TS 12791:2024",))
ISO_19795: Final = Text("ISO/IEC 19795-10", ("ISO/IEC 19795-10:2024",))
IEEE_7003: Final = Text("IEEE 7003", ("IEEE 7003-2024",))
EN_18283: Final = Text("prEN 18283", ("EN 18283",))
MODEL_CARD: Final = Text("Model card", ("Model cards", "Model Cards for Model Reporting"))
DATASHEET: Final = Text("Datasheet", ("Datasheets", "Datasheets for Datasets"))
LAW_144: Final = Text("New York City Local Law 144", ("Local Law 144", "NYC Local Law 144"))

TEXTS: Final = (
    AI_ACT,
    GDPR,
    RMF,
    TR_24027,
    TS_12791,
    ISO_19795,
    IEEE_7003,
    EN_18283,
    MODEL_CARD,
    DATASHEET,
    LAW_144,
)

SECTIONS: Final = {
    "cover": "Cover",
    "summary": "Summary",
    "purpose": "Purpose and bias scenarios",
    "claims": "What this report can and cannot say",
    "data": "Data",
    "backbone": "Backbone",
    "method": "Method",
    "selftest": "Self-test",
    "asked": "What laws and standards ask",
    "glossary": "Glossary",
    "provenance": "Provenance",
}
"""By key; the heading each has."""


@dataclass(frozen=True)
class Asked:
    """Something that texts ask for."""

    what: str
    """In our words."""
    by: tuple[tuple[Text, str], ...]
    """The texts, each with the place in it ("" for all of it)."""
    sections: tuple[str, ...] = ()
    """Keys of the sections that answer; none where the report does not."""
    analyses: tuple[str, ...] = ()
    """Kinds of which at least one must have been done; empty: every report answers."""
    declared: tuple[str, ...] = ()
    """Fields of the config's declarations that only a person can give."""
    by_hand: str = ""
    """What a person adds on paper."""
    never: str = ""
    """Why this tool does not answer at all."""

    @property
    def references(self) -> tuple[str, ...]:
        """Such as ("EU AI Act Article 10(2)(f)", "ISO/IEC TR 24027")."""
        return tuple(f"{text.name} {place}".rstrip() for text, place in self.by)


ASKED: Final = (
    Asked(
        "Which system was examined, when, with what, and who answers for it",
        ((AI_ACT, "Annex IV 1"), (MODEL_CARD, "model details")),
        ("cover",),
        declared=("responsible_person", "organisation"),
    ),
    Asked(
        "Results held against margins chosen beforehand, with what stays undecided, and the "
        "decision taken on them",
        ((AI_ACT, "Annex IV 2(g)"), (RMF, "MEASURE 2.11"), (MODEL_CARD, "quantitative analyses")),
        ("summary",),
        declared=("acceptance_decision",),
    ),
    Asked(
        "What the system is for, on whom it is used, and who could be harmed and how",
        (
            (AI_ACT, "Annex IV 1(a)"),
            (RMF, "MAP 1.1"),
            (IEEE_7003, ""),
            (EN_18283, ""),
            (TR_24027, ""),
            (MODEL_CARD, "intended use"),
        ),
        ("purpose",),
        declared=("purpose", "intended_use", "downstream_task", "scenarios"),
    ),
    Asked(
        "Measures against bias that was found, and the risk that remains",
        ((AI_ACT, "Article 9"), (AI_ACT, "Article 10(2)(g)"), (TS_12791, "")),
        ("purpose",),
        declared=("mitigation", "residual_risk"),
    ),
    Asked(
        "What was not or cannot be measured, and the limits of what was",
        ((RMF, "MEASURE 1.1"), (MODEL_CARD, "caveats")),
        ("claims",),
    ),
    Asked(
        "Where the images and labels come from, whom they show, gaps, exclusions and small groups",
        (
            (AI_ACT, "Article 10(2)(b) to (g)"),
            (AI_ACT, "Article 10(3)"),
            (DATASHEET, "composition, collection, labelling"),
        ),
        ("data",),
        declared=("data_collection",),
    ),
    Asked(
        "What the model is: architecture, weights, input, and what it was trained on",
        ((AI_ACT, "Annex IV 2(a) to (c)"), (MODEL_CARD, "model details, training data")),
        ("backbone",),
        declared=("pretraining_data",),
    ),
    Asked(
        "Examination for possible bias: what is encoded about each attribute",
        ((AI_ACT, "Article 10(2)(f)"), (RMF, "MEASURE 2.11"), (TR_24027, "")),
        ("backbone",),
        analyses=("linear_probe",),
    ),
    Asked(
        "The same for intersections of attributes",
        ((AI_ACT, "Article 10(2)(f)"), (MODEL_CARD, "intersectional results")),
        ("backbone",),
        analyses=("intersections", "confusions"),
    ),
    Asked(
        "Whether the model's own decisions use what is encoded",
        ((AI_ACT, "Article 15"), (RMF, "MEASURE 2.11")),
        ("backbone",),
        analyses=("erasure",),
    ),
    Asked(
        "How it was tested: plan, data splits, controls, margins, many tests, seeds",
        ((AI_ACT, "Annex IV 2(g)"), (RMF, "MEASURE 2.1")),
        ("method",),
    ),
    Asked("Whether the measuring itself works", ((RMF, "MEASURE 2.13"),), ("selftest",)),
    Asked(
        "Protection of the people shown",
        ((GDPR, "Article 9"), (GDPR, "Article 35")),
        ("asked",),
        declared=("legal_basis", "impact_assessment"),
    ),
    Asked(
        "No sorting of individual people by race from their faces",
        ((AI_ACT, "Article 5(1)(g)"),),
        ("asked",),
    ),
    Asked(
        "Test reports dated and signed by the responsible persons",
        ((AI_ACT, "Annex IV 2(g)"),),
        ("cover", "provenance"),
        by_hand="signature and date",
    ),
    Asked(
        "What changed since the last examination",
        ((AI_ACT, "Article 11"),),
        never="no earlier audit is compared",
    ),
    Asked(
        "Rates at which people of each group are selected",
        ((LAW_144, ""),),
        ("claims",),
        never="no selection rates",
    ),
    Asked(
        "Rates at which faces of each group are matched",
        ((ISO_19795, ""),),
        ("claims",),
        never="no match rates",
    ),
)


def labels() -> dict[str, tuple[str, ...]]:
    """What each section answers, by its key; empty for sections that no text asks for."""
    found: dict[str, dict[str, None]] = {key: {} for key in SECTIONS}
    for asked in ASKED:
        if not asked.never:
            for key in asked.sections:
                found[key] |= dict.fromkeys(asked.references)
    return {key: tuple(references) for key, references in found.items()}
