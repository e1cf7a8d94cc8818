"""Images opened once: unusable ones found, exact duplicates left out, near ones joined."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from bias_audit.arrays import BoolArray, IntArray
from bias_audit.cache import Cache, CacheEntry
from bias_audit.data.duplicates import near_duplicate_sets
from bias_audit.data.faces import Exclusion, FaceTable, ImageReference
from bias_audit.data.images import (
    NOT_FETCHED,
    NOT_INSTALLED,
    UnusableImageError,
    cut_out,
    decode_first,
    in_threads,
    read_bytes,
)
from bias_audit.deferred import imagehash
from bias_audit.files import digest
from bias_audit.progress import Progress
from bias_audit.statistics.estimate import wilson_interval

Records = npt.NDArray[np.void]
SIDE = 32
"""Of the grey thumbnail."""
DTYPE = np.dtype(
    [
        ("key", "S32"),
        ("sha256", "S64"),
        ("pixels", "S64"),
        ("hash", "<u8", 4),
        ("mirrored", "<u8", 4),
        ("thumbnail", "u1", (SIDE, SIDE)),
        ("n_frames", "<i4"),
        ("white", "<i8"),
        ("is_white_stated", "?"),
        ("reason", "S24"),
        ("detail", "S240"),
    ]
)
"""One image: `sha256` of its bytes, `pixels` the SHA-256 of its size and decoded pixels, `hash`
its 256-bit perceptual hash, `mirrored` that of its mirror image, `white` the value of white where
the image is deeper than 8 bits (else 0), `reason` why it cannot be used.
`n_frames` or `reason` is written last: a record with neither frames nor a reason is not done."""
_HASH_SIDE = 16
_REDUCED = 4 * _HASH_SIDE


def fingerprint(reference: ImageReference, record: np.void) -> None:
    """Open one image and fill its record; an unusable one gets a reason instead."""
    try:
        data = read_bytes(reference)
        box = b"" if reference.box is None else repr(reference.box).encode()
        record["sha256"] = hashlib.sha256(data + box).hexdigest().encode()
        decoded = decode_first(data)
        image = cut_out(decoded.image, reference.box)
    except UnusableImageError as error:
        record["detail"] = error.detail.encode()[: DTYPE["detail"].itemsize]
        record["reason"] = error.reason.encode()
        return
    size = f"{image.width}x{image.height}:".encode()
    record["pixels"] = hashlib.sha256(size + image.tobytes()).hexdigest().encode()
    grey = image.convert("L")
    reduced = grey.resize((_REDUCED, _REDUCED), Image.Resampling.LANCZOS)
    record["hash"] = perceptual_hash(reduced)
    record["mirrored"] = perceptual_hash(ImageOps.mirror(reduced))
    record["thumbnail"] = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    record["white"], record["is_white_stated"] = decoded.white, decoded.is_white_stated
    record["n_frames"] = decoded.n_frames


def perceptual_hash(image: Image.Image) -> npt.NDArray[np.uint64]:
    """256-bit DCT hash (`imagehash.phash` with `hash_size=16`) as four words, shape (4,)."""
    bits = np.asarray(imagehash.phash(image, hash_size=_HASH_SIDE).hash, dtype=bool)
    return np.packbits(bits.ravel()).view(np.uint64)


_KEEP_SECONDS = 60
"""What was seen is kept so often while images are opened, and at the end."""
_TRIED_AGAIN = [reason.encode() for reason in ("unreadable file", NOT_INSTALLED, NOT_FETCHED)]
"""Files that may be readable next time without any change to them."""


def open_once(
    table: FaceTable, *, workers: int, progress: Progress, cache: Path | None
) -> Records:
    """Fingerprints of all images of a table, in its order: records of DTYPE, shape (n_images,).

    An image whose path, size and time of change are in the cache is not opened again. What was
    seen of other images is kept beside them: those of a larger table of the same name, or of a
    sample.
    """
    records = np.zeros(len(table), dtype=DTYPE)
    records["key"] = _keys(table.references)
    memory = CacheEntry(_cache(cache, "scan"), "opened images", (table.name,), open_once)
    known = (memory.read() or {}).get("records")
    others = records[:0]  # what is known of images that are not in the table
    if known is not None and known.dtype == DTYPE:
        _, rows, places = np.intersect1d(records["key"], known["key"], return_indices=True)
        records[rows] = known[places]
        others = known[~np.isin(known["key"], records["key"])]
    missing = np.flatnonzero(~_are_done(records))
    if not len(missing):
        return records
    kept = time.monotonic()

    def keep() -> None:
        done = _are_done(records) & ~np.isin(records["reason"], _TRIED_AGAIN)
        memory.write({"records": np.concatenate([records[done], others])})

    def advance(count: int) -> None:
        nonlocal kept
        step.advance(count)
        if time.monotonic() - kept > _KEEP_SECONDS:
            keep()
            kept = time.monotonic()

    def work(row: int) -> None:
        fingerprint(table.references[row], records[row])

    try:
        # Filters are global to the process, so they are set once around the pool.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # about metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with progress.step("Opening images", total=len(missing), unit="image") as step:
                in_threads(missing, work, workers=workers, done=advance)
    finally:
        keep()  # an interrupted scan goes on where it stopped
    return records


def _keys(references: Sequence[ImageReference]) -> list[bytes]:
    """What an image is known by: its file's path, size and time of change, and its row."""
    states: dict[Path, str] = {}
    for file in {reference.file for reference in references}:
        try:
            status = file.stat()
        except OSError:
            states[file] = "missing"
        else:
            states[file] = f"{status.st_size} {status.st_mtime_ns}"
    rows = ("" if each.row is None else f"{each.row} {each.column}" for each in references)
    boxes = ("" if each.box is None else repr(each.box) for each in references)
    return [
        digest(str(each.file), states[each.file], row + box).encode()
        for each, row, box in zip(references, rows, boxes, strict=True)
    ]


