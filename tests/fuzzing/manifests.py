"""Manifests with bytes, columns, encodings and types changed at random."""

from __future__ import annotations

import datetime
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from bias_audit.data.images import UnusableImageError, decode, read_bytes
from bias_audit.data.sources.manifest import PLUGIN, Params
from bias_audit.errors import DataError
from tests.data.conftest import encoded, picture

_IMAGE = encoded(picture(1, 32))
_PATHS = ("1.png", "é.png", "sub\\1.png", "../1.png", "/1.png", "C:\\1.png", "", "\0", "x" * 300)
_LABELS = ("a", "b", "3-9", "9-Mar", "2023-09-03", "1,0", "70+", "nan", "\u200ba", "é", "-1", "²")
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "utf-7")
_SETTINGS: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("path_column", ("path", "image", "group", "", "a.b")),
    ("binned", ((), ("age",))),
    ("encoding", (None, "windows-1252", "utf-16", "punycode", "idna", "unicode_escape")),
    ("follow_links", (False, True)),
    ("identity_column", (None, "who")),
    ("annotators", ({}, {"group": ["group", "age"]})),
)


def one(rng: random.Random, folder: Path) -> None:
    """Read one mutated manifest, and decode the images it leads to.

    Args:
        rng: Decides everything.
        folder: Where files may be written.

    Raises:
        Exception: Anything but a declared error came out.
    """
    (folder / "1.png").write_bytes(_mutated(rng, _IMAGE) if rng.random() < 0.5 else _IMAGE)
    file = folder / "faces.table"
    file.write_bytes(b"")
    (_parquet if rng.random() < 0.5 else _csv)(rng, file)
    if rng.random() < 0.6:
        file.write_bytes(_mutated(rng, file.read_bytes()))
    settings = {name: rng.choice(values) for name, values in _SETTINGS if rng.random() < 0.4}
    attributes = {"group": ["a", "b", "é"], "age": ["3-9", "10-19", "70+"]}
    try:
        params = Params.model_validate({"file": file, "attributes": attributes, **settings})
        table = PLUGIN.read(params)
    except (DataError, ValidationError) as error:
        text = str(error)
        if len(text) > 3000 or "PNG\\r" in text or "\0" in text:
            raise AssertionError(f"a message shows foreign bytes: {text[:200]!r}") from error
        return
    for reference in table.references[:3]:
        try:
            decode(read_bytes(reference), rng.choice((0, 4095)))
        except UnusableImageError:
            continue


def _mutated(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        place = rng.randrange(len(changed) + 1)
        what = rng.randrange(4)
        if what == 0 and changed:
            changed[place % len(changed)] = rng.randrange(256)
        elif what == 1:
            changed[place:place] = rng.randbytes(rng.randrange(8))
        elif what == 2:
            del changed[place : place + rng.randrange(20)]
        else:
            changed[place:place] = rng.choice((b'"', b"\0", b"\r", b"\xff", b"\n", b";", b"\t"))
    return bytes(changed)


def _csv(rng: random.Random, file: Path) -> None:
    separator, end = rng.choice(",;\t|"), rng.choice(("\n", "\r\n", "\r"))
    header = rng.choice((["path", "group", "age", "who"], ["who", "path", "age", "group", ""]))
    rows = [[rng.choice((*_PATHS, *_LABELS)) for _ in header] for _ in range(rng.randrange(8))]
    rows = [["1.png" if rng.random() < 0.5 else row[0], *row[1:]] for row in rows]
    text = end.join(separator.join(row) for row in [header, *rows])
    if rng.random() < 0.2:
        text = f"sep={separator}{end}{text}"
    file.write_bytes(text.encode(rng.choice(_ENCODINGS), errors="replace"))


def _parquet(rng: random.Random, file: Path) -> None:
    n = rng.randrange(5)
    path = rng.choice((_images, _texts, _column))(rng, n)
    columns = {
        rng.choice(("path", "image")): path,
        "group": rng.choice((_texts, _column))(rng, n),
        "age": rng.choice((_texts, _column))(rng, n),
        "who": _column(rng, n),
    }
    feature: object = rng.choice(({"names": ["a", "b"]}, {"names": 3}, [], {"names": [None, {}]}))
    metadata: object = rng.choice(
        ({"info": {"features": {"group": feature}}}, {"info": 1}, [], "{")
    )
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table, file, row_group_size=rng.choice((1, 2, 100)))


def _texts(rng: random.Random, n: int) -> pa.Array:
    kind = rng.choice((pa.string(), pa.large_string(), pa.string_view()))
    values = [rng.choice((None, "1.png", *_PATHS, *_LABELS)) for _ in range(n)]
    array = pa.array(values, kind)
    can_encode = kind != pa.string_view()  # which pyarrow cannot write
    return array.dictionary_encode() if can_encode and rng.random() < 0.2 else array


def _images(rng: random.Random, n: int) -> pa.Array:
    one = pa.struct(
        [("bytes", rng.choice((pa.binary(), pa.large_binary()))), ("path", pa.string())]
    )
    structs = [
        rng.choice((None, {"bytes": _IMAGE, "path": None}, {"bytes": None, "path": "1.png"}))
        for _ in range(n)
    ]
    data = [rng.choice((None, b"", _IMAGE, b"1.png", b"\xff")) for _ in range(n)]
    choices: tuple[Callable[[], pa.Array], ...] = (
        lambda: pa.array(structs, one),
        lambda: pa.array([[each] * rng.randrange(3) for each in structs], pa.list_(one)),
        lambda: pa.array(data, rng.choice((pa.binary(), pa.large_binary(), pa.binary_view()))),
        lambda: pa.array([[each] for each in data], pa.large_list(pa.binary())),
        lambda: pa.array([{"x": each} for each in data], pa.struct([("x", pa.binary())])),
    )
    return rng.choice(choices)()


def _column(rng: random.Random, n: int) -> pa.Array:
    choices: tuple[tuple[Any, tuple[Any, ...]], ...] = (
        (pa.int64(), (0, 1, -1, 2**62, None)),
        (pa.uint8(), (0, 1, 255)),
        (pa.float64(), (0.0, 9.5, float("nan"), float("inf"), 1e300, None)),
        (pa.bool_(), (True, False, None)),
        (pa.date32(), (datetime.date(2023, 9, 3), None)),
        (pa.timestamp("ns"), (0, 2**62, -(2**62))),
        (pa.timestamp("s"), (0, 2**50)),
        (pa.duration("s"), (0, 2**50)),
        (pa.binary(), (b"a", b"\xff", None)),
        (pa.list_(pa.string()), (["a"], [], ["a", "b"], None)),
        (pa.map_(pa.string(), pa.string()), ([("a", "b")], None)),
        (pa.null(), (None,)),
    )
    kind, values = rng.choice(choices)
    return pa.array([rng.choice(values) for _ in range(n)], kind)
