"""Rows of label files, every value as text; nothing is guessed or converted."""

from __future__ import annotations

import codecs
import contextlib
import csv
import difflib
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from bias_audit.contents import recognise
from bias_audit.data import parquet
from bias_audit.data.faces import Exclusion, ImageReference
from bias_audit.data.texts import comparable, one_line, trimmed
from bias_audit.errors import DataError, some

Row = dict[str, str]
PLACE = "\0place"
"""Where a row carries its own place, such as "faces.csv row 3"; no column has this name."""
SPLIT = "\0split"
"""Where a row carries the source's own split, if it has one."""
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[^\S\r\n]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
"""The first line that Excel reads and writes to name the separator."""
_BLANK_LINES = re.compile(r"\A(?:[ \t;,|]*(?:\r\n|\r|\n))*")
_HEADER_LINES = 10
"""Lines in which a header is looked for."""
_IMAGE_NAME = re.compile(r"\.(?:jpe?g|png|webp|bmp|gif|tiff?|heic|avif)$", re.IGNORECASE)
_SPLIT = re.compile(
    r"(?:(.*?)-\d+-of-\d+\b|(train|test|val|valid|validation|dev|eval)(?![a-z])).*\.parquet"
)
_SINGLE_BYTE = b"\xc3\xa4"
"""Two characters in every encoding of one byte a character, one in UTF-8."""
_START = 1000
"""Characters that are looked at to see whether a file is text."""


@dataclass
class Labels:
    """What label files say."""

    rows: list[Row | Exclusion] = field(default_factory=list)
    """One entry per row in file order; a row with too many or too few fields is an exclusion."""
    images: dict[str, ImageReference] = field(default_factory=dict)
    """Images that a parquet file holds itself, by what stands in the rows in place of a path."""
    classes: dict[str, list[str]] = field(default_factory=dict)
    """Names of integer classes, by column, where a parquet file carries them."""
    numbers: set[str] = field(default_factory=set)
    """Columns that a parquet file holds as numbers, which have no marks of thousands."""
    notices: list[str] = field(default_factory=list)
    """What was repaired."""


def read_rows(
    file: Path | Sequence[Path],
    columns: Sequence[str],
    *,
    image: str | None = None,
    encoding: str | None = None,
) -> Labels:
    """Read some columns of a CSV file, or of parquet files: one, a folder, a pattern or a list.

    Of a CSV, the separator is found from the header, UTF-16 and UTF-32 by their byte order mark;
    `encoding` is that of others, UTF-8 by default. Surrounding blanks are removed, nulls become
    empty, nothing else is changed. The column `image` names the image, or holds it.

    Raises:
        DataError: There is no such file, it cannot be read, or a column is missing.
    """
    labels = Labels()
    files = _files(file) if isinstance(file, Path) else file
    for one in files:
        try:
            with one.open("rb") as stream:
                is_parquet = stream.read(4) == b"PAR1"
            if is_parquet:
                _add_parquet(labels, one, columns, image)
            elif len(files) > 1:
                raise DataError(f"{one}: expected parquet files only where there are several")
            else:
                _add_csv(labels, one, columns, encoding)
        except OSError as error:
            raise DataError(f"{one}: cannot be read: {error.strerror or error}") from error
    labels.notices.extend(parquet.missing_shards(files))
    matches = [match for one in files if (match := _SPLIT.fullmatch(one.name))]
    splits = sorted({match[1] or match[2] for match in matches})
    if len(splits) > 1:
        dash = "-" if "-of-" in files[-1].name else ""
        only = f"{one_line(files[0].parent.name)}/{one_line(splits[-1])}{dash}*.parquet"
        names = some([one_line(split) for split in splits])
        labels.notices.append(f"read the splits {names} together; for one, set data.file: {only}")
    return labels


def _files(file: Path) -> Sequence[Path]:
    """The file, or the files of a folder or pattern, by name."""
    if file.is_file():
        return [file]
    found: list[Path] = []
    if file.is_dir():
        # a snapshot of the hub keeps them in data/
        found = _matching(file, "*.parquet") or _matching(file / "data", "*.parquet")
    elif re.search(r"[*?\[]", file.name) and file.parent.is_dir():
        found = _matching(file.parent, file.name)
    if not found:
        got = "there is no such file"
        if file.is_dir():
            got = "got a folder without any parquet file"
            if _matching(file, "*.arrow") or _matching(file, "*/*.arrow"):
                got = "got a folder of Arrow files; save the dataset with to_parquet"
            elif below := _matching(file, "**/*.parquet"):
                got += f"; there are some in {one_line(str(below[0].parent))}"
        raise DataError(f"{file}: expected a CSV or parquet file of labels, {got}")
    return found


