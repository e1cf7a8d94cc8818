"""The fonts that a report is printed with: the same on every machine."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib as mpl

from bias_audit.config.font_files import FontFile

SCHEME: Final = "audit-font"
"""Of the addresses of fonts in the style sheet."""
_BUNDLED: Final = (
    ("Audit Sans", 400, "DejaVuSans.ttf"),
    ("Audit Sans", 700, "DejaVuSans-Bold.ttf"),
    ("Audit Mono", 400, "DejaVuSansMono.ttf"),
    ("Audit Mono", 700, "DejaVuSansMono-Bold.ttf"),
)
"""Family, weight and file. DejaVu comes with matplotlib and draws the text of figures, too."""


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

        WeasyPrint cannot tell two files of one family and weight apart.
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


BUNDLED: Final = PrintFonts()


@functools.cache
def _bundled(name: str) -> bytes:
    return bundled_file(name).read_bytes()
