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
    """What each analysis did."""
    return _collected(result, lambda analysis: analysis.method)


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
