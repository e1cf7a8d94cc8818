from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bias_audit.data.faces import (
    Exclusion,
    Faces,
    data_record,
    exclusions_csv,
    manifest_sha256,
    summarise_exclusions,
)
from bias_audit.data.sampling import drawn
from bias_audit.results.audit import DataRecord
from tests.data.test_sampling import table_and_scan

REPOSITORY = Path(__file__).resolve().parents[2]


def some_faces(**more: object) -> Faces:
    codes = [(0, 0), (0, 1), (1, 1), (0, 0)]
    table, seen = table_and_scan(codes, **more)  # type: ignore[arg-type]
    return drawn(table, seen, None, np.random.default_rng(0))


def test_summary_counts_by_reason_and_effect_with_few_examples() -> None:
    entries = [Exclusion(f"{i}.jpg", "corrupt image", "cut") for i in range(9)]
    entries.insert(3, Exclusion("x.jpg", "near duplicate", "of y.jpg", "kept"))
    summary = summarise_exclusions(entries)
    assert [(s.reason, s.effect, s.count, len(s.examples)) for s in summary] == [
        ("corrupt image", "left out", 9, 5),
        ("near duplicate", "kept", 1, 1),
    ]
    assert sum(s.count for s in summary) == len(entries)
    assert summary[0].examples[0] == "0.jpg: cut"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start: str) -> None:
    text = exclusions_csv([Exclusion(start + "cmd|' /C calc'!A0", "unknown label", start + "x")])
    (_, row) = csv.reader(io.StringIO(text, newline=""))
    assert row[0] == "'" + start + "cmd|' /C calc'!A0"
    assert row[3] == "'" + start + "x"


@given(st.lists(st.tuples(*[st.text(alphabet="ab=+-@\t\r\n,\"' ", max_size=6)] * 4), max_size=4))
def test_the_ledger_reads_back_whole(rows: list[tuple[str, str, str, str]]) -> None:
    entries = [Exclusion(a, b, c, d) for a, b, c, d in rows]
    back = list(csv.reader(io.StringIO(exclusions_csv(entries), newline="")))[1:]
    assert len(back) == len(entries)
    for cells, entry in zip(back, entries, strict=True):
        wanted = (entry.reference, entry.reason, entry.effect, entry.detail)
        for cell, original in zip(cells, wanted, strict=True):
            assert cell in {original, "'" + original}
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_manifest_depends_on_images_and_labels_not_on_order_or_names() -> None:
    faces = some_faces()
    order = [2, 0, 3, 1]
    table = faces.table
    shuffled = replace(
        faces,
        table=replace(
            table,
            name="renamed",
            references=tuple(reversed(table.references)),
            codes=table.codes[order],
        ),
        sha256=tuple(faces.sha256[i] for i in order),
    )
    assert manifest_sha256(shuffled) == manifest_sha256(faces)
    relabelled = replace(faces, table=replace(table, codes=1 - table.codes))
    assert manifest_sha256(relabelled) != manifest_sha256(faces)
    other = replace(faces, sha256=("f" * 64, *faces.sha256[1:]))
    assert manifest_sha256(other) != manifest_sha256(faces)


def test_record_holds_every_declared_cell_and_survives_json() -> None:
    record = data_record(some_faces(identities=("ann", "ann", "", "bob")), "manifest")
    assert [(cell.found, cell.used) for cell in record.cells] == [(2, 2), (1, 1), (0, 0), (1, 1)]
    assert (record.n_images, record.n_identities, record.n_clusters) == (4, 2, 3)
    assert record.kind == "manifest"
    assert DataRecord.model_validate_json(record.model_dump_json()) == record
    assert (record.n_without_identity, record.effective_clusters) == (1, (4 + 2) ** 2 / (16 + 2))
    nobody = data_record(some_faces(), "manifest", found_cautions=("few people",))
    assert (nobody.n_identities, nobody.n_without_identity) == (None, None)
    assert nobody.cautions == (*some_faces().table.cautions, "few people")


def test_a_record_of_an_older_release_still_reads() -> None:
    written = data_record(some_faces(), "manifest").model_dump(mode="json")
    del written["n_without_identity"], written["effective_clusters"]
    assert DataRecord.model_validate(written).effective_clusters is None
