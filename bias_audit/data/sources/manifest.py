"""The user's own faces: a CSV or parquet file with one row per image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from bias_audit.config.schema import Strict, UserPath
from bias_audit.data.annotations import (
    Annotation,
    Description,
    face_table,
    find_image,
    resolved_folder,
)
from bias_audit.data.faces import Exclusion, FaceTable
from bias_audit.data.rows import Row, read_rows
from bias_audit.data.source import FaceSource
from bias_audit.errors import DataError
from bias_audit.groups import Attribute

_RESERVED = "intersection"
"""What analyses call all attributes together."""
_WHOLE = re.compile(r"(-?[0-9]+)\.0+")


class Params(Strict):
    """Where the manifest lies and what its columns mean."""

    file: UserPath = Field(description="CSV (UTF-8, commas, header line) or parquet file.")
    root: UserPath | None = Field(
        default=None, description="Folder the paths are relative to; default: the manifest's."
    )
    path_column: str = Field(default="path", description="Column with the path of the image.")
    attributes: dict[str, list[str]] = Field(
        min_length=1, description="Column name of each attribute, with all its levels in order."
    )
    identity_column: str | None = Field(
        default=None, description="Column that says who is shown; a person stays in one fold."
    )
    split_column: str | None = Field(default=None, description="Column with your own split.")
    split: str | None = Field(default=None, description="Read the rows of this split only.")
    label_origin: Literal["self-reported", "perceived", "predicted", "unknown"] = Field(
        default="unknown", description="How the labels came about."
    )
    licence: str = Field(default="not stated", description="Terms the images are used under.")
    cautions: tuple[str, ...] = Field(
        default=(), description="What a reader must know before reading a number."
    )

    @field_validator("attributes", mode="before")
    @classmethod
    def _levels_as_text(cls, attributes: object) -> object:
        if not isinstance(attributes, Mapping):
            return attributes
        return {
            name: [_level(name, level) for level in levels] if isinstance(levels, list) else levels
            for name, levels in attributes.items()
        }

    @field_validator("attributes")
    @classmethod
    def _levels_distinct(cls, attributes: dict[str, list[str]]) -> dict[str, list[str]]:
        for name, levels in attributes.items():
            if not name.strip():
                raise ValueError("expected the column name of each attribute, got a blank one")
            if name == _RESERVED:
                raise ValueError(
                    f"{name!r} names the combination of all attributes, so none may be called "
                    "so; rename the column"
                )
            if not levels or "" in levels:
                raise ValueError(f"{name}: expected levels that are not empty, got {levels}")
            if len(set(levels)) < len(levels):
                raise ValueError(f"{name}: expected each level once, got {levels}")
        return attributes

    @model_validator(mode="after")
    def _split_has_column(self) -> Self:
        if self.split is not None and self.split_column is None:
            raise ValueError("split: expected split_column beside it, to know where splits are")
        return self


def _level(name: str, level: object) -> str:
    """A level as text. Whole numbers are safe; YAML may have changed anything else."""
    if isinstance(level, str):
        return level.strip()
    if isinstance(level, int) and not isinstance(level, bool):
        return str(level)
    raise ValueError(
        f"{name}: expected levels as text, got {level!r} ({type(level).__name__}); YAML reads "
        'words such as yes, no, on, off, null and dates as other values: put quotes, "no"'
    )


def read(params: Params) -> FaceTable:
    """Read a manifest; no image is opened.

    Raises:
        DataError: The file or a column is missing, or no row is usable.
    """
    columns = [params.path_column, *params.attributes]
    columns += [name for name in (params.identity_column, params.split_column) if name]
    rows = read_rows(params.file, list(dict.fromkeys(columns)))
    root = resolved_folder(params.root or params.file.parent, expected="the manifest's images")
    rows, notices = _of_split(rows, params)
    rows, n_whole = _whole_numbers(rows, params)
    if n_whole:
        notices.append(f"{n_whole} labels written like '1.0' were read as the declared '1'")
    without = (
        sum(isinstance(row, dict) and not row[params.identity_column] for row in rows)
        if params.identity_column
        else 0
    )
    if without:
        notices.append(
            f"{without} rows do not say who is shown; their images are compared by similarity"
        )
    attributes = [Attribute(name, tuple(levels)) for name, levels in params.attributes.items()]
    description = Description(
        name=params.file.stem + (f", split {params.split}" if params.split else ""),
        label_origin=params.label_origin,
        licence=params.licence,
        cautions=params.cautions,
        has_identities=params.identity_column is not None,
        has_splits=params.split_column is not None,
    )
    return face_table(_entries(rows, root, params), attributes, description, notices=notices)


def _whole_numbers(
    rows: list[Row | Exclusion], params: Params
) -> tuple[list[Row | Exclusion], int]:
    """Labels as declared where software turned whole numbers into floats, as it does with gaps."""
    result: list[Row | Exclusion] = []
    changed = 0
    for row in rows:
        new = {} if isinstance(row, Exclusion) else _as_declared(row, params.attributes)
        changed += len(new)
        result.append({**row, **new} if isinstance(row, dict) else row)
    return result, changed


def _as_declared(row: Row, attributes: Mapping[str, list[str]]) -> Row:
    new = {}
    for name, levels in attributes.items():
        whole = _WHOLE.fullmatch(row[name])
        if whole and row[name] not in levels and whole[1] in levels:
            new[name] = whole[1]
    return new


def _of_split(
    rows: list[Row | Exclusion], params: Params
) -> tuple[list[Row | Exclusion], list[str]]:
    column = params.split_column
    if params.split is None or column is None:
        return rows, []
    splits = {row[column] for row in rows if isinstance(row, dict)}
    if params.split not in splits:
        raise DataError(
            f"{params.file}: expected rows of split {params.split!r} in column {column!r}, "
            f"got {', '.join(repr(split) for split in sorted(splits)[:10]) or 'no rows'}"
        )
    kept = [row for row in rows if isinstance(row, Exclusion) or row[column] == params.split]
    return kept, [f"{len(rows) - len(kept)} rows of other splits were not read"]


def _entries(
    rows: list[Row | Exclusion], root: Path, params: Params
) -> Iterator[Annotation | Exclusion]:
    for row in rows:
        if isinstance(row, Exclusion):
            yield row
            continue
        found = find_image(root, row[params.path_column])
        if isinstance(found, Exclusion):
            yield found
            continue
        yield Annotation(
            name=row[params.path_column],
            reference=found,
            labels=tuple(row[name] for name in params.attributes),
            identity=row[params.identity_column] if params.identity_column else "",
            split=row[params.split_column] if params.split_column else "",
        )


PLUGIN = FaceSource(title="your own manifest", params_type=Params, read=read)
