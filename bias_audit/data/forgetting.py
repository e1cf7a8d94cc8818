"""People who withdrew their consent: left out of every audit from then on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from bias_audit.data.faces import Exclusion, FaceTable
from bias_audit.data.identities import canonical_identity
from bias_audit.errors import DataError
from bias_audit.files import digest, write_text, writing

_LIST: Final = "forgotten.txt"
_WITHDRAWN = Exclusion(
    "an image of a person", "consent withdrawn", "the person is to be forgotten (data forget)"
)


def forgotten(cache: Path) -> frozenset[str]:
    """Digests of the identities that a cache is to forget."""
    try:
        return frozenset((cache / _LIST).read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return frozenset()


def forget_identities(cache: Path, identities: Iterable[str]) -> None:
    """Add identities to those that the cache is to forget; only their digests are kept."""
    with writing(cache):
        cache.mkdir(parents=True, exist_ok=True)
    known = forgotten(cache) | {mark_of(each) for each in identities}
    write_text(cache / _LIST, "".join(f"{each}\n" for each in sorted(known)))


def mark_of(identity: str) -> str:
    """What is kept of an identity, in whichever form it is written."""
    return digest("forgotten", canonical_identity(identity))


def rows_of_forgotten(table: FaceTable, marks: frozenset[str]) -> list[int]:
    """Rows of the people with these digests."""
    gone = _marked(table.identities or (), marks)
    return [row for row, name in enumerate(table.identities or ()) if name in gone]


def exclusions_of_forgotten(table: FaceTable, marks: frozenset[str]) -> list[Exclusion]:
    """What a source left out of the people with these digests, for other reasons."""
    gone = _marked((each.identity for each in table.exclusions), marks)
    return [each for each in table.exclusions if each.identity in gone]


def _marked(names: Iterable[str], marks: frozenset[str]) -> set[str]:
    return {name for name in {*names} - {""} if marks and mark_of(name) in marks}


def without_forgotten(table: FaceTable, cache: Path) -> FaceTable:
    """The table without the people whom the cache is to forget, whose images the ledger counts.

    Raises:
        DataError: No one is left.
    """
    marks = forgotten(cache)
    rows, left_out = rows_of_forgotten(table, marks), exclusions_of_forgotten(table, marks)
    if not rows and not left_out:
        return table
    is_gone = np.isin(np.arange(len(table)), rows)
    if is_gone.all():
        raise DataError(f"{table.name}: all people withdrew their consent, so no image is left")
    withdrawn = (_WITHDRAWN,) * (table.n_shown(is_gone) + len(left_out))
    others = tuple(each for each in table.exclusions if each not in left_out)
    kept = table.only(np.flatnonzero(~is_gone))
    return replace(kept, exclusions=(*others, *withdrawn))
