"""Reading and writing files so that a failure never leaves half a file behind."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import tempfile
import threading
import time
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from bias_audit.errors import OutputError

_LOG = logging.getLogger(__name__)
_NEW_FILE = 0o666
_UMASK = threading.Lock()
ERRORS = "errors.log"
"""Of a run folder: tracebacks of defects."""
_PARTIAL = ".partial"
"""Ends the names of files that are being written."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST = 64
_DIGEST = 8


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an operating system refusal while writing `path` into an `OutputError`."""
    try:
        yield
    except OSError as error:
        message = (
            f"cannot write {path} ({error.strerror or error}): expected a folder this user may "
            "write to; choose one with output.folder and output.cache in the config, or with --to "
            "where the command has that option"
        )
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            message = (
                f"no space left to write {path}: free some disk, or choose another place with "
                "--set output.folder=... (and output.cache=...); what is stored already is kept"
            )
        raise OutputError(message) from error


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside its place, then move it there in one step.

    Raises:
        OutputError: The disk is full, or the folder cannot be written to.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=_PARTIAL
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            with _UMASK:
                mask = os.umask(0o077)  # the user's own; it can only be read by setting it
                os.umask(mask)
            Path(name).chmod(_NEW_FILE & ~mask)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def write_derived(path: Path, content: bytes) -> None:
    """Write a file that can be made again at any time, unless it has this content already.

    It is written atomically, but the system may take its time: many such files are written at
    once, and waiting for the disk after each takes longer than making them.

    Raises:
        OutputError: As `write_atomically` does.
    """
    with writing(path):
        if path.is_file() and path.read_bytes() == content:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; see `write_atomically`."""
    write_atomically(path, lambda file: file.write(text.encode()))


def remove_partial(folder: Path, *, older: float) -> int:
    """Delete what killed writers left in a folder, at any depth; returns how many files.

    What was changed within the last `older` seconds may still be written, and stays.
    """
    before, count = time.time() - older, 0
    for path in folder.rglob(f".*{_PARTIAL}"):
        try:
            if path.stat().st_mtime <= before:
                path.unlink()
                count += 1
        except OSError:
            continue  # its writer was faster, or it is another user's
    return count


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]] | None:
    """Arrays of an .npz file; None if there is none, or if it is damaged, which is logged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        warn_of_damage(path, error)
        return None


def warn_of_damage(path: Path, error: Exception | str) -> None:
    """Warn that something stored cannot be used.

    It goes to Python's logging, which commands show as their own lines, since it is noticed where
    there is no other way to speak.
    """
    what = str(error).strip().partition("\n")[0] or type(error).__name__
    _LOG.warning("%s is damaged (%s) and not used", path, what)


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays to an .npz file atomically; see `write_atomically`."""
    write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


@contextmanager
def locked(folder: Path, *, busy: str) -> Iterator[None]:
    """Lock a folder for one command; the system frees the lock of a process that dies.

    Raises:
        OutputError: Another command locked it (`busy` says so), or it cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise OutputError(busy) from error
    try:
        yield
    finally:
        lock.release()


def keep_error(error: Exception, folder: Path, *, is_inside: bool = False) -> str:
    """Add a traceback to the folder's log, and give the error in a line that names the log.

    Where the log cannot be written, as on a full disk, the line says the error alone; where the
    line is read inside the folder, the log needs no path.
    """
    log = folder / ERRORS
    line = f"{type(error).__name__}: {error}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.writelines(traceback.format_exception(error))
    except OSError:
        return line
    return f"{line} (see {log.name if is_inside else log})"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(*parts: str | bytes) -> str:
    """A 32-digit fingerprint of an ordered list of parts (SHA-256, each part length-prefixed)."""
    total = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        total.update(f"{len(raw)}:".encode())
        total.update(raw)
    return total.hexdigest()[:32]


def safe_name(text: str) -> str:
    """A text as a file name, with a digest to keep it unique where it had to change."""
    safe = _UNSAFE.sub("_", text).lstrip("._-")
    if safe == text and len(safe) <= _LONGEST:
        return safe
    return f"{safe[: _LONGEST - _DIGEST - 1] or 'unnamed'}-{digest(text)[:_DIGEST]}"
