"""What an earlier run of a zoo left undone, or a disk spoiled, put right before the next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bias_audit.config.zoo import ZooConfig
from bias_audit.errors import OutputError
from bias_audit.files import remove_partial
from bias_audit.progress import Progress
from bias_audit.report.render import render
from bias_audit.results.history.latest import all_audits
from bias_audit.results.history.recording import RunFolder, rebuild
from bias_audit.results.history.soundness import damage_of, move_aside
from bias_audit.results.store import read_audit
from bias_audit.zoo.entries import Entry
from bias_audit.zoo.folders import DATABASE, run_folders

_HOUR: Final = 3600.0
"""No file takes longer to write."""


def recover(zoo: ZooConfig, entries: Sequence[Entry], progress: Progress) -> None:
    """Put the history right, and into it the audits that an interruption kept out.

    Call it with the zoo's folder locked.

    Args:
        zoo: The zoo.
        entries: All of its entries.
        progress: Where to report.

    Raises:
        OutputError: The history cannot be written, or is of a newer release.
    """
    database = zoo.folder / DATABASE
    for folder in (zoo.folder, zoo.output.cache):
        remove_partial(folder, older=_HOUR)
    damage = damage_of(database)
    if damage is not None:
        aside = move_aside(database)
        progress.say(
            f"{database} is damaged ({damage}). It is kept as {aside.name}, and made again from "
            "the run folders; what earlier runs did, how audits differed, and the numbers of "
            "audits that were pruned stay behind in it"
        )
    known = all_audits(database, zoo.name)
    recorded = {audit.folder.resolve() for audits in known.values() for audit in audits}
    for entry in entries:
        for folder in run_folders(zoo.folder / entry.place):
            if folder.resolve() not in recorded and (folder / "audit.json").exists():
                _put_in(zoo, entry, folder, progress)
        if entry.key in known and not known[entry.key][0].is_pruned:
            _report(zoo, known[entry.key][0].folder, progress)


def _put_in(zoo: ZooConfig, entry: Entry, folder: Path, progress: Progress) -> None:
    """Put one finished audit into the history, with the reports that it may lack."""
    try:
        read_audit(folder)
    except OutputError as error:
        progress.say(f"{folder} is left alone: {error}")
        return
    _report(zoo, folder, progress)
    rebuild(zoo.folder / DATABASE, [RunFolder(folder, zoo.name, entry.dataset, entry.label)])
    progress.say(f"{folder} was finished before and is put into the history now")


def _report(zoo: ZooConfig, folder: Path, progress: Progress) -> None:
    """Write the reports that a finished audit lacks."""
    formats = zoo.output.formats
    if all((folder / f"report.{name}").is_file() for name in formats):
        return
    try:
        render(folder, formats=formats)
    except OutputError as error:  # what damaged it will make it stale, or stop the run
        progress.say(f"{folder} has no report: {error}")
