"""The fonts that a report is printed with, and what to say of characters that none draws."""

from __future__ import annotations

import functools
import hashlib
import shlex
import unicodedata
from collections.abc import Collection, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib as mpl
from fontTools.unicodedata import block, script_extension, script_name
from matplotlib.ft2font import FT2Font

from bias_audit.config.font_files import FontFile
from bias_audit.results.audit import AuditResult
from bias_audit.shapes.printed import counted

SCHEME: Final = "audit-font"
"""Of the addresses of fonts in the style sheet."""
_BUNDLED: Final = (
    ("Audit Sans", 400, "DejaVuSans.ttf"),
    ("Audit Sans", 700, "DejaVuSans-Bold.ttf"),
    ("Audit Mono", 400, "DejaVuSansMono.ttf"),
    ("Audit Mono", 700, "DejaVuSansMono-Bold.ttf"),
)
"""Family, weight and file. DejaVu comes with matplotlib and draws the text of figures, too."""
_MOST: Final = 5
_PACKAGES: Final = {
    **dict.fromkeys(("Hani", "Hira", "Kana", "Hang", "Bopo"), "fonts-noto-cjk"),
    "Zsye": "fonts-symbola",  # colour emoji are pictures, which cannot be verified
}
"""Debian's packages by script (ISO 15924); fonts-noto-core has all others."""
_NO_FONT: Final = {"Cc", "Cn", "Cs"}
"""Categories of what no font is made for: control characters, unassigned."""


def bundled_file(name: str) -> Path:
    """Where matplotlib keeps a font of its own, such as "DejaVuSans.ttf"."""
    return Path(mpl.get_data_path()) / "fonts" / "ttf" / name


@dataclass(frozen=True)
class PrintFonts:
    """The bundled fonts, then those that the user names; the machine's come last."""

    further: tuple[FontFile, ...] = ()

    @functools.cached_property
    def _faces(self) -> tuple[tuple[str, int, bytes], ...]:
        """Family, weight and content; a family has one file of a weight.

        WeasyPrint cannot distinguish two files of one family and weight.
        """
        bundled = [(family, weight, _bundled(name)) for family, weight, name in _BUNDLED]
        further = [
            (family, weight, font.content)
            for family, font in zip(self._families, self.further, strict=True)
            for weight in (400, 700)
        ]
        return (*bundled, *further)

    @property
    def _families(self) -> tuple[str, ...]:
        return tuple(f"Audit Further {number}" for number, _ in enumerate(self.further, start=1))

    @property
    def style_sheet(self) -> str:
        """Declares every face, and the two families that `print.css` uses."""
        faces = "".join(
            f'@font-face {{ font-family: "{family}"; font-weight: {weight}; '
            f'src: url("{SCHEME}:{number}"); }}\n'
            for number, (family, weight, _) in enumerate(self._faces)
        )
        rest = "".join(f', "{family}"' for family in self._families)
        return (
            f'{faces}:root {{ --print-sans: "Audit Sans"{rest}, sans-serif; '
            f'--print-mono: "Audit Mono", "Audit Sans"{rest}, monospace; }}\n'
        )

    def content(self, address: str) -> bytes:
        """The file of an address in the style sheet.

        Raises:
            LookupError: There is none.
        """
        return self._faces[int(address.removeprefix(f"{SCHEME}:"))][2]

    @property
    def sha256(self) -> str:
        """Of everything that may be embedded."""
        found = hashlib.sha256()
        for _, _, content in self._faces:
            found.update(hashlib.sha256(content).digest())
        return found.hexdigest()

    def draw(self, text: str) -> bool:
        """Whether each of the bundled fonts has every character of a text."""
        needed = {ord(character) for character in set(text) if not character.isspace()}
        fonts = (FT2Font(str(bundled_file(name))) for _, _, name in _BUNDLED)
        return all(needed <= font.get_charmap().keys() for font in fonts)


BUNDLED: Final = PrintFonts()


@functools.cache
def _bundled(name: str) -> bytes:
    return bundled_file(name).read_bytes()


def named(character: str) -> str:
    """A character as a message can show it, such as "女 (U+5973)"."""
    code = f"U+{ord(character):04X}"
    is_safe = character.isprintable() and not unicodedata.combining(character)
    return f"{character} ({code})" if is_safe else code


def undrawn_warning(result: AuditResult, characters: Set[str], report: Path) -> str:
    """What a reader of a PDF that shows characters as boxes does not see, and how to mend it."""
    found = sorted(characters)
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    scripts = sorted({_kind(character) for character in found})
    listed = ", ".join(map(named, found[:_MOST]))
    shown = "empty boxes or pictures" if "emoji" in scripts else "empty boxes"
    boxes = f"{counted(len(found), 'character')} as {shown}: {listed}{more}"
    alike = "".join(_lookalikes(result, characters))
    return (
        f"warning: {report} shows {boxes} ({', '.join(scripts[:_MOST])}). "
        f"{alike}{_remedy(found, report.parent)}"
    )


def _lookalikes(result: AuditResult, characters: Set[str]) -> Iterator[str]:
    """Names of one kind that are the same once boxes stand in them."""
    kinds = {f"groups of {a.name}": a.levels for a in result.data.attributes}
    kinds["attributes"] = tuple(a.name for a in result.data.attributes)
    kinds["backbones"] = tuple(subject.backbone.name for subject in result.subjects)
    for kind, names in kinds.items():
        alike = list(_alike(names, characters))
        if alike:
            yield f"In print, {kind} look the same: {', '.join(alike[:_MOST])}. "


def _alike(names: Sequence[str], characters: Set[str]) -> Iterator[str]:
    printed = ["".join("□" if c in characters else c for c in name) for name in names]
    return (name for name, shown in zip(names, printed, strict=True) if printed.count(shown) > 1)


def _remedy(characters: Collection[str], folder: Path) -> str:
    kinds = {unicodedata.category(c) for c in characters}
    if kinds <= _NO_FONT:
        return "No font has them: remove them from the names, and run the audit again"
    fit = (c for c in characters if unicodedata.category(c) not in {*_NO_FONT, "Co"})
    packages = sorted({_PACKAGES.get(_script(c), "fonts-noto-core") for c in fit})
    install = (
        f"Install {' and '.join(packages)} (Debian, Ubuntu: apt-get install "
        f"{' '.join(packages)}), or name"
        if packages
        else "Name"
    )
    return (
        f"{install} a font file that has them in output.fonts; then: "
        f"bias-audit render {shlex.quote(str(folder))}"
    )


def _script(character: str) -> str:
    """The script that a character is chiefly used with."""
    if block(character).startswith(("CJK", "Halfwidth")):
        return "Hani"
    if ord(character) >= 0x1F000 and unicodedata.category(character) in {"So", "Sk"}:  # noqa: PLR2004
        return "Zsye"
    return str(min(script_extension(character)))


def _kind(character: str) -> str:
    category, script = unicodedata.category(character), _script(character)
    if category[0] == "C" and category != "Cf":
        return {"Cc": "control characters", "Co": "private use"}.get(category, "unassigned")
    if script == "Zsye":
        return "emoji"
    return "symbols" if script in {"Zyyy", "Zinh"} else str(script_name(script))
