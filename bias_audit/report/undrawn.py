"""What to say about characters that no font draws: which, what it means, what to install."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Collection, Iterator, Sequence, Set
from pathlib import Path
from typing import Final

from fontTools.unicodedata import block, script_extension, script_name

from bias_audit.results.audit import AuditResult
from bias_audit.shapes.printed import counted

_MOST: Final = 5
_PACKAGES: Final = {
    **dict.fromkeys(("Hani", "Hira", "Kana", "Hang", "Bopo"), "fonts-noto-cjk"),
    "Zsye": "fonts-symbola",  # colour emoji are pictures, which nobody can verify
}
"""Debian's packages by script (ISO 15924); fonts-noto-core has all others."""
_NO_FONT: Final = {"Cc", "Cn", "Cs"}
"""Categories of what no font is made for: control characters, unassigned."""


def named(character: str) -> str:
    """A character as a message can show it, such as "女 (U+5973)"."""
    code = f"U+{ord(character):04X}"
    is_safe = character.isprintable() and not unicodedata.combining(character)
    return f"{character} ({code})" if is_safe else code


def undrawn_warning(result: AuditResult, characters: Set[str], report: Path) -> str:
    """What a reader of `report.pdf` does not see, and how to mend it.

    Args:
        result: What is printed.
        characters: Those shown as boxes; at least one.
        report: The PDF.
    """
    found = sorted(characters)
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    scripts = sorted({_kind(character) for character in found})
    listed = ", ".join(map(named, found[:_MOST]))
    shown = "empty boxes or pictures" if "emoji" in scripts else "empty boxes"
    boxes = f"{counted(len(found), 'character')} as {shown}: {listed}{more}"
    alike = "".join(_alike_told(result, characters))
    return (
        f"warning: {report} shows {boxes} ({', '.join(scripts[:_MOST])}). "
        f"{alike}{_remedy(found, report.parent)}"
    )


def _alike_told(result: AuditResult, characters: Set[str]) -> Iterator[str]:
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
