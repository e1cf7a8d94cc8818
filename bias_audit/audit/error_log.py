"""Tracebacks of defects, kept in the run folder for those who mend them."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final

from bias_audit.files import writing

_NAME: Final = "errors.log"


def forget_errors(folder: Path) -> None:
    """Remove what an earlier run into the folder left.

    Raises:
        OutputError: The folder cannot be written to.
    """
    log = folder / _NAME
    with writing(log):
        log.unlink(missing_ok=True)


def keep_error(error: Exception, folder: Path, *, is_inside: bool = False) -> str:
    """Add a traceback to the folder's log.

    Args:
        error: A defect.
        folder: Of the run.
        is_inside: Whether the line is read in the folder, where the log needs no path.

    Returns:
        The error in a line, with where its traceback is, unless that could not be written, as on
        a full disk.
    """
    log = folder / _NAME
    told = f"{type(error).__name__}: {error}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.writelines(traceback.format_exception(error))
    except OSError:
        return told
    return f"{told} (see {log.name if is_inside else log})"