def _matching(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_file())


def _find_columns(
    file: Path,
    found: Sequence[str],
    columns: Sequence[str],
    *,
    hints: Mapping[str, str] = MappingProxyType({}),
    is_header: bool = True,
) -> dict[str, int]:
    """The place of each column in a table.

    `hints` say what to add about a column that is missing and like none. Unless `is_header`, the
    names found may be a first row of data.

    Raises:
        DataError: One is missing (the nearest is named) or is there twice.
    """
    keys = [comparable(name) for name in found]
    is_header |= any(comparable(column) in keys for column in columns)
    places = {}
    for column in columns:
        same = [place for place, name in enumerate(found) if name == column]
        same = same or [place for place, key in enumerate(keys) if key == comparable(column)]
        if len(same) > 1:
            raise DataError(
                f"{file}: expected one column {column!r}, got {len(same)}; rename the others"
            )
        if not same:
            problem = _missing_column(found, column, hints.get(column, ""), is_header=is_header)
            raise DataError(f"{file}: expected a column {column!r}{problem}")
        places[column] = same[0]
    return places


def _missing_column(found: Sequence[str], column: str, hint: str, *, is_header: bool) -> str:
    if not is_header and any(map(_IMAGE_NAME.search, found)):
        return "; the first line looks like data: put a header with column names above"
    folded = {comparable(name).casefold(): name for name in reversed(found)}
    near = difflib.get_close_matches(comparable(column).casefold(), folded, n=1, cutoff=0.5)
    if not is_header and not near:
        # names of columns, or data of a person
        return (
            ", and found none of the columns in the first line, which has "
            f"{len(found)} fields: is it a header?"
        )
    hint = f"; did you mean {one_line(folded[near[0]])!r}?" if near else hint
    return f"{hint} (columns: {some([one_line(name) for name in found if name])})"


def _renamed(labels: Labels, found: Sequence[str], places: Mapping[str, int]) -> None:
    if n := sum(trimmed(found[place]) != column for column, place in places.items()):
        labels.notices.append(
            f"{n} column names in another Unicode form, or with odd blanks, were read as declared"
        )


def _add_csv(labels: Labels, file: Path, columns: Sequence[str], encoding: str | None) -> None:
    text, came_as = read_text(file, encoding)
    text = _BLANK_LINES.sub("", text)
    if came_as not in {"utf-8", "utf-8-sig"}:
        labels.notices.append(f"{file.name} was read as {came_as}")
    named = _SEPARATOR_LINE.match(text)
    text = text[named.end() :] if named else text
    separator = named[1] if named else _separator(text, columns)
    word = _SEPARATORS.get(separator, repr(separator))
    if separator != ",":
        labels.notices.append(f"{file.name} separates its fields by {word}")
    header = text[:_START].partition("\n")[0]
    words = {word.strip("\"'") for word in header.split()}
    if separator not in header and len(words) > 1 and words >= set(columns):
        raise DataError(
            f"{file}: expected fields separated by commas, semicolons, tabs or vertical bars, got "
            "blanks; save it as CSV (in R: write.csv)"
        )
    try:
        lines = io.StringIO(text, newline="")
        rows = csv.reader(lines, strict=True, delimiter=separator, skipinitialspace=True)
        labels.rows.extend(_csv_rows(labels, file, rows, columns))
    except csv.Error as error:
        raise DataError(
            f"{file}: expected a readable CSV: fields separated by {word}, quotes doubled inside "
            f"of quotes and closed; line {rows.line_num}: {error}"
        ) from error


def read_text(file: Path, encoding: str | None = None) -> tuple[str, str]:
    """A text file, and the encoding that it is in; that of a byte order mark comes first.

    Raises:
        DataError: It is no text, or in another encoding.
    """
    data = file.read_bytes()
    marked = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), None)
    chosen = marked or encoding or "utf-8"
    content = None if marked else recognise(data)
    if content is not None:
        fix = "convert it to CSV" if content.what == "JSON text" else content.fix
        fix = f"; {fix}" if fix else ""
        raise DataError(f"{file}: expected a CSV or parquet file, got {content.what}{fix}")
    try:
        text = data.decode(chosen)
    except UnicodeDecodeError as error:
        if chosen.startswith("utf-16") or chosen.startswith("utf-32"):
            raise DataError(f"{file}: expected {chosen} text, got damaged text") from error
        line = 1 + data[: error.start].count(b"\n")
        name = "UTF-8" if chosen == "utf-8" else chosen
        raise DataError(
            f"{file}: expected {name} text, line {line} is in another encoding; save it again as "
            '"CSV UTF-8", or in a manifest set data.encoding to what it is: windows-1252 '
            "(Western), windows-1250 "
            "(Central European), windows-1251 (Cyrillic), windows-1254 (Turkish)"
        ) from error
    except (UnicodeError, ValueError) as error:
        raise DataError(f"{file}: expected {chosen} text, got damaged text") from error
    if not marked and not data.isascii() and len(_SINGLE_BYTE.decode(chosen, "replace")) > 1:
        with contextlib.suppress(UnicodeDecodeError):
            data.decode()
            raise DataError(f"{file}: the file is UTF-8, not {chosen}; remove data.encoding")
    if text[:_START].count("\0") > len(text[:_START]) // 5:
        raise DataError(
            f"{file}: expected text, got zero bytes; if it is UTF-16 without a byte order mark, "
            "set data.encoding: utf-16-le"
        )
    return text, chosen


