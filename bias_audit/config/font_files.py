"""Font files that a config names: one face of each, as a document can embed it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fontTools.ttLib import TTFont

from bias_audit.contents import recognise

_NEEDED: Final = ("head", "hhea", "maxp", "hmtx", "cmap")
_VARIATIONS: Final = ("fvar", "gvar", "avar", "cvar", "HVAR", "VVAR", "MVAR", "STAT")
_FONTS: Final = (b"\x00\x01\x00\x00", b"OTTO", b"true", b"ttcf")
_RESTRICTED, _NO_SUBSETS, _BITMAPS_ONLY = 0x2, 0x100, 0x200
"""Bits of fsType (OpenType 1.9, table OS/2): what a maker forbids."""


@dataclass(frozen=True)
class FontFile:
    """One face, whose outlines do not vary."""

    path: Path
    """As the user wrote it."""
    content: bytes
    characters: frozenset[int]
    """Code points that it draws."""
    assumed: str = ""
    """What was chosen because the file has more than one face; empty where it does not."""


def read_font(path: Path) -> FontFile:
    """Read a TrueType or OpenType font.

    Of a collection the first font is taken, of a variable font the default instance.

    Raises:
        ValueError: There is no such file, or it cannot be embedded; the message says why.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"expected a font file, found nothing at {path}") from None
    except OSError as error:
        raise ValueError(f"expected a font file, cannot read {path}: {error.strerror}") from error
    if not content.startswith(_FONTS):
        found = recognise(content)
        raise ValueError(
            "expected a TrueType or OpenType font (.ttf, .otf or .ttc), "
            f"{path} is {found.words if found else 'another kind of file'}"
        )
    try:
        return _read(path, content)
    except ValueError:
        raise
    except Exception as error:  # what a reader raises on arbitrary bytes is not bounded
        raise _damaged(path) from error


def font_problems(paths: Sequence[Path]) -> Iterator[str]:
    """A message for every file of `output.fonts` that cannot be used."""
    for index, path in enumerate(paths):
        try:
            read_font(path)
        except ValueError as error:
            yield f"output.fonts.{index}: {error}"


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"expected a complete font, {path} is cut short or damaged; copy or download it again"
    )


def _read(path: Path, content: bytes) -> FontFile:
    font: Any = TTFont(
        io.BytesIO(content), fontNumber=0, lazy=True, recalcTimestamp=False, recalcBBoxes=False
    )
    tables = font.reader.tables.values()
    is_cut = any(table.offset + table.length > len(content) for table in tables)
    if is_cut or not all(tag in font for tag in _NEEDED):
        raise _damaged(path)
    if not {"glyf", "CFF "} & set(font.keys()):
        raise ValueError(
            f"expected a font with outlines, {path} has pictures or outlines that vary (CFF2) "
            "alone; name a static font file"
        )
    licence = font["OS/2"].fsType if "OS/2" in font else 0
    if licence & 0xF == _RESTRICTED or licence & (_NO_SUBSETS | _BITMAPS_ONLY):
        raise ValueError(
            f"expected a font that may be embedded, the maker of {path} forbids it or its "
            f"subsets (OS/2 fsType {licence:#06x}); name an open font, such as one of Noto"
        )
    characters = font.getBestCmap()
    if not characters:
        raise ValueError(f"expected a font with a table of Unicode characters, {path} has none")
    name = font["name"].getBestFullName() if "name" in font else None
    assumed = ""
    if content.startswith(b"ttcf"):
        assumed = f"{path} contains several fonts; the first, {name or 'unnamed'}, is used"
    elif "fvar" in font:
        assumed = f"{path} is a variable font; {name or 'its default'} is used, for bold text too"
    if assumed:
        for tag in _VARIATIONS:
            if tag in font:
                del font[tag]
        written = io.BytesIO()
        font.save(written, reorderTables=False)
        content = written.getvalue()
    return FontFile(path, content, frozenset(characters), assumed)
