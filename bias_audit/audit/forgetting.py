"""Remove what is kept about people who withdrew their consent, and name the audits behind it."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from bias_audit.audit.plan import make_plan
from bias_audit.cache import Cache
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import FaceTable
from bias_audit.data.forgetting import (
    exclusions_of_forgotten,
    forget_identities,
    forgotten,
    mark_of,
    rows_of_forgotten,
)
from bias_audit.data.rows import read_text
from bias_audit.data.scan import open_once
from bias_audit.errors import DataError, OutputError, some
from bias_audit.files import write_text, writing
from bias_audit.progress import Progress
from bias_audit.results.contributions import FOLDER, read_contributions
from bias_audit.results.store import read_audit
from bias_audit.shapes.printed import counted

_ABOUT_IMAGES: Final = ("near_duplicates", "images", "intermediate", "analyses", "random_weights")
"""Folders of a cache whose entries do not say which images they are about: all are removed."""
_DEEPEST: Final = 5
"""Folders below that of all runs: a zoo's, audits, its data set, its backbone, its time."""
_NAMES = "images.txt"


def subjects_of(arguments: Iterable[str]) -> list[str]:
    """The subjects named, those of a file one a line.

    Raises:
        DataError: There are none, or a file is no text.
    """
    arguments = [*arguments]
    found: list[str] = []
    for text in arguments:
        file = Path(text)
        lines = read_text(file)[0].splitlines() if file.is_file() else [text]
        found += [line.strip() for line in lines if line.strip()]
    if not found:
        raise DataError(f"{', '.join(arguments)}: expected subjects, one a line, got none")
    return found


def forget(
    configs: Sequence[AuditConfig], subjects: Sequence[str], runs: Path, progress: Progress
) -> Iterator[str]:
    """Remove every trace of people from caches, and say which audits rest on their images.

    They are left out of all later audits with these caches, so that those that rest on them are
    stale. Configs are those of one data set and of others; `runs` holds the run folders.

    Raises:
        DataError: A data set does not say who is shown, or has none of the subjects.
    """
    marks = {mark_of(subject): subject for subject in subjects}
    images, names, n_people, n_closed = _images_of(configs, marks, progress)
    yield f"{counted(n_people, 'subject')} with {counted(len(images), 'image')} to forget"
    if n_closed:
        yield (
            f"{counted(n_closed, 'image')} of them cannot be opened, so that what is kept about "
            "them cannot be found; delete the whole cache to be sure"
        )
    for cache in dict.fromkeys(config.output.cache for config in configs):
        audits = list(_audits(runs, cache, images))
        forget_identities(cache, subjects)
        removed, searched = _removed(cache, images)
        yield f"{cache}: removed {counted(removed, 'file')} about these images"
        if searched:
            yield (
                f"{cache}: removed {counted(searched, 'file')} that do not say which "
                "images they are about; audits make them again when they need them"
            )
        yield from audits
    named = [re.compile(rf"(?<!\w){re.escape(name)}(?!\w)") for name in names]
    for file in _below(runs, "exclusions.csv"):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if not any(name.search(line) for name in named)]
        if len(kept) < len(lines):
            write_text(file, "".join(kept))
            yield f"{file}: removed {counted(len(lines) - len(kept), 'line')} that named them"


def _below(runs: Path, name: str) -> Iterator[Path]:
    """Files of that name in run folders."""
    for depth in range(1, _DEEPEST + 1):
        yield from sorted(runs.glob("/".join([*"*" * depth, name])))