def _separator(text: str, columns: Sequence[str]) -> str:
    """The first that finds most of the columns in the header, then the one with most fields."""
    wanted = {comparable(column) for column in columns}

    def score(separator: str) -> tuple[int, int]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        try:
            names = {comparable(name) for name in next(reader, [])}
        except csv.Error:
            return 0, 0
        return len(wanted & names), len(names)

    return max(_SEPARATORS, key=score)


def _header_places(
    file: Path, header: Sequence[str], following: Iterator[list[str]], columns: Sequence[str]
) -> dict[str, int]:
    """The place of each column, or that the header stands further down."""
    try:
        return _find_columns(file, header, columns, is_header=False)
    except DataError:
        for line in itertools.islice(following, _HEADER_LINES):
            if {comparable(name) for name in line} >= set(map(comparable, columns)):
                raise DataError(
                    f"{file}: expected the header in the first line, got it further down; remove "
                    "the lines above it"
                ) from None
        raise


def _csv_rows(
    labels: Labels, file: Path, reader: Iterator[list[str]], columns: Sequence[str]
) -> Iterator[Row | Exclusion]:
    header = [trimmed(name) for name in next(reader, [])]
    if not any(header):
        raise DataError(f"{file}: expected a header line and rows, got an empty file")
    places = _header_places(file, header, reader, columns)
    _renamed(labels, header, places)
    shortest = 1 + max(*places.values(), *(place for place, name in enumerate(header) if name))
    seen: Counter[str] = Counter()
    for number, written in enumerate(reader, start=1):
        if not any(fields := [trimmed(text) for text in written]):
            continue
        n = len(fields)
        seen["longer"] += (longer := n > len(header) and not any(fields[len(header) :]))
        if not longer and not shortest <= n <= len(header):
            seen["one more"] += n == len(header) + 1
            detail = f"expected {len(header)} fields, got {n}"
            yield Exclusion(f"{file.name} row {number}", "malformed row", detail)
            continue
        own = {column: fields[place] for column, place in places.items()}
        seen["read"] += 1
        yield own | {PLACE: f"{file.name} row {number}"}
    if seen["one more"] and not seen["read"]:
        raise DataError(
            f"{file}: expected as many names in the header as fields in each row, got one name "
            "fewer; name the first column too (in R: write.csv, or col.names = NA)"
        )
    if seen["longer"]:
        labels.notices.append(
            f"{seen['longer']} rows have more fields than the header; the further ones are empty "
            "and were ignored"
        )


def _add_parquet(labels: Labels, file: Path, columns: Sequence[str], image: str | None) -> None:
    with parquet.opened(file) as source:
        schema = source.schema_arrow
        hints = {image: parquet.image_hint(schema)} if image else {}
        places = _find_columns(file, schema.names, columns, hints=hints)
        _renamed(labels, schema.names, places)
        values: list[Sequence[str | None]] = []
        for column, place in places.items():
            if column == image:
                found = {
                    f"{file.name} row {n}": own
                    for n, own in enumerate(parquet.read_images(file, source, schema.names[place]))
                }
                images = {n: own for n, own in found.items() if isinstance(own, ImageReference)}
                labels.images |= images
                values.append(
                    [n if isinstance(own, ImageReference) else own for n, own in found.items()]
                )
                continue
            texts, names = parquet.read_texts(file, source, schema.names[place])
            if labels.classes.setdefault(column, names) != names:
                raise DataError(
                    f"{file}: expected the same class names of column {column!r} in every file; "
                    "write the labels as text"
                )
            if parquet.holds_numbers(schema.field(place).type):
                labels.numbers.add(column)
            values.append(texts)
        rows = list(zip(*values, strict=True))
    for number, row in enumerate(rows):
        row_name = f"{file.name} row {number}"
        if None in row:
            labels.rows.append(Exclusion(row_name, *parquet.UNREADABLE))
            continue
        own = dict(zip(places, map(str, row), strict=True))
        labels.rows.append(own | {PLACE: row_name})
