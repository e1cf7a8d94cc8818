"""Every image opened once: unusable ones found, exact duplicates left out, near ones joined."""

from __future__ import annotations

import hashlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from bias_audit.arrays import IntArray
from bias_audit.data.duplicates import near_duplicate_sets
from bias_audit.data.faces import Exclusion, FaceTable, ImageReference
from bias_audit.data.images import (
    NOT_FETCHED,
    NOT_INSTALLED,
    UnusableImageError,
    common_white,
    decode_first,
    read_bytes,
)
from bias_audit.files import digest, read_arrays, write_arrays, writing
from bias_audit.progress import Progress
from bias_audit.software import software_of
from bias_audit.statistics.proportions import wilson_interval

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
        record["sha256"] = hashlib.sha256(data).hexdigest().encode()
        decoded = decode_first(data)
    except UnusableImageError as error:
        record["detail"] = error.detail.encode()[: DTYPE["detail"].itemsize]
        record["reason"] = error.reason.encode()
        return
    image = decoded.image
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
    memory = _Memory(cache / "scan" / f"{digest(table.name)}.npz") if cache else None
    if memory is not None:
        memory.recall(records)
    missing = np.flatnonzero(~_done(records))
    if not len(missing):
        return records

    def keep() -> None:
        if memory is not None:
            memory.remember(records)

    try:
        _open_all(
            table.references, records, missing, workers=workers, progress=progress, keep=keep
        )
    finally:
        # An interrupted scan goes on where it stopped.
        keep()
    return records


def _keys(references: Sequence[ImageReference]) -> list[bytes]:
    known: dict[Path, str] = {}
    software, keys = software_of(__name__).digest, []
    for reference in references:
        if reference.file not in known:
            known[reference.file] = _state(reference.file)
        row = "" if reference.row is None else f"{reference.row} {reference.column}"
        keys.append(digest(software, str(reference.file), known[reference.file], row).encode())
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


class _Memory:
    """What was seen of images by code and libraries as they are now, in one file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._software = np.array(software_of(__name__).digest)
        self._others = np.zeros(0, dtype=DTYPE)
        """Of images that are not in the table."""

    def recall(self, records: Records) -> None:
        """Fill in what is known of the images that have these keys."""
        stored = read_arrays(self._file) or {}
        known = stored.get("records")
        if known is None or known.dtype != DTYPE or stored.get("software") != self._software:
            return
        _, rows, places = np.intersect1d(records["key"], known["key"], return_indices=True)
        records[rows] = known[places]
        self._others = known[~np.isin(known["key"], records["key"])]

    def remember(self, records: Records) -> None:
        """Keep what is done, beside what was known of other images."""
        done = _done(records) & ~np.isin(records["reason"], _TRIED_AGAIN)
        with writing(self._file.parent):
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = np.concatenate([records[done], self._others])
        write_arrays(self._file, {"records": kept, "software": self._software})


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
    code = software_of(near_duplicate_sets.__module__).digest
    key = digest(code, *(column.tobytes() for column in columns))
    file = None if cache is None else cache / "near_duplicates" / f"{key}.npz"
    stored = None if file is None else read_arrays(file)
    if stored is not None:
        return stored["sets"]
    with progress.step("Near duplicates", total=len(seen), unit="image") as step:
        sets = near_duplicate_sets(*columns, step=step)
    if file is not None:
        with writing(file.parent):
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_arrays(file, {"sets": sets})
    return sets


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
    """Open a sample of the images; duplicates are not looked for.

    Args:
        table: The annotated faces.
        workers: Threads that decode.
        seed: Of the audit.
        progress: Where to report.
        cache: Folder for what was seen; see `opening.open_once`.

    Raises:
        OutputError: The cache cannot be written.
    """
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
