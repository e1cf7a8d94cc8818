"""No text of the package or its documents has words that readers stumble over."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import pytest

from tests.words import Text, docstrings, documents, sentences, sources

BANNED: Final = {
    r"told": "reported, or: can be read from",
    r"tells?(?! (?:you|people|us))": "shows, names or distinguishes",
    r"held against": "compared with",
    r"hears|heard": "is notified",
    r"anew": "again",
    r"goes on|go on": "continues",
    r"dear(?:er|est)?": "expensive",
    r"gravest": "most serious",
    r"surest": "clearest",
    r"nobody": "no person, or: not supplied",
    r"at hand": "available",
    r"asked": "examined, requested or named",
    r"standing": "rank, state, or result",
    r"of it(?!s)": "name the thing",
}
"""Words that nothing may have, and what to say instead."""

PRINTED_ONLY: Final = {
    r"rejects|rejected": "differs significantly",
    r"holds": "has, contains, or: is significant",
    r"(?:is|are|stays?) undecided|undecided criteri(?:on|a)|[1-9]\d* undecided": "inconclusive",
    r"taken by itself": "not corrected for multiple comparisons",
    r"linearly decodable most": "easiest to read",
    r"from the store": "reused from cache",
    r"noticed on reading": "data-loading notes",
    r"the machine refused": "system error",
    r"input should be": "what was expected",
    r"(?<=, )as (?:it|they|there|the|this|no|each|every|all|its|their)": "because",
}
"""Words that text for people may not have; those who program read them in docstrings."""

ALLOWED: Final = {
    "`standing`": "the name of an event in logs, and of a column",
    "`rejected`": "a field of results, and a column",
    "Is a group told apart from all others?": "a seed, which no reader sees",
    "Within which groups is an attribute told apart?": "a seed, which no reader sees",
}
"""Part of a text that has such a word, and why it may."""
_CODE: Final = re.compile(r"\{[^{}]*\}")
"""Placeholders, which readers do not see."""


def _faults(texts: Iterable[Text], banned: dict[str, str]) -> list[str]:
    found = []
    for text in texts:
        words = _CODE.sub("{}", " ".join(text.text.split()))
        for allowed in ALLOWED:
            words = words.replace(allowed, "")
        for pattern, instead in banned.items():
            for match in re.finditer(rf"\b(?:{pattern})\b", words, re.IGNORECASE):
                found.append(f"{text.place}: {match.group()!r} (say: {instead})")
    return found


def _by_area(texts: Iterable[Text]) -> list[object]:
    areas: dict[str, list[Text]] = {}
    for text in texts:
        areas.setdefault(text.area, []).append(text)
    return [pytest.param(found, id=area) for area, found in sorted(areas.items())]


@pytest.mark.parametrize("texts", _by_area(text for path in sources() for text in sentences(path)))
def test_sentences_have_plain_words(texts: list[Text]) -> None:
    faults = _faults(texts, BANNED | PRINTED_ONLY)
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize(
    "texts", _by_area(text for path in sources() for text in docstrings(path))
)
def test_docstrings_have_plain_words(texts: list[Text]) -> None:
    faults = _faults(texts, BANNED)
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize("texts", _by_area(documents()))
def test_documents_have_plain_words(texts: list[Text]) -> None:
    faults = _faults(texts, BANNED | PRINTED_ONLY)
    assert not faults, "\n" + "\n".join(faults)
