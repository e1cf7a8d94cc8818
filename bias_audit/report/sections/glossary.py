"""The glossary: the terms that this report uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from bias_audit.report.elements import Fact, FigureView
from bias_audit.report.glossary import TERMS

_FIXED = (
    "activation annotated attribute backbone group interval layer level probe estimate chance "
    "fold seed SHA-256 weights n = unit"
)
"""Terms that the sentences of the templates use in every report."""


def glossary(*sections: object) -> tuple[Fact, ...]:
    """The terms that any text of these sections uses, each with its meaning.

    Args:
        sections: Views, as nested dataclasses, tuples and strings.
    """
    text = "\n".join((_FIXED, *(text for section in sections for text in texts(section))))
    return tuple(Fact(term.name, (term.meaning,)) for term in TERMS if term.occurs_in(text))


def texts(part: object) -> Iterator[str]:
    """Every text that a part of a view prints; of figures, the words alone."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, FigureView):
        yield from (part.alt, part.caption)
    elif isinstance(part, tuple | list):
        for each in part:
            yield from texts(each)
    elif is_dataclass(part):
        for field in fields(part):
            yield from texts(getattr(part, field.name))
