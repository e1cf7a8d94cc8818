"""Words that a report must not use as its own verdict: numbers do not give them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from bias_audit.results.audit import AnalysisResult, AuditResult

FORBIDDEN: Final = re.compile(
    r"""(?<![\w])(?:
        (?:un)?fair(?:ly|er|est|ness)?
        | (?:un|de)?bias(?:ed|edness) | bias[ -]free
        | (?:non-?)?complian(?:t|ce) | compl(?:y|ies|ied|ying)
        | prov(?:es?|ed|en|ing|ably) | (?:dis)?proofs? | disprov(?:es?|ed|en|ing)
    )(?![\w])""",
    flags=re.IGNORECASE | re.VERBOSE,
)
"""And their inflections."""


def overclaims(text: str, quoted: Iterable[str] = ()) -> tuple[str, ...]:
    """The forbidden words that a text uses, but not within names that others chose (`quoted`)."""
    for name in sorted(quoted, key=len, reverse=True):
        if name:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", " ", text)
    return tuple(FORBIDDEN.findall(text))


def refuse_overclaims(sentences: Iterable[str], quoted: Iterable[str]) -> None:
    """Stop sentences that claim more than numbers can show.

    Raises:
        ValueError: One of them uses a forbidden word as its own.
    """
    names = tuple(quoted)
    for sentence in sentences:
        words = overclaims(sentence, names)
        if words:
            raise ValueError(
                f"expected a sentence that claims no more than was measured, got {words[0]!r} in: "
                f"{sentence}"
            )


def refuse_overclaims_of(result: AuditResult) -> None:
    """Stop a result whose sentences claim more than numbers can show.

    Raises:
        ValueError: One of them uses a forbidden word as its own.
    """
    levels = [name for a in result.data.attributes for name in (a.name, *a.levels)]
    every: list[str] = []
    for subject in result.subjects:
        backbone = subject.backbone
        names = (backbone.name, *(layer.name for layer in backbone.layers))
        every += names
        _refuse(subject.analyses, (*levels, *names))
    _refuse(result.together, (*levels, *every))


def _refuse(analyses: Iterable[AnalysisResult], quoted: Iterable[str]) -> None:
    names = tuple(quoted)
    for analysis in analyses:
        findings = (finding.text for finding in analysis.findings)
        refuse_overclaims((*findings, *analysis.method, *analysis.limits), names)
