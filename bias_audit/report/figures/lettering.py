"""The fonts of figures: the bundled one, then whatever draws the characters that it lacks."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from bias_audit.config.font_files import FontFile
from bias_audit.report.fonts import bundled_file

_FAMILY: Final = "DejaVu Sans"
"""Of matplotlib's own files, wherever it runs."""
_REGULAR: Final = {"Regular", "Book", "Roman", "Medium"}


@dataclass(frozen=True)
class _Lettering:
    families: tuple[str, ...] = (_FAMILY,)
    lacking: frozenset[str] = frozenset()
    """Characters that none of them has."""
    undrawn: set[str] = field(default_factory=set)
    """Those of them that a figure shows as boxes."""


_BUNDLED: Final = _Lettering()
_CURRENT: ContextVar[_Lettering] = ContextVar("lettering", default=_BUNDLED)


def families() -> list[str]:
    """Of the fonts that figures are drawn with now, by preference."""
    return list(_CURRENT.get().families)


def note_undrawn(figure: Figure) -> None:
    """Keep which characters of a figure no font has."""
    current = _CURRENT.get()
    if current.lacking:
        texts = (text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))
        current.undrawn.update(current.lacking & set("".join(texts)))


@contextmanager
def lettering(text: str, fonts: Sequence[FontFile] = ()) -> Iterator[set[str]]:
    """Draw figures with fonts that have the characters of a text.

    Args:
        text: Everything that figures may show.
        fonts: Used for what the bundled font lacks; then the machine's are.

    Yields:
        Characters that figures show as boxes, once they are drawn.
    """
    lacking = {ord(c) for c in set(text) if unicodedata.category(c)[0] not in "CZ"}
    lacking |= {ord(c) for c in set(text) if unicodedata.category(c) == "Co"}
    lacking -= FT2Font(str(bundled_file("DejaVuSans.ttf"))).get_charmap().keys()
    chosen = []
    for font in fonts:
        chosen.append(_registered(font.path))
        lacking -= font.characters
    if lacking:
        for path, characters in _system_fonts(frozenset(lacking)):
            if lacking & characters:
                chosen.append(_registered(path))
                lacking -= characters
    now = _Lettering((_FAMILY, *chosen), frozenset(map(chr, lacking)))
    token = _CURRENT.set(now)
    try:
        yield now.undrawn
    finally:
        _CURRENT.reset(token)


def _registered(path: Path) -> str:
    """A family that has this file alone."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    family = f"Audit Figure {digest}"
    if all(entry.name != family for entry in fontManager.ttflist):
        fontManager.ttflist += [
            FontEntry(
                fname=str(path.resolve()), name=family, style="normal", variant="normal",
                weight=weight, stretch="normal", size="scalable",
            )
            for weight in (400, 700)
        ]  # fmt: skip
    return family


def _system_fonts(wanted: frozenset[int]) -> list[tuple[Path, frozenset[int]]]:
    """The machine's fonts with some of the wanted characters, the one with most of them first."""
    found = []
    for path in sorted(findSystemFonts()):
        try:
            font = FT2Font(path)
            has = wanted & font.get_charmap().keys() if font.scalable else frozenset()
        except (OSError, RuntimeError, ValueError):  # one broken font is not the audit's matter
            continue
        if has:
            found.append((-len(has), font.style_name not in _REGULAR, path, has))
    return [(Path(path), has) for _, _, path, has in sorted(found, key=lambda each: each[:3])]