def _cache(folder: Path | None, name: str) -> Cache:
    return Cache(None if folder is None else folder / name)


def _are_done(records: Records) -> BoolArray:
    return np.asarray((records["n_frames"] > 0) | (records["reason"] != b""))


@dataclass(frozen=True)
class Scan:
    """What opening images showed."""

    usable: IntArray
    """Rows of the table whose images are used, ascending, shape (n_usable,)."""
    possible: IntArray
    """Rows that opening did not rule out, whether opened or not, ascending."""
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
    limit: int | None = None,
    seed: int = 0,
) -> Scan:
    """Open the images of a table, or recall what an earlier scan saw.

    With a `limit`, the images of each intersection are taken in an order that `seed` decides until
    so many can be used; the others are not opened. The cache is keyed by path, size and time of
    change; for near duplicates by the pixels that are compared.
    """
    answers, table = table.all_answers, table.once
    cells = table.cells
    listed = np.bincount(cells, minlength=table.n_cells)
    records = np.zeros(len(table), dtype=DTYPE)
    is_open, keep = np.zeros((2, len(table)), dtype=bool)
    most = len(table) if limit is None else limit
    ends = np.full(table.n_cells, most)
    places = _places(cells, np.random.default_rng([seed, int(digest("draw")[:16], 16)]))
    while len(rows := np.flatnonzero(~is_open & (places < ends[cells]))):
        records[rows] = open_once(
            table.only(rows), workers=workers, progress=progress, cache=cache
        )
        is_open[rows] = True
        duplicates = dict(_exact_duplicates(table, answers, records, is_open))
        keep = is_open & (records["reason"] == b"")
        keep[list(duplicates)] = False
        # each image that cannot be used gives way to the next of its intersection
        ends += most - np.bincount(cells[keep], minlength=table.n_cells)
    usable = np.flatnonzero(keep).astype(np.int64)
    seen = records[usable]
    near_sets = np.arange(len(usable), dtype=np.int64)
    if near_duplicates and len(usable):
        near_sets = _near_sets(seen, progress, cache)
    return Scan(
        usable=usable,
        possible=np.flatnonzero(~is_open | keep),
        near_sets=near_sets,
        sha256=tuple(_text(value) for value in seen["sha256"]),
        whites=_shared_whites(seen),
        exclusions=(*unusable_images(table, records), *duplicates.values()),
        notices=(
            *_not_drawn(listed, is_open, len(usable), most),
            *noticed(seen, near_duplicates=near_duplicates),
        ),
    )


def _places(cells: IntArray, rng: np.random.Generator) -> IntArray:
    """Place of each image in a random order of its intersection, from 0, shape (n_images,)."""
    order = rng.permutation(len(cells))
    order = order[np.argsort(cells[order], kind="stable")]
    starts = np.searchsorted(cells[order], cells[order])
    places = np.empty_like(cells)
    places[order] = np.arange(len(cells)) - starts
    return places


def _not_drawn(listed: IntArray, is_open: BoolArray, n_used: int, most: int) -> Iterator[str]:
    if listed.max(initial=0) > most:
        yield (
            f"drew at most {most} of up to {listed.max()} images per intersection: {n_used} of "
            f"{len(is_open)} images are used"
        )
    if n := int((~is_open).sum()):
        yield (
            f"{n} of {len(is_open)} images were not drawn and not opened: how many of them are "
            "unusable or duplicates is not known"
        )


def unusable_images(table: FaceTable, records: Records) -> list[Exclusion]:
    """Why images that were opened cannot be used."""
    return [
        Exclusion(table.references[row].label, _text(reason), _text(detail))
        for row in np.flatnonzero(records["reason"] != b"")
        for reason, detail in [records[["reason", "detail"]][row]]
    ]


