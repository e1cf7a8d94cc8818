"""What was done, and what does not follow from it: sentences of the analyses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bias_audit.results.audit import AnalysisResult, AuditResult


@dataclass(frozen=True)
class Sentences:
    """Sentences of one analysis; those that hold for one backbone alone name it."""

    title: str
    sentences: tuple[str, ...]


def methods(result: AuditResult) -> tuple[Sentences, ...]:
    """How often the audit may be wrong, then what each analysis did."""
    rate = error_rate(result)
    told = (rate, _families(result), _OUTSIDE) if rate else ()
    found = (Sentences("Error rate of the whole audit", told),) if told else ()
    return (*found, *_collected(result, lambda analysis: analysis.method))


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


_OUTSIDE = (
    "Not among these tests: criteria, which have levels of their own; adjusted p-values of tables "
    "that only point at groups to look into; and intervals that a sentence gives each by itself. "
    "A family whose gate stayed closed made no claim."
)


def _families(result: AuditResult) -> str:
    """How many families each analysis has, on what."""
    parts = [
        f"{name}: {', '.join(f'“{a.title}” {a.families}' for a in analyses if a.families)}"
        for name, analyses in result.analysed
        if any(analysis.families for analysis in analyses)
    ]
    return f"Families of tests by analysis. {'; '.join(parts)}."


def limits(result: AuditResult) -> tuple[Sentences, ...]:
    """What each analysis cannot show."""
    return _collected(result, lambda analysis: analysis.limits)


def _collected(
    result: AuditResult, pick: Callable[[AnalysisResult], tuple[str, ...]]
) -> tuple[Sentences, ...]:
    """By analysis; a sentence that not all backbones share is told with their names."""
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
