"""Texts of foreign files: how they are compared, and how a message shows them."""

from __future__ import annotations

import re
import unicodedata

_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
_TYPED = str.maketrans(dict.fromkeys(_DASHES, "-") | dict.fromkeys("\u2018\u2019\u02bc", "'"))
"""What office software writes for a hyphen and for an apostrophe."""
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u180b-\u180f\ufe00-\ufe0f]")
"""Letters and marks without any form of their own, beside Unicode's format characters."""
_BLANKS = " \t\r\n\v\f"
FREQUENT = 5
"""Rows from which on a value of a table is a class, and no person's own data."""


def without_invisible(text: str) -> str:
    """The text in Unicode's NFKD, without zero-width, format and control characters."""
    return "".join(
        character
        for character in _INVISIBLE.sub("", unicodedata.normalize("NFKD", text))
        if character.isspace() or unicodedata.category(character) not in {"Cc", "Cf"}
    )


def typed(text: str) -> str:
    """The text in NFKC, its dashes and apostrophes as typed, one blank between words."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(_TYPED).split())


def comparable(text: str) -> str:
    """The form in which labels, levels, column names, splits and paths are compared.

    Composed and decomposed letters, zero-width characters, no-break and other odd spaces,
    full-width forms, typographic dashes and apostrophes make no difference; case does.
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    return typed(without_invisible(text))


def trimmed(text: str) -> str:
    """The text without the blanks around it that a keyboard types; odd ones stay."""
    return text.strip(_BLANKS)


def one_line(text: str, limit: int = 80) -> str:
    """A foreign text for a message: one line, of limited length, without control characters."""
    plain = "".join(c if c.isprintable() else "\ufffd" for c in text[: limit + 1])
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def reference_of(path: str) -> str:
    """A path as a ledger names it: whole unless it can be no path."""
    return one_line(path, 1024)


WHOLE_NUMBER = re.compile(r"(-?[0-9]+)(?:\.0+|,0{1,2})")
"""What software makes of a whole number where a column has gaps; group 1 is the number."""