def _near_sets(seen: Records, progress: Progress, cache: Path | None) -> IntArray:
    """Found now, or among the same images in the same order before."""

    def compute() -> dict[str, IntArray]:
        columns = (np.ascontiguousarray(seen[name]) for name in ("hash", "mirrored", "thumbnail"))
        with progress.step("Near duplicates", total=len(seen), unit="image") as step:
            return {"sets": near_duplicate_sets(*columns, step=step)}

    place = _cache(cache, "near_duplicates")
    found = CacheEntry(place, "near duplicates", (seen["pixels"], _near_sets), near_duplicate_sets)
    return found.or_computed(compute)["sets"]


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _shared_whites(seen: Records) -> IntArray:
    """The white of most images of unknown depth, for those that do not reach it."""
    is_open = (seen["white"] > 0) & ~seen["is_white_stated"]
    known = np.sort(seen["white"][is_open])
    white = known[(len(known) - 1) // 2] if len(known) else 0  # at least half do not exceed it
    return np.where(is_open & (seen["white"] < white), white, 0).astype(np.int64)


def noticed(seen: Records, *, near_duplicates: bool) -> Iterator[str]:
    """What a reader must know of usable images."""
    used = np.maximum(seen["white"], _shared_whites(seen))
    if (used > 0).any():
        whites, counts = np.unique(used[used > 0], return_counts=True)
        ranges = [f"{n} by {white}" for white, n in zip(whites, counts, strict=True)]
        yield (
            f"{counts.sum()} images are deeper than 8 bits and were scaled by the range "
            f"that they use: {', '.join(ranges)}"
        )
    several = int((seen["n_frames"] > 1).sum())
    if several:
        yield f"{several} images have several frames or pages: the first of each is used"
    if not near_duplicates:
        yield "near duplicates were not looked for: the config turns this off"


def _exact_duplicates(
    table: FaceTable,
    answers: Sequence[tuple[frozenset[int], ...]],
    records: Records,
    is_open: BoolArray,
) -> Iterator[tuple[int, Exclusion]]:
    """Rows to leave out because the same pixels were seen before, with the reason of each."""
    sets: dict[bytes, list[int]] = {}
    for row in np.flatnonzero(is_open & (records["reason"] == b"")).tolist():
        sets.setdefault(records["pixels"][row], []).append(row)
    for first, *others in sets.values():
        columns = zip(table.attributes, *(answers[row] for row in (first, *others)), strict=True)
        differing = [attribute.name for attribute, *own in columns if len({*own}) > 1]
        for row in [first, *others] if differing else others:
            twin = table.references[first if row != first else others[0]].label
            reason, detail = "exact duplicate", f"same pixels as {twin}, which is kept"
            if differing:
                reason = "exact duplicates with conflicting labels"
                names = ", ".join(differing)
                detail = f"same pixels as {twin}; annotated {names} differ among the copies"
            yield row, Exclusion(table.references[row].label, reason, detail)


SAMPLE = 600
"""Images opened: without one unusable among them, at most 0.6 % of all are."""
LEVEL = 0.95


@dataclass(frozen=True)
class QuickLook:
    """What a sample of the images shows."""

    n_opened: int
    unusable: tuple[Exclusion, ...]
    """Images of the sample that cannot be used."""
    share: tuple[float, float]
    """Interval for the share of unusable images among all; where all were opened, the share."""
    notices: tuple[str, ...]


def quick_look(
    table: FaceTable, *, workers: int, seed: int, progress: Progress, cache: Path | None
) -> QuickLook:
    """Open a sample of the images; duplicates are not looked for."""
    rng = np.random.default_rng([seed, int(digest("quick look")[:16], 16)])
    sample = table.only(spread(table.cells, SAMPLE, rng))
    records = open_once(sample, workers=workers, progress=progress, cache=cache)
    unusable = unusable_images(sample, records)
    share = len(unusable) / len(sample)
    exact = len(sample) == len(table)
    return QuickLook(
        n_opened=len(sample),
        unusable=tuple(unusable),
        share=(share, share) if exact else wilson_interval(share, len(sample), level=LEVEL),
        notices=tuple(noticed(records[records["reason"] == b""], near_duplicates=True)),
    )


def spread(cells: IntArray, n: int, rng: np.random.Generator) -> IntArray:
    """Rows of a systematic sample: each as likely as any other, every cell in its share.

    Args:
        cells: Intersection of each image, shape (n_images,).
        n: Rows to draw; all, where there are no more.
        rng: Decides where the sample begins, and the order within cells.

    Returns:
        Rows, ascending, shape (min(n, n_images),).
    """
    if len(cells) <= n:
        return np.arange(len(cells), dtype=np.int64)
    order = rng.permutation(len(cells))
    order = order[np.argsort(cells[order], kind="stable")]
    steps = (rng.random() + np.arange(n)) * (len(cells) / n)
    return np.sort(order[steps.astype(np.int64)])
