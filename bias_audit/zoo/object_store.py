"""Files by their content in an object store, for workers that share no disk with the command.

What a config names by relative paths is put into the store once; a worker fetches it into folders
of its own, and its results come back the same way. Any URL that fsspec opens will do.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final
from uuid import uuid4

import fsspec
from filelock import FileLock
from pydantic import BaseModel

from bias_audit.config.catalog import ANALYSES, BACKBONE_SOURCES, DATA_SOURCES
from bias_audit.config.schema import AuditConfig
from bias_audit.errors import OutputError
from bias_audit.files import sha256_of, write_atomically, writing

_OBJECTS: Final = "objects"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class ObjectStore:
    """One place of a store: files under the SHA-256 of their bytes, and lists of such files."""

    def __init__(self, url: str) -> None:
        """Open `url`, such as "s3://bucket/zoo", "memory://zoo" or "file:///mnt/zoo".

        Raises:
            OutputError: fsspec does not know the protocol, or its package is not installed.
        """
        self.url = url
        self._known: dict[Path, str] = {}
        """Digests of files that are in the store already."""
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise OutputError(
                f"executor.store: {url!r} cannot be opened ({error}); expected a URL of a "
                "protocol whose package is installed, such as s3:// with s3fs"
            ) from error

    def put(self, files: Mapping[str, Path]) -> str:
        """Put files, named by relative paths, and return the digest of their list.

        A file that is there already, of any name, is not sent again.

        Raises:
            OutputError: The store or a file refuses.
        """
        with self._reached():
            listed = {name: self._put(path) for name, path in sorted(files.items())}
            content = json.dumps(listed, sort_keys=True).encode()
            with self._sent() as part:
                self._files.pipe_file(part, content)
                name = _sha256(content)
                self._files.mv(part, self._place(name))
        return name

    def _put(self, path: Path) -> str:
        if path in self._known:
            return self._known[path]
        name = self._known[path] = sha256_of(path)
        place = self._place(name)
        if not (self._files.exists(place) and self._files.size(place) == path.stat().st_size):
            with self._sent() as part:
                self._files.put_file(str(path), part)
                self._files.mv(part, place)
        return name

    @contextmanager
    def _sent(self) -> Iterator[str]:
        """A name to write under, so that what an interrupted writer leaves is never an object."""
        self._files.makedirs(f"{self._root}/{_OBJECTS}", exist_ok=True)
        yield f"{self._root}/{_OBJECTS}/.{uuid4().hex}.partial"

    def fetch(self, listed: str, into: Path, *, kept: Path) -> None:
        """Fetch all files of a list into a folder; contents that are `kept` already are linked.

        Raises:
            OutputError: The store refuses, one of its files is damaged, or a name leads out.
        """
        with self._reached():
            names = json.loads(self._object(listed, kept).read_bytes())
            for name, sha256 in names.items():
                parts = PurePosixPath(name)
                if parts.is_absolute() or ".." in parts.parts:
                    raise OutputError(f"executor.store: {name!r} in {self.url} leaves its folder")
                place, source = into / parts, self._object(sha256, kept)
                with writing(place):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    part = place.with_name(f".{uuid4().hex}.partial")
                    try:
                        os.link(source, part)
                    except OSError:  # another disk, or one without links
                        shutil.copyfile(source, part)
                    part.replace(place)

    def _object(self, name: str, kept: Path) -> Path:
        """A file of the store, fetched by one process of a machine."""
        path = kept / name
        with writing(kept):
            kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(kept / f"{name}.lock", mode=0o600):
            if not path.is_file():
                content = self._files.cat_file(self._place(name))
                if _sha256(content) != name:
                    raise OutputError(
                        f"executor.store: {name} in {self.url} is damaged: its bytes are not what "
                        "its name says; delete it there, and run again"
                    )
                write_atomically(path, lambda file: file.write(content))
        return path

    def _place(self, name: str) -> str:
        return f"{self._root}/{_OBJECTS}/{name}"

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except OutputError:
            raise
        except Exception as error:  # what clients of object stores raise is not bounded
            first = (str(error) or type(error).__name__).strip().splitlines()[0]
            raise OutputError(
                f"executor.store: {self.url} refuses ({type(error).__name__}: {first}); check the "
                "address and the credentials on all nodes"
            ) from error


def below(folder: Path) -> dict[str, Path]:
    """Files below a folder by their relative paths; hidden ones, such as locks, are left out."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def inputs_of(config: AuditConfig) -> dict[str, Path]:
    """Files that a config names by paths relative to the current folder, images among them.

    Absolute paths are taken for those of every node.

    Raises:
        AuditError: The data cannot be read.
    """
    source = DATA_SOURCES.load(config.data.kind)
    data = source.params_type.model_validate(config.data.params)
    named = [config.model_copy(update={"output": None}), data]
    for catalog, components in ((BACKBONE_SOURCES, config.backbones), (ANALYSES, config.analyses)):
        for component in components:
            plugin = catalog.load(component.kind)
            named.append(plugin.params_type.model_validate(component.params))
    paths = {path for each in named for path in _paths(each)}
    paths |= {reference.file for reference in source.read(data).references}
    found: dict[str, Path] = {}
    for path in sorted(paths):
        if path.is_absolute() or ".." in path.parts:
            continue
        if path.is_dir():
            found |= {f"{path.as_posix()}/{name}": file for name, file in below(path).items()}
        elif path.is_file():
            found[path.as_posix()] = path
    return found


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        yield from _paths(tuple(vars(value).values()))
    elif isinstance(value, Mapping):
        yield from _paths(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _paths(part)
