"""Every image opened once: unusable ones found, exact duplicates left out, near ones joined."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from bias_audit.arrays import IntArray
from bias_audit.cache import Cache, CacheEntry
from bias_audit.data.duplicates import near_duplicate_sets
from bias_audit.data.faces import DTYPE, Exclusion, FaceTable, ImageReference, Records, fingerprint
from bias_audit.data.images import NOT_FETCHED, NOT_INSTALLED, common_white
from bias_audit.files import digest
from bias_audit.progress import Progress

_CHUNK = 16
"""Images per task of the pool."""
_KEEP_SECONDS = 60
"""What was seen is kept so often while images are opened, and at the end."""
_TRIED_AGAIN = [reason.encode() for reason in ("unreadable file", NOT_INSTALLED, NOT_FETCHED)]
"""Files that may be readable next time without any change to them."""


def open_once(
    table: FaceTable, *, workers: int, progress: Progress, cache: Path | None
) -> Records:
    """Fingerprints of all images of a table, in its order.

    What was seen of other images is kept beside them: those of a larger table of the same name,
    or of a sample.

    Args:
        table: The annotated faces.
        workers: Threads that decode.
        progress: Where to report.
        cache: Folder for what was seen; an image whose path, size and time of change are in it
            is not opened again. None: nothing is kept.

    Returns:
        Records of `fingerprints.DTYPE`, shape (n_images,).

    Raises:
        OutputError: The cache cannot be written.
    """
    records = np.zeros(len(table), dtype=DTYPE)
    records["key"] = _keys(table.references)
    memory = CacheEntry(_cache(cache, "scan"), "opened images", (table.name,), open_once)
    known = (memory.read() or {}).get("records")
    others = np.zeros(0, dtype=DTYPE)  # what is known of images that are not in the table
    if known is not None and known.dtype == DTYPE:
        _, rows, places = np.intersect1d(records["key"], known["key"], return_indices=True)
        records[rows] = known[places]
        others = known[~np.isin(known["key"], records["key"])]
    missing = np.flatnonzero(~_done(records))
    if not len(missing):
        return records

    def keep() -> None:
        done = _done(records) & ~np.isin(records["reason"], _TRIED_AGAIN)
        memory.write({"records": np.concatenate([records[done], others])})

    try:
        _open_all(
            table.references, records, missing, workers=workers, progress=progress, keep=keep
        )
    finally:
        # An interrupted scan goes on where it stopped.
        keep()
    return records


def _cache(folder: Path | None, name: str) -> Cache:
    return Cache(None if folder is None else folder / name)


def _keys(references: Sequence[ImageReference]) -> list[bytes]:
    known: dict[Path, str] = {}
    keys = []
    for reference in references:
        if reference.file not in known:
            known[reference.file] = _state(reference.file)
        row = "" if reference.row is None else f"{reference.row} {reference.column}"
        keys.append(digest(str(reference.file), known[reference.file], row).encode())
    return keys


def _state(file: Path) -> str:
    try:
        status = file.stat()
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def _open_all(
    references: Sequence[ImageReference],
    records: Records,
    rows: IntArray,
    *,
    workers: int,
    progress: Progress,
    keep: Callable[[], None],
) -> None:
    stop = threading.Event()
    kept = time.monotonic()

    def work(chunk: IntArray) -> int:
        for row in chunk:
            if stop.is_set():
                break
            fingerprint(references[row], records[row])
        return len(chunk)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="scan")
    with progress.step("Opening images", total=len(rows), unit="image") as step, _strict_pillow():
        try:
            chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
            for future in as_completed([pool.submit(work, chunk) for chunk in chunks]):
                step.advance(future.result())
                if time.monotonic() - kept > _KEEP_SECONDS:
                    keep()
                    kept = time.monotonic()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _strict_pillow() -> Iterator[None]:
    """Pillow's warning of a decompression bomb is an error; its others are about metadata.

    Filters are global to the process, so this is entered once around the pool, not per image.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _done(records: Records) -> npt.NDArray[np.bool_]:
    return np.asarray((records["n_frames"] > 0) | (records["reason"] != b""))


@dataclass(frozen=True)
class Scan:
    """What opening every image showed."""

    usable: IntArray
    """Rows of the table whose images can be used, ascending, shape (n_usable,)."""
    near_sets: IntArray
    """Usable images with the same number are near duplicates, shape (n_usable,)."""
    sha256: tuple[str, ...]
    """Of the bytes of each usable image."""
    whites: IntArray
    """White that a usable image shares with most, where its own is less, else 0, (n_usable,)."""
    exclusions: tuple[Exclusion, ...]
    notices: tuple[str, ...]