def _images_of(
    configs: Sequence[AuditConfig], marks: Mapping[str, str], progress: Progress
) -> tuple[frozenset[str], frozenset[str], int, int]:
    """All images of some people, by SHA-256 and by name, and how many people are listed.

    And how many of their images could not be opened.

    People are known by their digests, `marks`, with how they were named.
    """
    images: set[str] = set()
    names: set[str] = set()
    found: set[str] = set()
    n_closed = 0
    nameless: list[str] = []
    known = frozenset[str]()
    tables: dict[str, FaceTable] = {}
    for config in configs:
        known |= forgotten(config.output.cache)
        if (key := config.data.model_dump_json()) in tables:
            continue
        plan = make_plan(config)
        table = tables[key] = plan.source.read(plan.source_params)
        if table.identities is None:
            nameless.append(
                f"{table.name}: expected a data set that says who is shown, got none; delete the "
                "images of these people from it, and audit again"
            )
        theirs = table.only(np.array(rows_of_forgotten(table, frozenset(marks)), dtype=np.int64))
        left_out = exclusions_of_forgotten(table, frozenset(marks))
        found |= {mark_of(name) for name in theirs.identities or ()}
        found |= {mark_of(each.identity) for each in left_out}
        further = tuple(each.image for each in left_out if each.image)
        references = (*theirs.once.references, *further)
        names |= {each.label for each in references} | {each.reference for each in left_out}
        if references:
            listed = replace(theirs, references=references)
            opened = open_once(listed, workers=1, progress=progress, cache=None)
            images |= {sha.decode() for sha in opened["sha256"].tolist()} - {""}
            n_closed += int((opened["sha256"] == b"").sum())
        n_closed += sum(each.image is None for each in left_out)
    if len(nameless) == len(tables):
        raise DataError("; ".join(nameless))
    for each in nameless:
        progress.say(each)
    if missing := [subject for mark, subject in marks.items() if mark not in found | known]:
        sets = ", ".join(table.name for table in tables.values())
        raise DataError(
            f"expected subjects whom the labels of {sets} list, got {some(missing)}, whom they "
            "do not; forget people before you replace the data set by one without them"
        )
    return frozenset(images), frozenset(names), len(found), n_closed


def _removed(cache: Path, images: Collection[str]) -> tuple[int, int]:
    """Remove entries about some images; how many, and how many of unknown images."""
    about, unknown = 0, 0
    with writing(cache):
        for folder in [each.parent for each in cache.glob(f"activations/*/{_NAMES}")]:
            if _listed(folder) & {*images}:
                shutil.rmtree(folder)
                about += 1
        scans = Cache(cache / "scan")
        for file in cache.glob("scan/*.npz"):
            arrays = scans.get(file.name) or {}
            if (records := arrays.get("records")) is None:
                continue
            is_theirs = np.isin(records["sha256"], [sha.encode() for sha in images])
            if is_theirs.any():
                scans.put(file.name, {**arrays, "records": records[~is_theirs]})
                about += 1
        for file in cache.glob(f"{FOLDER}/*.npz"):
            entry = read_contributions(cache, file.stem)
            if entry is not None and {*entry.images} & {*images}:
                file.unlink()
                about += 1
        for name in _ABOUT_IMAGES:
            for file in (cache / name).glob("*"):
                file.unlink()
                unknown += 1
    return about, unknown


def _listed(folder: Path) -> set[str]:
    """SHA-256 of the images that a folder of activations is about."""
    lines = (folder / _NAMES).read_text(encoding="utf-8").splitlines()[1:]
    return {line.split()[0] for line in lines if line}


def _audits(runs: Path, cache: Path, images: Collection[str]) -> Iterator[str]:
    """Which audits rest on some images, and of which that cannot be said."""
    sets = {}
    for file in cache.glob(f"activations/*/{_NAMES}"):
        own = _listed(file.parent)
        sets[hashlib.sha256("\n".join(sorted(own)).encode()).hexdigest()] = own
    for file in _below(runs, "audit.json"):
        try:
            result = read_audit(file.parent)
        except OutputError:
            yield f"{file.parent}: cannot be read, so it is open whether it rests on them"
            continue
        own = sets.get(result.data.images_sha256 or "", set())
        if n := len(own & {*images}):
            fix = "audit again, so that it leaves them out"
            yield f"{file.parent}: rests on {counted(n, 'image')} of them and is stale; {fix}"
        elif not own:
            yield f"{file.parent}: its images are not in the cache; audit again to be sure"
