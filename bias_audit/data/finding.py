"""From a path in a label file to an image file inside the folder; paths are not trusted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from pydantic import Field

from bias_audit.config.schema import Strict
from bias_audit.contents import BASE64, recognise
from bias_audit.data.faces import Exclusion, ImageReference
from bias_audit.data.images import NOT_FETCHED, UnusableImageError
from bias_audit.data.texts import comparable, one_line, reference_of
from bias_audit.errors import DataError, some

NO_PATH = "(no path)"
"""Stands for an entry that names no file."""
_LONG = 50
"""Characters from which on a text may be an image in base64."""
_LINK_TEXT = 4096
"""A file that is longer is no link that a copy has turned into text."""
_FETCHED = {"annex/objects/": "git annex get", "/files/md5/": "dvc pull", "/cache/": "dvc pull"}
"""Parts of the targets of links, and what fetches the content of such."""
_UNICODE = "paths were found in another Unicode form, or with other blanks or dashes"
_ABSOLUTE = "absolute paths inside of the folder were read as relative to it"
_BACKSLASHES = "paths with \\ between folders were read with /"
_OUTSIDE = "images were read through links that lead out of the folder, which the config allows"


class Linked(Strict):
    """Settings of a source that reads image files from a folder."""

    follow_links: bool = Field(
        default=False,
        description="Follow links that lead outside of the folder: mounted disks, DVC, git-annex.",
    )


class _Folder:
    """One folder, listed once."""

    def __init__(self, path: Path, *, is_outside: bool) -> None:
        self.path = path
        self.is_outside = is_outside
        """Whether a link outside of the root was followed to get here."""
        try:
            with os.scandir(path) as entries:
                self.entries = {entry.name: _kind(entry) for entry in entries}
        except OSError:
            self.entries = {}

    @cached_property
    def alike(self) -> dict[str, list[str]]:
        """Names by the form that they are compared in."""
        found: dict[str, list[str]] = {}
        for name in self.entries:
            found.setdefault(comparable(name), []).append(name)
        return found

    @cached_property
    def any_case(self) -> dict[str, str]:
        """Names by their form without case."""
        return {name.casefold(): name for name in self.entries}

    def kind(self, name: str) -> str:
        """Of an entry; one that the listing lacks may be there on disks that ignore case."""
        known = self.entries.get(name)
        if known is None and os.path.lexists(self.path / name):
            known = self.entries[name] = _kind(self.path / name)
        return known or ""


def _kind(entry: os.DirEntry[str] | Path) -> str:
    """Pipes, sockets and devices are no files: reading them may never end."""
    if entry.is_symlink():
        return "link"
    return "folder" if entry.is_dir() else "file" if entry.is_file() else "other"


class ImageFinder:
    """Finds images inside a folder, each of its sub-folders listed once."""

    def __init__(self, root: Path, *, follow_links: bool = False) -> None:
        """Look inside a folder, which may itself be a link."""
        self.root = root.resolve()
        self._named = Path(os.path.abspath(root))  # noqa: PTH100 - links stay as they are
        self._follow = follow_links
        self._folders: dict[tuple[str, ...], _Folder] = {(): _Folder(self.root, is_outside=False)}
        self._bases: dict[str, Path] = {}
        self._changed: Counter[str] = Counter()

    @property
    def names(self) -> list[str]:
        """Names in the folder itself that are not folders, sorted."""
        entries = self._folders[()].entries.items()
        return sorted(
            name
            for name, kind in entries
            if kind != "folder" and not (kind == "link" and (self.root / name).is_dir())
        )

    def find(self, name: str) -> ImageReference | Exclusion:
        """The image file that a path names, or why there is none.

        The path is relative to the folder or absolute, as the source writes it; it is not trusted.
        """
        if not comparable(name):
            detail = "expected an image or a path, got an empty field"
            return Exclusion(NO_PATH, "empty field", detail)
        is_long = len(name) > _LONG
        if is_long and recognise(name[:_LINK_TEXT].encode(errors="replace")) == BASE64:
            detail = f"expected an image or a path, got {BASE64.words}"
            return Exclusion(NO_PATH, "image as text", detail)
        try:
            return ImageReference(self._found(name))
        except UnusableImageError as error:
            hint = self._hint(name) if error.reason == "missing file" else ""
            return Exclusion(reference_of(name), error.reason, error.detail + hint)
        except (OSError, RuntimeError, ValueError):
            why = "its links form a circle, or it is not a path"
            detail = f"'{one_line(name)}' cannot be looked up: {why}"
            return Exclusion(reference_of(name), "missing file", detail)

    def _hint(self, name: str) -> str:
        """The nearest way to write a path that leads to a file."""
        changed = self._changed.copy()
        plain = unquote(name.removeprefix("file://"))
        inside = PurePosixPath(plain).parts
        if plain != name and plain.startswith("/"):
            there = self.find(plain)
            found = isinstance(there, ImageReference)
            if isinstance(there, ImageReference) and there.file.is_relative_to(self.root):
                plain = str(there.file.relative_to(self.root))
        elif inside[:1] == (self.root.name,):
            plain, found = "/".join(inside[1:]), self._is_there(inside[1:])
        else:
            found = plain != name and self._is_there(inside)
        self._changed = changed  # nothing was read so
        return f"; write '{one_line(plain)}'" if found else ""

    def notices(self) -> Iterator[str]:
        """What was changed in paths to find their files, with counts."""
        yield from (f"{count} {what}" for what, count in self._changed.items() if count)

    def _found(self, name: str) -> Path:
        try:
            return self._walk(self._parts(name))
        except UnusableImageError:
            # a file may have \ in its name, so that is tried first
            if "\\" not in name or _is_windows_absolute(name):
                raise
        found = self._walk(self._parts(name.replace("\\", "/")))
        self._changed[_BACKSLASHES] += 1
        return found

    def _parts(self, name: str) -> tuple[str, ...]:
        """Names of the folders and of the file, from the root on."""
        if _is_windows_absolute(name):
            raise self._elsewhere(name, PureWindowsPath(name).parts[1:])
        if name.startswith("/") or (os.name == "nt" and PureWindowsPath(name).anchor):
            return self._inside(name)
        parts = tuple(part for part in name.split("/") if part not in {"", "."})
        if ".." not in parts:
            return parts
        inside = os.path.relpath(os.path.normpath(self.root / name), self.root)
        if inside.startswith(".."):
            detail = f"expected a file inside of the folder, got '{one_line(name)}'"
            raise UnusableImageError("path leaves the folder", f"{detail}, which is outside")
        return PurePosixPath(inside).parts

    def _inside(self, name: str) -> tuple[str, ...]:
        """The same of an absolute path, which may pass through a link to the root."""
        path = Path(os.path.normpath(name))
        parent = str(path.parent)
        if parent not in self._bases:
            self._bases[parent] = path.parent.resolve()
        for own, base in (
            (path, self.root),
            (path, self._named),
            (self._bases[parent] / path.name, self.root),
        ):
            if own.is_relative_to(base):
                self._changed[_ABSOLUTE] += 1
                return own.relative_to(base).parts
        raise self._elsewhere(name, PurePosixPath(name).parts[1:])

    def _elsewhere(self, name: str, parts: tuple[str, ...]) -> UnusableImageError:
        """An absolute path; where its end lies inside of the folder, the fix is known.

        A file that is there under its own path is another picture than one of the folder.
        """
        if os.path.exists(name):  # noqa: PTH110 - of any form
            detail = (
                "the file lies outside of data.root: set data.root to a folder that contains it"
            )
            raise UnusableImageError(
                "absolute path", f"{detail}, or copy or link it into the folder"
            )
        hint = ""
        for start in range(len(parts)):
            if self._is_there(parts[start:]):
                ours = "/".join(parts[start:])
                hint = f": write '{one_line(ours)}', without '{one_line(name[: -len(ours)])}'"
                break
        detail = f"expected a path inside of data.root, or relative to it{hint}"
        return UnusableImageError("absolute path", detail)

    def _is_there(self, parts: tuple[str, ...]) -> bool:
        try:
            self._walk(parts)
        except (UnusableImageError, OSError, RuntimeError, ValueError):
            return False
        return True

    def _walk(self, parts: tuple[str, ...]) -> Path:
        """The file at the end of a path, every link on it looked at."""
        if not parts:
            raise UnusableImageError(
                "missing file", "expected an image file, got data.root itself"
            )
        real: tuple[str, ...] = ()
        folder, changed = self._folders[()], False
        for part in parts[:-1]:
            own = self._entry(folder, part, parts)
            changed |= own != part
            real = (*real, own)
            if real not in self._folders:
                self._folders[real] = self._opened(folder, own)
            folder = self._folders[real]
        name = self._entry(folder, parts[-1], parts)
        changed |= name != parts[-1]
        path, is_outside = folder.path / name, folder.is_outside
        kind = folder.entries[name]
        if kind == "link":
            target, is_outside = self._target(folder, name)
            kind = "file" if target.is_file() else "none"
        if kind != "file":
            got = {"folder": "a folder", "other": "a pipe, a socket or a device"}.get(kind, kind)
            detail = f"expected an image file, {self._shown(path)} is {got}"
            raise UnusableImageError("missing file", detail)
        self._changed[_UNICODE] += changed
        self._changed[_OUTSIDE] += is_outside
        return path

    def _shown(self, path: Path) -> str:
        """A path as results show it: from the folder on."""
        inside = path.relative_to(self.root) if path.is_relative_to(self.root) else path.name
        return f"'{one_line(str(inside))}'"

    def _opened(self, folder: _Folder, name: str) -> _Folder:
        path = folder.path / name
        kind, is_outside = folder.entries[name], folder.is_outside
        if kind == "link":
            _, is_outside = self._target(folder, name)
        elif kind == "file":
            target = _link_as_text(path)
            if target is None:
                detail = f"expected a folder, got the file {self._shown(path)}"
                raise UnusableImageError("missing file", detail)
            if not self._follow:
                detail = (
                    f"{self._shown(path)} is a link that a copy has turned into text: make it a "
                    f"link to '{one_line(target)}' again, or set data.follow_links: true to "
                    "follow it"
                )
                raise UnusableImageError("path leaves the folder", detail)
            path = path.parent / target
            is_outside = True
        return _Folder(path, is_outside=is_outside)

    def _entry(self, folder: _Folder, name: str, parts: tuple[str, ...]) -> str:
        """The name of an entry as the disk has it."""
        if folder.kind(name):
            return name
        alike = folder.alike.get(comparable(name), [])
        if len(alike) == 1:
            return alike[0]
        if alike:
            names = some([repr(other) for other in sorted(alike)])
            detail = f"expected one file like '{one_line(name)}', got {names}"
            raise UnusableImageError("ambiguous path", f"{detail}; write it as the disk does")
        if f"{name}.dvc" in folder.entries:
            own = one_line(name)
            detail = f"{own} is not here, only {own}.dvc: fetch it with `dvc pull`"
            raise UnusableImageError(NOT_FETCHED, detail)
        whole = one_line("/".join(parts))
        near = folder.any_case.get(name.casefold())
        hint = f"; there is '{one_line(near)}'" if near else ""
        detail = f"expected an image file '{whole}' in data.root{hint}"
        raise UnusableImageError("missing file", detail)

    def _target(self, folder: _Folder, name: str) -> tuple[Path, bool]:
        """Where a link leads, and whether that is outside of the folder."""
        link = folder.path / name
        target = link.resolve()
        if not target.exists():
            leads = link.readlink().as_posix()
            shown = self._shown(link)
            for part, command in _FETCHED.items():
                if part in leads:
                    what = f"{shown} is a link to content that is not here"
                    raise UnusableImageError(NOT_FETCHED, f"{what}: fetch it with `{command}`")
            detail = f"{shown} is a link that leads nowhere: to '{one_line(leads)}'"
            raise UnusableImageError("missing file", detail)
        is_outside = folder.is_outside or not target.is_relative_to(self.root)
        if is_outside and not self._follow:
            raise UnusableImageError(
                "path leaves the folder",
                f"{self._shown(link)} is a link that leads outside of data.root; set "
                "data.follow_links: true to follow it",
            )
        return target, is_outside


def _is_windows_absolute(name: str) -> bool:
    """Whether a path of another system begins with a drive, a server or a backslash."""
    begins = name.startswith("\\") or name[1:2] == ":"
    return begins and os.name != "nt" and bool(PureWindowsPath(name).anchor)


def _link_as_text(path: Path) -> str | None:
    """The folder that a file names where some copies turn links into text; None if it is none."""
    try:
        text = path.read_text(encoding="utf-8") if path.stat().st_size < _LINK_TEXT else ""
        is_link = bool(text.strip()) and (path.parent / text.strip()).is_dir()
    except (OSError, ValueError):
        return None
    return text.strip() if is_link else None


def existing_folder(folder: Path, *, expected: str) -> Path:
    """The folder as it is named; raises DataError if it is none, saying what should be in it."""
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing of that name"
        raise DataError(f"{folder}: expected a folder with {expected}, got {got}")
    return folder
