"""Which runs of a zoo were heard: a command that is killed after its work has told nobody."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from bias_audit.files import write_text, writing

_NAME: Final = ".unheard"


def begin(folder: Path, last_run: int) -> int:
    """Note that a run begins, and say up to which run all were heard to their end.

    Call it with the zoo's folder locked.

    Args:
        folder: The zoo's.
        last_run: Id of the last run in the history; 0 where there is none.

    Returns:
        `last_run`, or what the first of the runs that were cut short had noted.

    Raises:
        OutputError: The disk refuses.
    """
    with suppress(OSError, ValueError):
        return int((folder / _NAME).read_text(encoding="utf-8"))
    write_text(folder / _NAME, f"{last_run}\n")
    return last_run


def end(folder: Path) -> None:
    """Note that a run was heard: its report is written, and its outcome told.

    Args:
        folder: The zoo's.

    Raises:
        OutputError: The disk refuses.
    """
    with writing(folder):
        (folder / _NAME).unlink(missing_ok=True)
