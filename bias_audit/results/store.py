"""A run folder's results: `audit.json` and `arrays/`, read and written here only."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from bias_audit.errors import OutputError, first_problem
from bias_audit.files import write_atomically, write_text
from bias_audit.results.audit import SCHEMA_VERSION, AuditResult

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def write_arrays(folder: Path, name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write one analysis' arrays as `arrays/NAME/KEY.npy`."""
    for key, array in arrays.items():
        path = _array_path(folder, name, key)
        write_atomically(path, partial(np.save, arr=array, allow_pickle=False))


def read_array(folder: Path, name: str, key: str) -> npt.NDArray[Any]:
    """Read one array back.

    Raises:
        OutputError: It is missing or damaged.
    """
    path = _array_path(folder, name, key)
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: expected an array of this run, got {error}") from error


def write_audit(folder: Path, result: AuditResult) -> None:
    """Write `audit.json`; call it last, since it vouches for the arrays."""
    write_text(folder / "audit.json", result.model_dump_json(indent=1) + "\n")


def remove_unused_arrays(folder: Path, result: AuditResult) -> None:
    """Delete the arrays of earlier results, once `audit.json` no longer needs them.

    Every run writes under names of its own, so that until then the old result stays whole.
    """
    used = {analysis.arrays for _, analyses in result.analysed for analysis in analyses}
    for path in (folder / "arrays").glob("*"):
        if path.is_dir() and path.name not in used:
            shutil.rmtree(path, ignore_errors=True)


def read_audit(folder: Path) -> AuditResult:
    """Read a run folder's result.

    Raises:
        OutputError: There is none, it is damaged, or another schema version wrote it.
    """
    return parse_audit(audit_bytes(folder), source=str(folder / "audit.json"))


def audit_bytes(folder: Path) -> bytes:
    """The bytes of a run folder's `audit.json`.

    Raises:
        OutputError: There is none, or it cannot be read.
    """
    path = folder / "audit.json"
    if not path.is_file():
        raise OutputError(f"{path}: expected a finished run's folder, found no audit.json in it")
    try:
        return path.read_bytes()
    except OSError as error:
        raise OutputError(f"{path}: not readable ({error})") from error


def parse_audit(content: bytes, *, source: str) -> AuditResult:
    """Read a result from the bytes of an `audit.json`, wherever they lie (`source`, for messages).

    Raises:
        OutputError: It is damaged, or another schema version wrote it.
    """
    try:
        raw = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise OutputError(f"{source}: not readable as JSON ({error})") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise OutputError(
            f"{source}: expected schema_version {SCHEMA_VERSION}, got {version!r}; "
            "render it with the release that wrote it, or run the audit again"
        )
    try:
        return AuditResult.model_validate_json(content)
    except ValidationError as error:
        raise OutputError(f"{source}: damaged at {first_problem(error)}") from error


def _array_path(folder: Path, name: str, key: str) -> Path:
    if not (_KEY.fullmatch(key) and _KEY.fullmatch(name)):
        raise OutputError(f"array name {name}/{key}: expected letters, digits, '.', '_' or '-'")
    return folder / "arrays" / name / f"{key}.npy"
