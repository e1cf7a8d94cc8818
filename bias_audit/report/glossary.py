"""The terms a report uses, in plain words."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Final

from bias_audit.report.figures.saving import FigureView
from bias_audit.report.page import Fact, template_folder


@dataclass(frozen=True)
class Term:
    """A word and what it means in these reports."""

    name: str
    meaning: str
    """One or two sentences without further terms that need explaining, where that can be."""
    forms: str = ""
    """A regular expression for how texts write it; default: the name and its plural."""

    def occurs_in(self, text: str) -> bool:
        """Whether a text uses the term."""
        forms = self.forms or rf"{re.escape(self.name)}s?"
        return re.search(rf"(?<!\w)(?:{forms})(?!\w)", text, flags=re.IGNORECASE) is not None


_ENTRY: Final = re.compile(
    r"^\*\*(?P<name>.+)\*\*(?: `(?P<forms>.+)`)?\n: (?P<meaning>.+(?:\n  .+)*)$", re.MULTILINE
)


@functools.cache
def terms() -> tuple[Term, ...]:
    """All that `templates/glossary.md` explains, in the order in which a reader looks them up."""
    text = (template_folder() / "glossary.md").read_text(encoding="utf-8")
    return tuple(
        Term(found["name"], " ".join(found["meaning"].split()), found["forms"] or "")
        for found in _ENTRY.finditer(text)
    )


_FIXED = (
    "activation annotated attribute backbone group interval layer level probe estimate chance "
    "fold seed SHA-256 weights n = unit"
)
"""Terms that the sentences of the templates use in every report."""


def glossary(*sections: object) -> tuple[Fact, ...]:
    """The terms that any text of these sections uses, each with its meaning."""
    text = "\n".join((_FIXED, *(text for section in sections for text in texts(section))))
    return tuple(Fact(term.name, (term.meaning,)) for term in terms() if term.occurs_in(text))


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
