"""What a process needs around it: streams that take any text, and folders for caches.

Whatever the terminal, pipe or log is, no command fails on it: characters that an encoding lacks
are written in others that it has, and output that no one reads any more is dropped while the work
continues.
"""

from __future__ import annotations

import atexit
import codecs
import errno
import io
import os
import shutil
import sys
import tempfile
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import platformdirs

_ERRORS = "bias_audit.readable"
_BOXES = range(0x2500, 0x2580)
_BLOCKS = range(0x2580, 0x25A0)
_LOST_READER = {errno.EPIPE, errno.EINVAL, errno.EBADF, errno.ECONNRESET}
"""EINVAL is what Windows says of a closed pipe."""
_PLAIN = {
    **dict.fromkeys("−–—‐‑‒―⁻", "-"),
    **dict.fromkeys("‘’‚′", "'"),
    **dict.fromkeys("“”„″«»", '"'),
    **dict.fromkeys("•●○◦∙·▪", "*"),
    **dict.fromkeys("■□◼◻", "#"),
    **dict.fromkeys("\u00a0\u202f\u2007\u2009\u200a", " "),
    **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", ""),
    **{"…": "...", "→": "->", "←": "<-", "↔": "<->", "↑": "^", "↓": "v", "⇒": "=>", "▲": "^"},
    **{"▼": "v", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "±": "+/-", "×": "x", "÷": "/"},
    **{"✓": "ok", "✔": "ok", "✗": "x", "✘": "x", "∞": "inf", "°": " deg", "⁄": "/"},
    **{"‰": " per mille"},
    **{"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O"},
    **{"đ": "d", "Đ": "D", "ł": "l", "Ł": "L", "ı": "i", "þ": "th", "Þ": "Th", "ð": "d"},
}


def prepare_streams() -> None:
    """Make standard output and error take any text, and survive that no one reads it.

    Streams that were closed before the start lead nowhere; those that a caller put in place of
    its own are left alone.
    """
    codecs.register_error(_ERRORS, _readable)
    _open_closed()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _lasting(stream))


def lost_output() -> str | None:
    """Why output was lost that may be waited for, such as on a full disk; None if none was."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = raw.error if isinstance(raw, _Raw) else None
    if error is None or error.errno in _LOST_READER:
        return None
    return error.strerror or str(error)


def readable(text: str) -> str:
    """Text of characters that ASCII lacks, in characters that it has."""
    return "".join(_plain(char) for char in text)


class _Raw(io.FileIO):
    """A file that takes what it is given, even where no one reads it any more."""

    error: OSError | None = None

    def write(self, data: object, /) -> int:
        """Write, or drop what cannot be written any more."""
        if self.error is None:
            try:
                return super().write(data)  # type: ignore[arg-type]
            except BlockingIOError:
                raise
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes  # type: ignore[arg-type]


def _lasting(stream: io.TextIOWrapper) -> TextIO:
    stream.reconfigure(errors=_ERRORS)
    raw = getattr(stream.buffer, "raw", stream.buffer)
    if type(raw) is not io.FileIO:
        return stream  # the console of Windows, which takes all characters
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Raw(raw.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors=_ERRORS,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _open_closed() -> None:
    """In the order of their numbers, so that no file that is opened later takes one of these."""
    for name, mode in (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is not None:
            continue
        descriptor = os.open(os.devnull, mode)
        nowhere = io.FileIO(descriptor, "r" if mode == os.O_RDONLY else "w", closefd=False)
        buffer = io.BufferedReader(nowhere) if nowhere.readable() else io.BufferedWriter(nowhere)
        setattr(sys, name, io.TextIOWrapper(buffer, encoding="utf-8", errors=_ERRORS))


def _readable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return readable(error.object[error.start : error.end]), error.end


def _plain(char: str) -> str:
    known = _PLAIN.get(char)
    if known is not None:
        return known
    if ord(char) in _BOXES:
        *_, before, last = unicodedata.name(char).split()
        return "+" if before == "AND" else {"HORIZONTAL": "-", "VERTICAL": "|"}.get(last, "+")
    if ord(char) in _BLOCKS:
        return "#"
    parts = unicodedata.normalize("NFKD", char)
    base = "".join(_PLAIN.get(part, part) for part in parts if not unicodedata.combining(part))
    return base if base.isascii() and base else ascii(char)[1:-1]


def prepare_caches() -> None:
    """Name folders for caches, until the process ends, where the user's own cannot be written.

    Matplotlib warns there, Numba stops, and fontconfig complains; weights are still looked for
    where they have always been.
    """
    cache: Path | None = None
    settings: Path | None = None
    with suppress(RuntimeError):  # a user without a home
        cache, settings = platformdirs.user_cache_path(), platformdirs.user_config_path()
    if _is_writable(cache) and _is_writable(settings):
        return
    try:
        folder = tempfile.mkdtemp(prefix="bias-audit-")
    except OSError:  # nowhere to write at all, which reading a report does without
        return
    atexit.register(_remove, folder, os.getpid())
    os.environ.setdefault("MPLCONFIGDIR", str(Path(folder) / "matplotlib"))
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(folder) / "numba"))
    if sys.platform == "linux" and not _is_writable(cache):  # fontconfig knows no other key
        os.environ.setdefault("HF_HOME", str((cache or Path(folder)) / "huggingface"))
        os.environ.setdefault("TORCH_HOME", str((cache or Path(folder)) / "torch"))
        os.environ["XDG_CACHE_HOME"] = folder


def _remove(folder: str, owner: int) -> None:
    """A forked process leaves it to the one that made it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _is_writable(path: Path | None) -> bool:
    """Whether the folder can be written, or made."""
    for place in () if path is None else (path, *path.parents):
        if place.exists():
            return place.is_absolute() and place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    return False
