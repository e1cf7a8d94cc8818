"""The user's own faces: a CSV or parquet file with one row per image."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from bias_audit.config.schema import Strict, UserPath
from bias_audit.data.annotations import (
    Annotation,
    Description,
    face_table,
    find_image,
    resolved_folder,
)
from bias_audit.data.annotators import (
    declared_disagreement,
    measured_disagreement,
    undeclared,
    voted,
)
from bias_audit.data.faces import Exclusion, FaceTable
from bias_audit.data.rows import WHOLE_NUMBER, Row, read_rows
from bias_audit.data.source import FaceSource
from bias_audit.errors import DataError
from bias_audit.groups import Attribute

_RESERVED = "intersection"
"""What analyses call all attributes together."""
_Rate = Annotated[float, Field(ge=0, lt=1)]


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
    annotators: dict[str, list[str]] = Field(
        default={},
        description="Columns of several annotators of an attribute, in place of its own column; "
        "the label is that of the majority, and rows where they are tied are left out.",
    )
    disagreement: dict[str, _Rate | dict[str, _Rate]] = Field(
        default={},
        description="Share of labels of an attribute for which another annotator would give "
        "another level; or such shares by all and attribute=level.",
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

    @model_validator(mode="after")
    def _annotators_known(self) -> Self:
        for name, columns in self.annotators.items():
            if name not in self.attributes:
                raise ValueError(
                    f"annotators: expected one of the attributes {', '.join(self.attributes)}, "
                    f"got {name!r}"
                )
            if len(set(columns)) < max(2, len(columns)):
                raise ValueError(
                    f"annotators: {name}: expected at least two different columns, got {columns}"
                )
            if name in self.disagreement:
                raise ValueError(
                    f"disagreement: {name} has several annotators, from which its rate is "
                    "measured; remove it here or there"
                )
        if problems := tuple(undeclared(self.disagreement, self.attributes)):
            raise ValueError(f"disagreement: {'; '.join(problems)}")
        return self

    @property
    def label_columns(self) -> dict[str, Sequence[str]]:
        """Columns that hold labels of each attribute."""
        return {name: self.annotators.get(name, [name]) for name in self.attributes}


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
    columns = [params.path_column, *itertools.chain(*params.label_columns.values())]
    columns += [name for name in (params.identity_column, params.split_column) if name]
    rows = read_rows(params.file, list(dict.fromkeys(columns)))
    root = resolved_folder(params.root or params.file.parent, expected="the manifest's images")
    rows, notices = _of_split(rows, params)
    rows, n_whole = _whole_numbers(rows, params)
    if n_whole:
        notices.append(f"{n_whole} labels written like '1.0' were read as the declared '1'")
    disagreement, noticed = declared_disagreement(params.disagreement)
    measured, noticed_too = measured_disagreement(rows, params.annotators, params.attributes)
    rows = voted(rows, params.annotators, params.path_column)
    attributes = declared(params)
    description = Description(
        name=params.file.stem + (f", split {params.split}" if params.split else ""),
        label_origin=params.label_origin,
        licence=params.licence,
        cautions=params.cautions,
        has_identities=params.identity_column is not None,
        has_splits=params.split_column is not None,
        disagreement=disagreement | measured,
    )
    return face_table(
        _entries(rows, root, params),
        attributes,
        description,
        notices=(*notices, *noticed, *noticed_too),
    )


def _whole_numbers(
    rows: list[Row | Exclusion], params: Params
) -> tuple[list[Row | Exclusion], int]:
    """Labels as declared where software turned whole numbers into floats, as it does with gaps."""
    result: list[Row | Exclusion] = []
    changed = 0
    for row in rows:
        new = {} if isinstance(row, Exclusion) else _as_declared(row, params)
        changed += len(new)
        result.append({**row, **new} if isinstance(row, dict) else row)
    return result, changed


def _as_declared(row: Row, params: Params) -> Row:
    new = {}
    for name, columns in params.label_columns.items():
        levels = params.attributes[name]
        for column in columns:
            whole = WHOLE_NUMBER.fullmatch(row[column])
            if whole and row[column] not in levels and whole[1] in levels:
                new[column] = whole[1]
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


def declared(params: Params) -> tuple[Attribute, ...]:
    """The attributes with their levels, as the config lists them."""
    return tuple(Attribute(name, tuple(levels)) for name, levels in params.attributes.items())


PLUGIN = FaceSource(title="your own manifest", params_type=Params, read=read, declares=declared)
