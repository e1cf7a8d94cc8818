"""A place for what libraries keep between runs, where the user's own home takes nothing.

Matplotlib warns there, Numba stops, and fontconfig complains; weights are still looked for where
they have always been.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import platformdirs


def prepare() -> None:
    """Name folders for caches, until the process ends, where the usual ones cannot be written."""
    cache, settings = _places()
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


def _places() -> tuple[Path | None, Path | None]:
    """Of the user's caches and settings; None for a user without a home."""
    try:
        return platformdirs.user_cache_path(), platformdirs.user_config_path()
    except RuntimeError:
        return None, None


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
