"""The errors a user can meet: one class per stage, each with its exit code.

A message says what was expected, what came, where, and the nearest fix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class AuditError(Exception):
    """Anything that stops an audit with a message for the user.

    Attributes:
        exit_code: 2 for what the user can correct in the command, the config or the inputs;
            5 for a system error (disk, permissions, a run in progress).
    """

    exit_code: int = 2


class ConfigError(AuditError):
    """The config is not valid; carries every problem found, not only the first."""

    def __init__(self, problems: Sequence[str], *, source: str) -> None:
        """Collect the problems of one config, one line each, and its file as the user wrote it."""
        self.problems = tuple(problems)
        self.source = source
        count = len(self.problems)
        head = f"{source}: {count} problem{'s' if count != 1 else ''}"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


class ExtensionError(AuditError):
    """A plug-in of another installed package cannot be used, or does not do what it promises."""


class DataError(AuditError):
    """The faces or their labels cannot be used as the config says."""


class BackboneError(AuditError):
    """The backbone, its weights or its layers cannot be used as the config says."""


class AnalysisError(AuditError):
    """One analysis cannot be computed; the audit reports it and continues."""

    exit_code = 4


class OutputError(AuditError):
    """Results cannot be written or read: disk full, read-only, locked or damaged.

    Everything that writes a file or reads a history may raise it.
    """

    exit_code = 5


_NAMED = 5
"""Things that a message names."""


def some(names: Sequence[str], separator: str = ", ", most: int = _NAMED) -> str:
    """At most five names in a row, and the number of those left out."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(names[:most]) + more


def first_problem(error: ValidationError) -> str:
    """Place and message of the first thing that is wrong, such as "layers.0.n_units: ..."."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
