"""How stages report their progress; the command line draws it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

AuditLeft = Callable[[float], float | None]
"""Seconds left to an audit, from those left to its step; None where that is not known."""


class Step(Protocol):
    """One counted piece of work in progress."""

    def advance(self, count: int = 1) -> None:
        """Report that `count` more units are done."""

    def resume(self, count: int) -> None:
        """Report that an earlier run did `count` units: they say nothing about this one's pace."""


class Progress(Protocol):
    """Where stages report to."""

    def step(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Step]:
        """Open a counted step of `total` units; it closes when the context ends."""

    def say(self, message: str) -> None:
        """Print one line that stays, such as a notice."""

    audit_left: AuditLeft | None
    """While an audit runs: how long the rest takes."""


class PacedStep:
    """Reports from time to time how many units are done, and the seconds left."""

    def __init__(
        self, total: int, pause: float = 0.0, speak: Callable[[int, float], None] | None = None
    ) -> None:
        """Begin; between two calls of `speak` at least `pause` seconds pass."""
        self.done = self._earlier = 0
        self._total, self._pause, self._speak = total, pause, speak
        self._began = self._spoke = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def resume(self, count: int) -> None:
        """Count what an earlier run did."""
        self.done += count
        self._earlier += count

    def advance(self, count: int = 1) -> None:
        """Count, and report if enough time has passed."""
        self.done += count
        now, own = time.monotonic(), self.done - self._earlier
        if self._speak is not None and now - self._spoke > self._pause and own:
            self._spoke = now
            self._speak(self.done, (now - self._began) / own * (self._total - self.done))


class Silent:
    """Reports nothing; for callers that want results alone."""

    audit_left: AuditLeft | None = None

    def step(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Step]:  # noqa: ARG002
        """Open a step that is not shown."""
        return nullcontext(PacedStep(total))

    def say(self, message: str) -> None:
        """Say nothing."""
