"""What was done and tested, what does not follow from it, and what was not looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from bias_audit.durations import duration, written_date
from bias_audit.report.page import (
    Fact,
    Facts,
    Fold,
    Prose,
    Section,
    Tabled,
    bullets,
    number_columns,
    paragraphs,
    parts,
    text_columns,
)
from bias_audit.report.references import SECTIONS
from bias_audit.report.sections.sources import several_answers
from bias_audit.report.sections.verdicts import tally
from bias_audit.results.audit import AnalysisResult, AuditResult
from bias_audit.results.selftest import Outcome, Scale, SelfTest, SelfTestPart, SelfTestRow
from bias_audit.shapes.printed import count, counted, decimal, percent_interval
from bias_audit.shapes.tables import Table
from bias_audit.statistics.estimate import Estimate

_CLAIMS: Final = (
    (
        "Encoding is not use.",
        "The report shows what can be read from the activations of a backbone. It does not show "
        "that any decision uses it.",
    ),
    (
        "Use is not harm.",
        "Whether a system built on this backbone harms anyone depends on its task, its data and "
        "its use. None of these was examined.",
    ),
    (
        "Labels are annotations.",
        Markup(
            "An attribute of a face is what its source recorded; how that came about is under "
            '<a href="#data">Data</a>. It need not agree with how the people shown describe '
            "themselves. Categories differ between datasets, and numbers from different datasets "
            "cannot be compared level by level."
        ),
    ),
    (
        "“Not shown” is not “not there”.",
        "An interval that includes chance leaves the question open. A probe that is not linear "
        "might read more.",
    ),
    (
        "Estimates are uncertain.",
        "Each comes with an interval, and the number of images it rests on is given. Maps, heat "
        "maps and what is expected by chance have no interval. Numbers from few images are weak "
        "evidence in either direction.",
    ),
    (
        "No judgement about people.",
        "Results are aggregates over groups of images. They must not be used to categorise a "
        "person.",
    ),
    (
        "Not a legal assessment.",
        "Nothing here certifies a system or says whether a legal duty is met.",
    ),
)
"""Each with the words that it begins with."""
_NEVER_MEASURED: Final = (
    (
        "Selection rates:",
        "how often a system chooses people of each group. So this is no bias audit as New York "
        "City Local Law 144 asks for.",
    ),
    (
        "Match rates:",
        "how often two images are taken for one person. So nothing follows about conformity with "
        "ISO/IEC 19795-10.",
    ),
    (
        "Errors and harms of a system",
        "built on the backbone, and what its users do with its output.",
    ),
    ("Other images:", "other cameras, places and people than those of the dataset."),
)
QUESTIONS: Final = {
    "linear_probe": "at which layers an attribute can be read, compared with baselines",
    "confusions": "which groups are mistaken for which others",
    "intersections": "how well groups of several attributes can be recognised",
    "topomap": "in which units of a layer two groups differ",
    "group_geometry": "how far groups lie from each other",
    "group_clusters": "which groups lie together, and by which attribute",
    "erasure": "whether the backbone's own decisions use what is encoded",
}
"""By kind of analysis: what stays open without it."""
_OUTSIDE = (
    "Not among these tests: criteria, which have levels of their own; adjusted p-values of tables "
    "that only point at groups to look into; and intervals that a sentence gives each by itself. "
    "A family was tested only if the one before it had a significant result; otherwise it makes "
    "no claim."
)


@dataclass(frozen=True)
class Sentences:
    """Sentences of one analysis; those that hold for one backbone alone name it."""

    title: str
    sentences: tuple[str, ...]


def method(result: AuditResult, answers: tuple[str, ...]) -> Section:
    """How often the audit may be wrong, then what each analysis did."""
    nothing = Prose("No analysis could be computed, so there is nothing to describe.")
    rate = error_rate(result)
    told = Sentences("Error rate of the whole audit", (rate, _families(result), _OUTSIDE))
    overlapping = [each.name for each in result.data.attributes if each.several]
    several = Sentences("Faces with several answers", (several_answers(overlapping),))
    entries = (
        *([told] if rate else []),
        *([several] if overlapping else []),
        *_collected(result, lambda analysis: analysis.method),
    )
    found = tuple(Fold(each.title, paragraphs(each.sentences)) for each in entries)
    return Section("method", "Method", found or (nothing,), answers=answers)


def error_rate(result: AuditResult) -> str:
    """Families of tests and the errors to expect of all together.

    Empty where no finding rests on a test, and for results of older releases.
    """
    n = result.families
    if not n:
        return ""
    plan = result.config["multiplicity"]
    alpha, families = plan["alpha"], "family" if n == 1 else "families"
    if plan["scope"] == "audit":
        return (
            f"This audit has {n} {families} of tests with an error rate of {100 * alpha:.3g} % "
            f"together ({100 * alpha / n:.2g} % each): the chance of any false claim in the "
            f"whole audit is at most {100 * alpha:.3g} %."
        )
    return (
        f"This audit has {n} {families} of tests with an error rate of {100 * alpha:.3g} % each: "
        f"if nothing were encoded at all, false claims would be expected in at most "
        f"{n * alpha:.2g} of them over the whole audit."
    )


def _families(result: AuditResult) -> str:
    """How many families each analysis has, on what."""
    parts = [
        f"{name}: {', '.join(f'“{a.title}” {a.families}' for a in analyses if a.families)}"
        for name, analyses in result.analysed
        if any(analysis.families for analysis in analyses)
    ]
    return f"Families of tests by analysis. {'; '.join(parts)}."


def claims(result: AuditResult, answers: tuple[str, ...]) -> tuple[Section, ...]:
    """What the report can and cannot say, what was not measured; then limits."""
    attributes = ", ".join(attribute.name for attribute in result.data.attributes)
    strong = Markup("<strong>{}</strong> {}")
    others = strong.format("Other attributes:", f"only these are annotated: {attributes}.")
    missing = [strong.format(name, text) for name, text in _NEVER_MEASURED]
    missing.insert(3, others)
    missing += [strong.format("In this audit:", f"{gap}.") for gap in not_measured(result)]
    bounds = tuple(Fold(each.title, bullets(each.sentences)) for each in limits(result))
    said = Section(
        "claims",
        SECTIONS["claims"],
        parts(
            bullets([strong.format(name, text) for name, text in _CLAIMS]),
            Section("gaps", "What was not measured", bullets(missing)),
        ),
        answers=answers,
    )
    return (said, Section("limits", "Limits of the analyses", bounds)) if bounds else (said,)


def limits(result: AuditResult) -> tuple[Sentences, ...]:
    """What each analysis cannot show."""
    return _collected(result, lambda analysis: analysis.limits)


def not_measured(result: AuditResult) -> Iterator[str]:
    """Questions that no analysis of this audit examined, or that could not be answered."""
    for kind, question in QUESTIONS.items():
        outcomes = {
            subject.backbone.name: {a.status for a in subject.analyses if a.kind == kind}
            for subject in result.subjects
        }
        if not any(outcomes.values()):
            yield f"{question} (no such analysis was run)"
            continue
        without = [name for name, found in outcomes.items() if "done" not in found]
        if without:
            yield f"{question} (not computed on {', '.join(without)})"


def _collected(
    result: AuditResult, pick: Callable[[AnalysisResult], tuple[str, ...]]
) -> tuple[Sentences, ...]:
    """By analysis; a sentence that not all backbones share names those that it is about."""
    by_title: dict[str, dict[str, list[str]]] = {}
    having: dict[str, set[str]] = {}
    for name, analyses in result.analysed:
        for analysis in analyses:
            having.setdefault(analysis.title, set()).add(name)
            sentences = by_title.setdefault(analysis.title, {})
            for sentence in pick(analysis):
                sentences.setdefault(sentence, []).append(name)
    return tuple(
        Sentences(title, tuple(_told(s, names, having[title]) for s, names in sentences.items()))
        for title, sentences in by_title.items()
        if sentences
    )


def _told(sentence: str, names: list[str], everyone: set[str]) -> str:
    if set(names) == everyone:
        return sentence
    return f"{', '.join(dict.fromkeys(names))}: {sentence}"


SHAPES: Final[dict[Outcome, str]] = {
    "OK": "\N{BLACK CIRCLE}",
    "NOT OK": "\N{BLACK SQUARE}",
    "UNDECIDED": "\N{WHITE DIAMOND}",
}
_DIGITS: Final = 4


@dataclass(frozen=True)
class SelfTestView:
    """All checks, ready to print."""

    counts: str
    """Such as "20 OK, 3 UNDECIDED"."""
    warning: str
    """What is NOT OK; empty where nothing is."""
    facts: tuple[Fact, ...]
    table: Table


def selftest(found: SelfTest) -> SelfTestView:
    """Turn a self-test into rows and strings."""
    outcomes = [row.outcome for row in found.rows]
    rows = tuple(map(_row, found.rows))
    return SelfTestView(
        counts=tally(outcomes, SHAPES),
        warning=_warning(found.not_ok),
        facts=(
            Fact("Version", (f"{found.mode}, seed {found.seed}",)),
            Fact("Made", (f"{written_date(found.date)}, in {duration(found.seconds)}",)),
            Fact("With", ("; ".join(" ".join(entry) for entry in found.versions.items()),)),
            Fact("Code of statistics and analyses", (found.code,), is_code=True),
        ),
        table=Table(
            caption=f"Self-test, {found.mode} version",
            columns=(
                *text_columns("check", "simulated", "expected", "found"),
                *number_columns("trials", "seconds"),
                *text_columns("outcome"),
            ),
            rows=rows,
            excerpt=tuple(
                row for row, outcome in zip(rows, outcomes, strict=True) if outcome != "UNDECIDED"
            ),
            excerpt_note="The checks that are decided.",
        ),
    )


def _warning(rows: tuple[SelfTestRow, ...]) -> str:
    if not rows:
        return ""
    listed = "; ".join(
        f"{row.check} ({row.condition}): {_number(row.estimate, row.scale)}, "
        f"expected {row.expected}"
        for row in rows
    )
    failed = counted(len(rows), "check")
    return f"Numbers of this audit that rest on what failed cannot be trusted. {failed}: {listed}."


def _row(row: SelfTestRow) -> tuple[str, ...]:
    parts = "".join(f"\n{_part(part, row.scale)}" for part in row.parts)
    return (
        row.check,
        row.condition,
        row.expected,
        f"{_number(row.estimate, row.scale)}{parts}",
        count(row.trials),
        decimal(row.seconds, 1),
        f"{SHAPES[row.outcome]} {row.outcome}",
    )


def _part(part: SelfTestPart, scale: Scale) -> str:
    return f"{part.name}: {_number(part.estimate, scale)}"


def _number(estimate: Estimate, scale: Scale) -> str:
    if scale == "share":
        return percent_interval(estimate)
    if estimate.lower == estimate.upper:
        return decimal(estimate.value, _DIGITS)
    value, lower, upper = (
        decimal(number, _DIGITS) for number in (estimate.value, estimate.lower, estimate.upper)
    )
    return f"{value} [{lower}, {upper}]"


def selftest_section(found: SelfTest, answers: tuple[str, ...]) -> Section:
    """Print it, first what is not OK."""
    shown = selftest(found)
    return Section(
        "selftest",
        "Self-test",
        parts(
            failed_box(shown.warning),
            Prose(
                "Before it measures, the audit runs its own code on simulated activations, for "
                f"which the right answers are known: {shown.counts}. Simulated units are "
                "Gaussian; activations of real images are not, so an interval that covers the "
                "truth here may cover it slightly less often there."
            ),
            Tabled(shown.table, is_folded=True),
            Prose(
                "[ ] = 95 % interval over the simulations. OK: it lies within the tolerance. NOT "
                "OK: it lies outside, under one condition or under all. UNDECIDED: there were too "
                "few simulations. Rows that share simulations count their time once.",
                "note of-table",
            ),
            Facts(shown.facts),
        ),
        answers=answers,
    )


def failed_box(warning: str) -> tuple[Prose, ...]:
    """A box around what is not OK; none where nothing is."""
    return (Prose(warning, "box failure", "The self-test failed."),) if warning else ()
