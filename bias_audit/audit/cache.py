"""Intermediate results on disk, so that an interrupted analysis goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from bias_audit.files import digest, read_arrays, write_arrays, writing

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
        return read_arrays(self._path(key))

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep arrays under `key`, atomically.

        Raises:
            OutputError: The disk refuses.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_arrays(self._path(key), arrays)

    def _path(self, key: str) -> Path:
        return self.folder / f"{digest(key)}.npz"
