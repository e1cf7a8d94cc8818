"""Names of months in the languages that spreadsheets write dates in."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("months.txt")
"""One line for a form of a language, January first; what follows | may be left out, or cut short:
English, German (and Austrian), French, Spanish, Italian, Portuguese, Dutch, Swedish, Danish and
Norwegian, Polish, Turkish, Russian, Ukrainian, Czech, Finnish, Hungarian, Romanian, Greek,
Indonesian, and Roman numerals. Source: Unicode CLDR."""
_PLAIN = str.maketrans({"\u0131": "i", "\u0142": "l", "\u00df": "ss", "\u03c2": "\u03c3"})
"""Letters without an accent to take off."""


@cache
def months_of(word: str) -> frozenset[int]:
    """The months that a word may name, 1 to 12: none, one, or more where languages differ.

    Case, accents and a trailing dot make no difference. A whole name comes before a short one:
    "červen" is June, though "červenec" (July) begins with it.
    """
    plain = _plain(word).rstrip(".")
    whole = {month for month, stem, name in _forms() if plain == name}
    short = {m for m, stem, name in _forms() if plain.startswith(stem) and name.startswith(plain)}
    return frozenset(whole or short)


@cache
def _forms() -> tuple[tuple[int, str, str], ...]:
    """Month, shortest form and whole name, without accents."""
    return tuple(
        dict.fromkeys(
            (month, _plain(name.partition("|")[0]), _plain(name.replace("|", "")))
            for line in _FILE.read_text(encoding="utf-8").splitlines()
            for month, name in enumerate(line.split(), start=1)
        )
    )


def _plain(word: str) -> str:
    letters = unicodedata.normalize("NFKD", word.casefold())
    kept = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return kept.translate(_PLAIN)
