"""Every image opened once, in threads, with a memory of what was seen."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from bias_audit.arrays import IntArray
from bias_audit.data.faces import FaceTable, ImageReference
from bias_audit.data.fingerprints import DTYPE, Records, fingerprint
from bias_audit.data.images import NOT_FETCHED, NOT_INSTALLED
from bias_audit.files import digest, read_arrays, write_arrays, writing
from bias_audit.progress import Progress
from bias_audit.software import software_of

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
    with (
        progress.step("Opening images", total=len(rows), unit="image") as step,
        _strict_pillow(),
    ):
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
