"""Every image opened once, in threads, with a memory of what was seen."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from bias_audit.data.faces import FaceTable, ImageReference
from bias_audit.data.fingerprints import DTYPE, Records, fingerprint
from bias_audit.files import digest, read_arrays, write_arrays, writing
from bias_audit.groups import IntArray
from bias_audit.progress import Progress
from bias_audit.software import software_of

_CHUNK = 16
"""Images per task of the pool."""


def open_once(
    table: FaceTable, *, workers: int, progress: Progress, cache: Path | None
) -> Records:
    """Fingerprints of all images of a table, in its order.

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
    file = None if cache is None else cache / "scan" / f"{digest(table.name)}.npz"
    if file is not None:
        _recall(file, records)
    missing = np.flatnonzero((records["n_frames"] == 0) & (records["reason"] == b""))
    if not len(missing):
        return records
    try:
        _open_all(table.references, records, missing, workers=workers, progress=progress)
    finally:
        # An interrupted scan goes on where it stopped.
        if file is not None:
            _remember(file, records)
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
) -> None:
    stop = threading.Event()

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


def _recall(file: Path, records: Records) -> None:
    stored = read_arrays(file)
    known = (stored or {}).get("records")
    if known is None or known.dtype != DTYPE:
        return
    places = {key: place for place, key in enumerate(known["key"])}
    for row, key in enumerate(records["key"]):
        if (place := places.get(key)) is not None:
            records[row] = known[place]


def _remember(file: Path, records: Records) -> None:
    done = (records["n_frames"] > 0) | (records["reason"] != b"")
    # A file that could not be read may be readable next time without any change to it.
    done &= records["reason"] != b"unreadable file"
    with writing(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_arrays(file, {"records": records[done]})
