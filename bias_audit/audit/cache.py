"""Intermediate results on disk, so that an interrupted analysis goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from bias_audit.files import digest, write_atomically, writing

Arrays = Mapping[str, npt.NDArray[Any]]


class DiskCache:
    """Arrays by key, one file each, in a folder only its owner may read.

    What is kept here may be about single images; it never enters a run folder.
    """

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which is made on the first `put`."""
        self.folder = folder

    def get(self, key: str) -> dict[str, npt.NDArray[Any]] | None:
        """What was put under `key`; None if nothing was, or if the file is damaged."""
        try:
            with np.load(self._path(key), allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, EOFError):
            return None

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep arrays under `key`, atomically.

        Raises:
            OutputError: The disk refuses.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(self._path(key), partial(_save, dict(arrays)))

    def _path(self, key: str) -> Path:
        return self.folder / f"{digest(key)}.npz"


def _save(arrays: dict[str, npt.NDArray[Any]], file: IO[bytes]) -> None:
    np.savez(file, allow_pickle=False, **arrays)
