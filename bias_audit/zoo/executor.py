"""What an executor is given, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from bias_audit.config.schema import AuditConfig, Strict
from bias_audit.progress import Progress

P = TypeVar("P", bound=Strict)


@dataclass(frozen=True)
class Task:
    """One audit to make: one backbone on one data set."""

    key: tuple[str, str]
    """Data set and entry."""
    config: AuditConfig
    command: str
    """What the user typed, for the provenance."""
    extensions: Mapping[str, str] = field(default_factory=dict)
    """Identity of the executor, where it is that of another package, for the provenance."""

    @property
    def label(self) -> str:
        """For messages."""
        return " / ".join(reversed(self.key))

    @property
    def folder(self) -> Path:
        """The run folder; it lies where the executor's processes and its caller both see it."""
        return self.config.folder


@dataclass(frozen=True)
class Done:
    """What came of a task; the result itself is in its run folder."""

    key: tuple[str, str]
    seconds: float
    error: str | None = None
    """Why there is no result, or why it has no report."""
    is_refused: bool = False
    """Whether the machine is why: its disk, its permissions, another run at work."""
    stored: str | None = None
    """Where its files are in the executor's store, if they are not in its run folder yet."""


Work = Callable[[Task, Progress], Done]
"""Makes one audit. A function of a module, so that it can be sent to another process; it raises
nothing but KeyboardInterrupt."""


@dataclass(frozen=True)
class Executor(Generic[P]):
    """A way to make audits, here or elsewhere."""

    title: str
    params_type: type[P]
    run: Callable[[Work, Sequence[Task], P, Progress], Iterator[Done]]
    """Yields what came of each task as it ends, in any order."""
