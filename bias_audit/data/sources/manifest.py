"""The user's own faces: a CSV or parquet file with one row per image."""

from __future__ import annotations

import codecs
import io
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from bias_audit.config.schema import UserPath
from bias_audit.data.ages import ordered_bins
from bias_audit.data.annotations import (
    declared_disagreement,
    face_table,
    listed,
    undeclared,
    with_votes_counted,
)
from bias_audit.data.answers import SEVERAL, AnswerReader, Answers
from bias_audit.data.boxes import BOX, Form, listed_sides, names_an_end, with_box
from bias_audit.data.faces import Exclusion, FaceSource, FaceTable
from bias_audit.data.finding import ImageFinder, Linked, existing_folder
from bias_audit.data.labels import LevelReader
from bias_audit.data.rows import SPLIT, Labels, Row, read_rows
from bias_audit.data.texts import FREQUENT, comparable, one_line, trimmed
from bias_audit.errors import DataError, some
from bias_audit.groups import INTERSECTION, Attribute

"""What analyses call all attributes together."""
_NO_FILES = {"unicode-escape", "raw-unicode-escape", "idna", "punycode", "undefined"}
"""Encodings that Python knows, and no label file has."""
_Rate = Annotated[float, Field(ge=0, lt=1)]


class Params(Linked):
    """Where the manifest lies and what its columns mean."""

    file: UserPath = Field(
        description="CSV with a header line, or parquet; a folder of parquet files, or a pattern."
    )
    encoding: str | None = Field(
        default=None, description="Of a CSV that is not UTF-8, such as windows-1252."
    )
    root: UserPath | None = Field(
        default=None, description="Folder the paths are relative to; default: the manifest's."
    )
    path_column: str = Field(
        default="path", description="Column with the path of the image, or with the image itself."
    )
    attributes: dict[str, list[str] | Answers] = Field(
        min_length=1,
        description="Column name of each attribute, with all its levels in order; or what its "
        "answers are, where a face may have several, or none.",
    )
    binned: tuple[str, ...] = Field(
        default=(),
        description='Attributes whose columns hold numbers, and whose levels are bins: "0-9", '
        '"10-19", "70+".',
    )
    annotators: dict[str, list[str]] = Field(
        default={},
        description="Columns of several annotators of an attribute, in place of its own column; "
        "or one column, where a face has a row for each annotator. The label is that of the "
        "majority, and faces where they are tied are left out.",
    )
    disagreement: dict[str, _Rate | dict[str, _Rate]] = Field(
        default={},
        description="Share of labels of an attribute for which another annotator would give "
        "another level; or such shares by all and attribute=level.",
    )
    identity_column: str | None = Field(
        default=None, description="Column that says who is shown; a person stays in one fold."
    )
    box_columns: tuple[str, ...] = Field(
        default=(),
        description="Columns with left, top, width and height of the face in a larger image, in "
        "pixels; or one column with a list of these.",
    )
    box_form: Form = Field(
        default="xywh", description="xyxy: the last two columns are the right and lower end."
    )
    box_margin: float = Field(
        default=0.0, ge=0, le=2, description="Cut out around the box on each side, in its sides."
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
        read = {}
        for name, own in attributes.items():
            levels = own.get("levels") if isinstance(own, Mapping) else own
            if isinstance(levels, list):
                levels = [_level(name, level) for level in levels]
            read[name] = {**own, "levels": levels} if isinstance(own, Mapping) else levels
        return read

    @field_validator("attributes")
    @classmethod
    def _levels_distinct(
        cls, attributes: dict[str, list[str] | Answers]
    ) -> dict[str, list[str] | Answers]:
        for name, own in attributes.items():
            levels = own.levels or ["(made)"] if isinstance(own, Answers) else own
            if not name.strip():
                raise ValueError("expected the column name of each attribute, got a blank one")
            if name == INTERSECTION:
                raise ValueError(
                    f"{name!r} names the combination of all attributes, so none may be called "
                    "so; rename the column"
                )
            if not all(map(comparable, levels)) or not levels:
                raise ValueError(f"{name}: expected levels that are not empty, got {levels}")
            keys = [comparable(level) for level in levels]
            for place, key in enumerate(keys):
                if keys.index(key) < place:
                    raise ValueError(
                        f"{name}: expected each level once, got {levels[keys.index(key)]!r} and "
                        f"{levels[place]!r}, which differ in Unicode form, blanks or dashes at "
                        "most"
                    )
        return attributes

    @field_validator("encoding")
    @classmethod
    def _encoding_known(cls, encoding: str | None) -> str | None:
        try:
            name = codecs.lookup(encoding or "utf-8").name
            io.TextIOWrapper(io.BytesIO(), encoding=name)  # refuses zip and hex
        except (LookupError, ValueError):
            name = ""
        if not name or name.replace("_", "-") in _NO_FILES:
            raise ValueError(
                f"expected an encoding such as windows-1252, latin-1 or utf-16, got {encoding!r}"
            )
        return encoding and name

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        known = ", ".join(self.attributes)
        keys = {
            **dict.fromkeys(self.annotators, "annotators"),
            **dict.fromkeys(self.binned, "binned"),
        }
        if unknown := [name for name in keys if name not in self.attributes]:
            key, name = keys[unknown[0]], unknown[0]
            raise ValueError(f"{key}: expected one of the attributes {known}, got {name!r}")
        for name in self.binned:
            try:
                ordered_bins(self.levels[name])
            except ValueError as error:
                raise ValueError(f"binned: {name}: {error}") from error
        if self.split is not None and self.split_column is None:
            raise ValueError("split: expected split_column beside it, to know where splits are")
        for name, columns in self.annotators.items():
            if not columns or len({*columns}) < len(columns):
                raise ValueError(
                    f"annotators: {name}: expected different columns, one for each annotator, or "
                    f"one where each has a row; got {columns}"
                )
            if name in self.disagreement:
                raise ValueError(
                    f"disagreement: {name} has several annotators, from which its rate is "
                    "measured; remove it here or there"
                )
        if problems := tuple(undeclared(self.disagreement, self.levels)):
            raise ValueError(f"disagreement: {'; '.join(problems)}")
        return self

    @model_validator(mode="after")
    def _boxes_fit_their_form(self) -> Self:
        if len(self.box_columns) not in {0, 1, 4}:
            raise ValueError(
                "box_columns: expected left, top, width and height, or one list, got "
                f"{len(self.box_columns)} columns"
            )
        ends = [name for name in self.box_columns[2:] if names_an_end(name)]
        if ends and self.box_form == "xywh":
            raise ValueError(
                f"box_columns: expected width and height, got {ends[0]!r}; if it is where a box "
                "ends, set box_form: xyxy"
            )
        return self

    @model_validator(mode="after")
    def _answers_fit_together(self) -> Self:
        for name, own in self.answers.items():
            if name in self.binned:
                raise ValueError(f"binned: {name}: its answers say what its levels are; use edges")
            if name in self.annotators and own.several:
                raise ValueError(
                    f"annotators: {name}: expected one answer of each annotator; remove several"
                )
        return self

    @property
    def label_columns(self) -> dict[str, Sequence[str]]:
        """Columns that hold labels of each attribute."""
        columns = {name: own.column or name for name, own in self.answers.items()}
        return {
            name: self.annotators.get(name, [columns.get(name, name)]) for name in self.attributes
        }

    @property
    def answers(self) -> dict[str, Answers]:
        """The attributes of which the config says what their answers are."""
        own = self.attributes.items()
        return {name: answers for name, answers in own if isinstance(answers, Answers)}

    @property
    def levels(self) -> dict[str, tuple[str, ...]]:
        """All levels of each attribute."""
        return {attribute.name: attribute.levels for attribute in declared(self)}


def _level(name: str, level: object) -> str:
    """A level as text. Whole numbers are safe; YAML may have changed anything else."""
    if isinstance(level, str):
        return trimmed(level)
    if isinstance(level, int) and not isinstance(level, bool):
        return str(level)
    raise ValueError(
        f"{name}: expected levels as text, got {level!r} ({type(level).__name__}); YAML reads "
        'words such as yes, no, on, off, null and dates as other values: put quotes, "no"'
    )


def read(params: Params) -> FaceTable:
    """Read a manifest; no image is opened."""
    columns = [params.path_column, *itertools.chain(*params.label_columns.values())]
    columns += [name for name in (params.identity_column, params.split_column) if name]
    columns += params.box_columns
    labels = read_rows(
        params.file,
        list(dict.fromkeys(columns)),
        image=params.path_column,
        encoding=params.encoding,
    )
    root = existing_folder(params.root or params.file.parent, expected="the manifest's images")
    finder = ImageFinder(root, follow_links=params.follow_links)
    rows, notices = _of_split(labels.rows, params)
    readers = {name: _reader(name, labels, rows, params) for name in params.attributes}
    columns_of = params.label_columns.items()
    rows = [
        row
        if isinstance(row, Exclusion)
        else row
        | {
            c if name in params.annotators else name: readers[name].read(row[c])
            for name, own in columns_of
            for c in own
        }
        | ({SPLIT: comparable(row[params.split_column])} if params.split_column else {})
        for row in rows
    ]
    rows = [row if isinstance(row, Exclusion) else _boxed(row, params) for row in rows]
    rows, joined = _joined(rows, params)
    rows, measured, counted = with_votes_counted(
        rows, params.annotators, params.levels, params.path_column
    )
    disagreement, stated = declared_disagreement(params.disagreement)
    paths, people = params.path_column, params.identity_column
    entries = [
        *listed(
            rows,
            labels.images,
            finder,
            params.attributes,
            path_column=paths,
            identity_column=people,
        )
    ]
    return face_table(
        entries,
        declared(params),
        name=params.file.stem + (f", split {params.split}" if params.split else ""),
        label_origin=params.label_origin,
        licence=params.licence,
        cautions=params.cautions,
        notices=[
            *labels.notices,
            *notices,
            *finder.notices(),
            *(notice for reader in readers.values() for notice in reader.notices()),
            *stated,
            *counted,
            *joined,
            *_cut_out(params),
        ],
        disagreement=disagreement | measured,
        binned=params.binned,
        answers={n: own for n, own in readers.items() if isinstance(own, AnswerReader)},
    )


def _boxed(row: Row, params: Params) -> Row | Exclusion:
    if not params.box_columns:
        return row
    sides = [row[column] for column in params.box_columns]
    if len(sides) == 1:
        sides = listed_sides(sides[0], params.box_form)
    return with_box(row, sides, params.box_margin, params.box_form)


def _joined(
    rows: list[Row | Exclusion], params: Params
) -> tuple[list[Row | Exclusion], Sequence[str]]:
    """The rows of one face as one: with all answers, and the votes of all annotators."""
    own_levels = {n: own.own_levels for n, own in params.answers.items() if own.several}
    votes = {columns[0] for columns in params.annotators.values() if len(columns) == 1}
    others = [
        column
        for name in params.attributes
        for column in params.annotators.get(name, [name])
        if name not in own_levels and column not in votes
    ]
    place = [params.path_column, BOX]
    same = [*place, params.identity_column or BOX, SPLIT, *others]
    faces: dict[tuple[str, ...], Row] = {}
    result: list[Row | Exclusion] = []
    n_joined, seen = 0, Counter[tuple[str, ...]]()
    for row in rows:
        key = () if isinstance(row, Exclusion) else tuple(row.get(column, "") for column in same)
        first = faces.get(key) if own_levels or votes else None
        if isinstance(row, Exclusion) or not key[0] or first is None:
            result.append(row)
            seen[key[: len(place)]] += any(key[:1])
            if isinstance(row, dict):
                faces[key] = row
            continue
        n_joined += 1
        for column, levels in own_levels.items():
            said = [*first[column].split(SEVERAL), *row[column].split(SEVERAL)]
            answers = [level for level in levels if level in said]
            first[column] = SEVERAL.join(answers or said[:1])
        for column in votes:
            first[column] += SEVERAL + row[column]
    notices = []
    if n_joined:
        notices.append(f"{n_joined} rows were read as further labels of faces with several rows")
    if n_more := sum(n - 1 for n in seen.values() if n > 1):
        name = next(iter(params.attributes))
        notices.append(
            f"{n_more} rows are of images that other rows are of as well; if these are several "
            f"answers, set several: true, and if of annotators, annotators: {{{name}: [{name}]}}"
        )
    return result, notices


def _cut_out(params: Params) -> list[str]:
    if not params.box_columns:
        return []
    return [f"faces are cut out of larger images by their boxes, margin {params.box_margin:g}"]


def _reader(
    name: str, labels: Labels, rows: Sequence[Row | Exclusion], params: Params
) -> LevelReader | AnswerReader:
    columns = params.label_columns[name]
    classes = [own for column in columns if (own := labels.classes.get(column))]
    if any(own != classes[0] for own in classes):
        raise DataError(
            f"{params.file}: expected the same class names in {', '.join(columns)}, got different "
            "ones; write the labels as text"
        )
    written = [column for column in columns if column not in labels.numbers]
    texts = {row[column] for row in rows if isinstance(row, dict) for column in written}
    if answers := params.answers.get(name):
        return AnswerReader(name, answers, texts)
    return LevelReader(
        name,
        params.levels[name],
        binned=name in params.binned,
        classes=classes[0] if classes else (),
        texts=texts or ("0.5",),
    )


def _of_split(
    rows: list[Row | Exclusion], params: Params
) -> tuple[list[Row | Exclusion], list[str]]:
    column = params.split_column
    if params.split is None or column is None:
        return rows, []
    wanted = comparable(params.split)
    splits = Counter(row[column] for row in rows if isinstance(row, dict))
    if wanted not in map(comparable, splits):
        named = [repr(one_line(split)) for split, n in sorted(splits.items()) if n >= FREQUENT]
        raise DataError(
            f"{params.file}: expected rows of split {params.split!r} in column {column!r}, got "
            f"{some(named) or f'{len(splits)} other values'}"
        )
    kept = [row for row in rows if isinstance(row, Exclusion) or comparable(row[column]) == wanted]
    return kept, [f"{len(rows) - len(kept)} rows of other splits were not read"]


def declared(params: Params) -> tuple[Attribute, ...]:
    """The attributes with their levels, as the config lists them."""
    return tuple(
        own.attribute(name) if isinstance(own, Answers) else Attribute(name, tuple(own))
        for name, own in params.attributes.items()
    )


PLUGIN = FaceSource(title="your own manifest", params_type=Params, read=read, declares=declared)
