"""Tracebacks of defects, kept in the run folder for those who mend them."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final

from bias_audit.errors import OutputError
from bias_audit.files import write_text, writing

_NAME: Final = "errors.log"


def forget_errors(folder: Path) -> None:
    """Remove what an earlier run into the folder left.

    Raises:
        OutputError: The folder cannot be written to.
    """
    log = folder / _NAME
    with writing(log):
        log.unlink(missing_ok=True)


def keep_error(error: Exception, folder: Path) -> Path | None:
    """Add a traceback to the folder's log.

    Args:
        error: A defect.
        folder: Of the run.

    Returns:
        The log; None if it cannot be written, as on a full disk.
    """
    log = folder / _NAME
    try:
        before = log.read_text(encoding="utf-8") if log.exists() else ""
        write_text(log, before + "".join(traceback.format_exception(error)))
    except (OSError, OutputError):
        return None
    return log