def scan(
    table: FaceTable,
    *,
    workers: int,
    near_duplicates: bool,
    progress: Progress,
    cache: Path | None,
) -> Scan:
    """Open every image of a table, or recall what an earlier scan saw.

    Args:
        table: The annotated faces.
        workers: Threads that decode.
        near_duplicates: Whether to look for them.
        progress: Where to report.
        cache: Folder for what was seen, keyed by path, size and time of change, and for near
            duplicates, keyed by what is compared; None: do not keep.

    Raises:
        OutputError: The cache cannot be written.
    """
    records = open_once(table, workers=workers, progress=progress, cache=cache)
    unusable = records["reason"] != b""
    exclusions = unusable_images(table, records)
    duplicates = _exact_duplicates(table, records, np.flatnonzero(~unusable).astype(np.int64))
    exclusions += duplicates.values()
    keep = ~unusable
    keep[list(duplicates)] = False
    usable = np.flatnonzero(keep).astype(np.int64)
    seen = records[usable]
    near_sets = np.arange(len(usable), dtype=np.int64)
    if near_duplicates and len(usable):
        near_sets = _near_sets(seen, progress, cache)
    return Scan(
        usable=usable,
        near_sets=near_sets,
        sha256=tuple(_text(value) for value in seen["sha256"]),
        whites=_shared_whites(seen),
        exclusions=tuple(exclusions),
        notices=tuple(noticed(seen, near_duplicates=near_duplicates)),
    )


def unusable_images(table: FaceTable, records: Records) -> list[Exclusion]:
    """Why images that were opened cannot be used."""
    return [
        Exclusion(
            table.references[row].label,
            _text(records["reason"][row]),
            _text(records["detail"][row]),
        )
        for row in np.flatnonzero(records["reason"] != b"")
    ]


def _near_sets(seen: Records, progress: Progress, cache: Path | None) -> IntArray:
    """Found now, or among the same images in the same order before."""
    columns = [np.ascontiguousarray(seen[name]) for name in ("hash", "mirrored", "thumbnail")]

    def compute() -> dict[str, IntArray]:
        with progress.step("Near duplicates", total=len(seen), unit="image") as step:
            return {"sets": near_duplicate_sets(*columns, step=step)}

    place = _cache(cache, "near_duplicates")
    found = CacheEntry(place, "near duplicates", columns, near_duplicate_sets)
    return found.or_computed(compute)["sets"]


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _shared_whites(seen: Records) -> IntArray:
    """The white of most images of unknown depth, for those that do not reach it."""
    is_open = (seen["white"] > 0) & ~seen["is_white_stated"]
    white = common_white(seen["white"][is_open].tolist())
    return np.where(is_open & (seen["white"] < white), white, 0).astype(np.int64)


def noticed(seen: Records, *, near_duplicates: bool) -> Iterator[str]:
    """What a reader must know of usable images.

    Args:
        seen: Of usable images.
        near_duplicates: Whether they are looked for.
    """
    used = np.maximum(seen["white"], _shared_whites(seen))
    if (used > 0).any():
        counts = [
            f"{int((used == white).sum())} by {white}" for white in np.unique(used[used > 0])
        ]
        yield (
            f"{int((used > 0).sum())} images are deeper than 8 bits and were scaled by the range "
            f"that they use: {', '.join(counts)}"
        )
    several = int((seen["n_frames"] > 1).sum())
    if several:
        yield f"{several} images hold several frames or pages: the first of each is used"
    if not near_duplicates:
        yield "near duplicates were not looked for, as the config asks"


def _exact_duplicates(table: FaceTable, records: Records, rows: IntArray) -> dict[int, Exclusion]:
    """Rows to leave out because the same pixels were seen before, with the reason of each."""
    sets: dict[bytes, list[int]] = {}
    for row in rows.tolist():
        sets.setdefault(records["pixels"][row], []).append(row)
    found: dict[int, Exclusion] = {}
    for members in sets.values():
        if len(members) > 1:
            found.update(_of_one_picture(table, members))
    return found


def _of_one_picture(table: FaceTable, members: list[int]) -> Iterator[tuple[int, Exclusion]]:
    labels = [table.references[row].label for row in members]
    codes = table.codes[members]
    differing = [
        attribute.name
        for attribute, column in zip(table.attributes, codes.T, strict=True)
        if np.ptp(column)
    ]
    if not differing:
        for row, label in zip(members[1:], labels[1:], strict=True):
            detail = f"same pixels as {labels[0]}, which is kept"
            yield row, Exclusion(label, "exact duplicate", detail)
        return
    for row, label in zip(members, labels, strict=True):
        twin = labels[0] if row != members[0] else labels[1]
        detail = f"same pixels as {twin}; annotated {', '.join(differing)} differ among the copies"
        yield row, Exclusion(label, "exact duplicates with conflicting labels", detail)
