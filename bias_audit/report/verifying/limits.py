"""How much of a file that may come from anywhere is read."""

from __future__ import annotations

from typing import Final

MOST_BYTES: Final = 256 * 2**20
MOST_PAGES: Final = 2_000
MOST_OPERATORS: Final = 20_000_000
MOST_ELEMENTS: Final = 2_000_000
MOST_DEEP: Final = 60
