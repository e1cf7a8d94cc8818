"""Results of computations, kept with the code that made them: the one way to the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from time import monotonic
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from bias_audit.files import digest, read_arrays, write_arrays, writing
from bias_audit.software import software_of

Arrays = Mapping[str, npt.NDArray[Any]]
_CHECKPOINT_SECONDS: Final = 30.0


class Fingerprinted(Protocol):
    """Identifies, in a few characters, everything about a value that a result may depend on."""

    @property
    def fingerprint(self) -> str:
        """Another one whenever a number could be another."""


Input = str | bytes | npt.NDArray[Any] | Fingerprinted | Callable[..., object]
"""What a result depends on; a function counts by the code and the libraries of its module."""


class Cache:
    """One file for each result, in a folder that only its owner may read; or this process alone.

    What is kept here may be about single images; it never enters a run folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Use `folder`, which is made on the first `put`; None keeps results in memory."""
        self.folder = folder
        self.kept: dict[str, dict[str, npt.NDArray[Any]]] = {}

    def get(self, key: str) -> dict[str, npt.NDArray[Any]] | None:
        """What was put under `key`; None if nothing was, or if the file is damaged."""
        return self.kept.get(key) if self.folder is None else read_arrays(self.folder / key)

    def has(self, key: str) -> bool:
        """Whether something was put under `key`; a damaged file counts."""
        return key in self.kept if self.folder is None else (self.folder / key).is_file()

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep arrays under `key`, atomically."""
        if self.folder is None:
            self.kept[key] = dict(arrays)
            return
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_arrays(self.folder / key, arrays)


@dataclass(frozen=True)
class CacheEntry:
    """The place of one result, which is another one after any change behind the result.

    That is: when an input is another, or when anything changed in the module of `code`, in all of
    this package that this module imports, or in a library.
    """

    cache: Cache
    purpose: str
    """Names the result among those of the same inputs."""
    inputs: Sequence[Input]
    """Everything that the result depends on."""
    code: Callable[..., object]
    """The function that computes it, or a `partial` of that function."""

    @cached_property
    def fingerprint(self) -> str:
        """Of purpose, inputs and code."""
        return digest(self.purpose, *map(_part, (self.code, *self.inputs)))

    @property
    def path(self) -> Path:
        """The file, if results are not kept in memory."""
        return (self.cache.folder or Path()) / f"{self.fingerprint}.npz"

    def read(self) -> dict[str, npt.NDArray[Any]] | None:
        """What is kept; None if nothing is, or if it is damaged."""
        return self.cache.get(self.path.name)

    def write(self, arrays: Arrays) -> None:
        """Keep what was computed."""
        self.cache.put(self.path.name, arrays)

    def or_computed(self, compute: Callable[[], Arrays]) -> Arrays:
        """As kept, or computed now and kept."""
        found: Arrays | None = self.read()
        if found is None:
            found = compute()
            self.write(found)
        return found

    def resumed(self, compute: Callable[[Arrays | None], Iterator[Arrays]]) -> Arrays | None:
        """The same of work in many pieces, kept every half minute; None if there was no work.

        `compute` continues from what it yielded last, or begins where that is None, and yields all
        it has after each piece of work; nothing where no piece is left.
        """
        begun: Arrays | None = self.read()
        state, is_kept, kept_at = begun, True, monotonic()
        for state in compute(begun):
            is_kept = monotonic() - kept_at > _CHECKPOINT_SECONDS
            if is_kept:
                self.write(state)
                kept_at = monotonic()
        if state is not None and not is_kept:
            self.write(state)
        return state


@dataclass(frozen=True)
class Cached:
    """A result that is in the cache, or will be once it is needed."""

    entry: CacheEntry
    _compute: Callable[[], Arrays]

    @property
    def is_there(self) -> bool:
        """Whether nothing is left to compute, unless the file is damaged."""
        return self.entry.cache.has(self.entry.path.name)

    def arrays(self) -> Arrays:
        """As kept, or computed now and kept."""
        return self.entry.or_computed(self._compute)


def _part(value: Input) -> str | bytes:
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} ".encode() + value.tobytes()
    while isinstance(value, partial):
        value = value.func
    return software_of(value.__module__).digest if callable(value) else value.fingerprint
