"""How long work tells that it goes on: a protocol the stages speak, drawn by the command line."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Step(Protocol):
    """One counted piece of work in progress."""

    def advance(self, count: int = 1) -> None:
        """Report that `count` more units are done."""


class Progress(Protocol):
    """Where stages report to."""

    def step(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Step]:
        """Open a counted step of `total` units; it closes when the context ends."""

    def say(self, message: str) -> None:
        """Print one line that stays, such as a notice."""


class _SilentStep:
    def advance(self, count: int = 1) -> None:
        """Say nothing."""


class Silent:
    """Reports nothing; for callers that want results alone."""

    def step(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Step]:  # noqa: ARG002
        """Open a step that is not shown."""
        return nullcontext(_SilentStep())

    def say(self, message: str) -> None:
        """Say nothing."""
