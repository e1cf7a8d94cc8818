"""Results are input like any other: what cannot be printed or drawn is an error of the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jinja2 import TemplateError

from bias_audit.errors import OutputError


@contextmanager
def damage_named(folder: Path) -> Iterator[None]:
    """Name the run folder in what goes wrong with its results.

    Raises:
        OutputError: In place of any error that damaged results lead to.
    """
    try:
        yield
    except (
        LookupError,
        ValueError,
        TypeError,
        ArithmeticError,
        RecursionError,
        EOFError,
        TemplateError,
    ) as error:
        cause = str(error) or type(error).__name__
        raise OutputError(
            f"{folder}: its results are damaged or were written by another release: {cause}"
        ) from error
