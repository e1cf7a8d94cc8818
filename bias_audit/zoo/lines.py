"""Progress as plain lines that say which audit they are about, for processes of a cluster."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bias_audit.progress import Step

_SECONDS = 30.0


@dataclass
class LineProgress:
    """Says what stays, and how far long steps are."""

    label: str

    def say(self, message: str) -> None:
        """Write one line."""
        sys.stdout.write(f"[{self.label}] {message}\n")
        sys.stdout.flush()

    @contextmanager
    def step(self, title: str, *, total: int, unit: str) -> Iterator[Step]:
        """Say now and then how far a step is; short steps are not mentioned."""
        yield _LineStep(self, title, total, unit)


@dataclass
class _LineStep:
    lines: LineProgress
    title: str
    total: int
    unit: str
    done: int = 0
    told: float = field(default_factory=time.monotonic)

    def advance(self, count: int = 1) -> None:
        self.done += count
        if time.monotonic() - self.told > _SECONDS:
            self.told = time.monotonic()
            self.lines.say(f"{self.title}: {self.done} of {self.total} {self.unit}s")
