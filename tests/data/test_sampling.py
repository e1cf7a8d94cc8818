"""Draws, folds and warnings, and what a record and the ledger say of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bias_audit.config.schema import Sampling
from bias_audit.data import scan as scanning
from bias_audit.data.faces import (
    Exclusion,
    Faces,
    FaceTable,
    ImageReference,
    data_record,
    exclusions_csv,
    manifest_sha256,
    summarise_exclusions,
)
from bias_audit.data.sampling import clustered, prepare, stratified_folds, warnings
from bias_audit.data.scan import Scan
from bias_audit.errors import DataError
from bias_audit.groups import Attribute
from bias_audit.progress import Silent
from bias_audit.results.audit import DataRecord
from tests.data.conftest import encoded, picture, table_of

Save = Callable[[str, bytes], Path]


def table_and_scan(
    codes: list[tuple[int, int]], near: list[int] | None = None, **more: object
) -> tuple[FaceTable, Scan]:
    n = len(codes)
    files = [Path(f"faces/{i}.jpg") for i in range(n)]
    seen = Scan(
        usable=np.arange(n),
        possible=np.arange(n),
        near_sets=np.array(near if near is not None else range(n), dtype=np.int64),
        sha256=tuple(f"{i:064x}" for i in range(n)),
        whites=np.zeros(n, dtype=np.int64),
        exclusions=(),
        notices=(),
    )
    return table_of(files, codes, **more), seen


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


cells = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)


def sampled(
    codes: Sequence[tuple[int, int]], limit: int | None, seed: int, bad: Collection[int] = ()
) -> tuple[Faces, list[int]]:
    """Faces of a table without files, some of them unusable, and the numbers of those opened."""
    opened = []

    def open_one(reference: ImageReference, record: np.void) -> None:
        number = int(reference.file.stem)
        opened.append(number)
        if number in bad:
            record["reason"] = b"corrupt image"
        else:
            record["sha256"] = record["pixels"] = f"{number:064x}".encode()
            record["n_frames"] = 1

    table, _ = table_and_scan(list(codes))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scanning, "fingerprint", open_one)
        sampling = Sampling(max_per_intersection=limit)
        faces = prepare(table, sampling, workers=1, seed=seed, cache=None, progress=Silent())
    return faces, sorted(opened)


def numbers(faces: Faces) -> list[int]:
    return [int(reference.file.stem) for reference in faces.table.references]


@given(codes=cells, limit=st.integers(1, 20), seed=st.integers(0, 5), data=st.data())
def test_draws_the_limit_of_every_cell_in_source_order(
    codes: list[tuple[int, int]], limit: int, seed: int, data: st.DataObject
) -> None:
    bad = data.draw(st.sets(st.integers(0, len(codes) - 1), max_size=len(codes) - 1))
    faces, opened = sampled(codes, limit, seed, bad)
    cell = np.array([2 * one + other for one, other in codes])
    good = np.setdiff1d(np.arange(len(codes)), list(bad))
    used = numbers(faces)
    assert np.bincount(cell[used], minlength=4).tolist() == (
        np.minimum(np.bincount(cell[good], minlength=4), limit).tolist()
    )
    assert used == sorted(set(used) - bad)
    assert [int(sha, 16) for sha in faces.sha256] == used
    assert [tuple(row) for row in faces.table.codes.tolist()] == [codes[i] for i in used]
    assert opened == sorted({*used, *(bad & set(opened))})  # no usable image in vain, none twice
    assert len(faces.table.exclusions) == len(opened) - len(used)
    ruled_out = np.bincount(cell[sorted(bad & set(opened))], minlength=4)
    assert faces.found.tolist() == (np.bincount(cell, minlength=4) - ruled_out).tolist()
    assert sampled(codes, limit, seed, bad)[0].table.references == faces.table.references


def test_every_image_of_a_cell_is_as_likely_to_be_drawn() -> None:
    counts = np.zeros(13)
    for seed in range(400):
        counts[numbers(sampled([(0, 0)] * 10 + [(1, 1)] * 3, 5, seed)[0])] += 1
    assert (counts[10:] == 400).all()
    assert np.abs(counts[:10] - 200).max() < 50  # five standard deviations


def test_what_was_not_drawn_is_told() -> None:
    codes = [(0, 0)] * 6 + [(0, 1)] * 2
    assert sampled(codes, 4, 0)[0].table.notices == (
        "drew at most 4 of up to 6 images per intersection: 6 of 8 images are used",
        "2 of 8 images were not drawn and not opened: how many of them are unusable or duplicates "
        "is not known",
    )
    assert sampled(codes, 4, 0, bad=range(6))[0].table.notices == (
        "drew at most 4 of up to 6 images per intersection: 2 of 8 images are used",
    )
    assert sampled(codes, 6, 0)[0].table.notices == ()
    assert sampled(codes, None, 0)[0].table.notices == ()


def test_clusters_join_people_and_near_duplicates() -> None:
    names = ("ann", "bob", "ann", "", "", "cid", "bob")
    table, seen = table_and_scan([(0, 0)] * 7, [0, 1, 2, 3, 4, 1, 6], identities=names)
    faces = clustered(table, seen)
    assert faces.clusters.tolist() == [0, 1, 0, 2, 3, 1, 1]


def test_near_duplicates_are_in_the_ledger_only_where_both_are_used() -> None:
    table, seen = table_and_scan([(0, 0), (0, 0), (0, 1)], [0, 0, 0])
    faces = clustered(table, seen)
    assert [(e.reference, e.effect) for e in faces.table.exclusions] == [
        ("faces/1.jpg", "kept, in one fold with its twin"),
        ("faces/2.jpg", "kept, in one fold with its twin"),
    ]
    assert "annotated differently" not in faces.table.exclusions[0].detail
    assert "annotated differently" in faces.table.exclusions[1].detail


def test_no_face_left_is_an_error_that_says_why(saved: Save) -> None:
    table = table_of([saved("a.jpg", b"text")])
    with pytest.raises(DataError, match=r"none of the 1 annotated images is usable.*not an image"):
        prepare(table, Sampling(), workers=1, seed=0, cache=None, progress=Silent())


def test_prepare_scans_draws_and_clusters(saved: Save, tmp_path: Path) -> None:
    files = [saved(f"{i}.png", encoded(picture(i, 96))) for i in range(6)]
    files += [
        saved("0.jpg", encoded(picture(0, 96), "JPEG")),
        saved("1b.png", files[1].read_bytes()),
    ]
    table = table_of(files)
    options = {"workers": 2, "cache": tmp_path / "cache", "progress": Silent()}
    faces = prepare(table, Sampling(), seed=0, **options)  # type: ignore[arg-type]
    assert [reference.file.name for reference in faces.table.references] == [
        *(f"{i}.png" for i in range(6)),
        "0.jpg",
    ]
    assert faces.clusters.tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert [entry.reason for entry in faces.table.exclusions] == [
        "exact duplicate",
        "near duplicate",
    ]
    few = Sampling(max_per_intersection=3)
    one, same, other = (prepare(table, few, seed=s, **options) for s in (1, 1, 2))  # type: ignore[arg-type]
    assert one.sha256 == same.sha256
    assert one.sha256 != other.sha256


# Folds.


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    n = draw(st.integers(2, 60))
    codes = draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))
    clusters = draw(st.lists(st.integers(0, 3 * n), min_size=n, max_size=n))
    return np.array(codes), np.array(clusters), draw(st.integers(2, 6))


@given(labelled(), st.integers(0, 3))
def test_every_image_in_one_fold_and_no_cluster_split(
    case: tuple[np.ndarray, np.ndarray, int], seed: int
) -> None:
    codes, clusters, n_folds = case
    if len(set(clusters.tolist())) < n_folds:
        with pytest.raises(DataError, match="use fewer folds"):
            stratified_folds(codes, clusters, n_folds, rng(seed))
        return
    folds = stratified_folds(codes, clusters, n_folds, rng(seed))
    assert folds.shape == codes.shape
    assert set(folds.tolist()) == set(range(n_folds))
    for cluster in np.unique(clusters):
        assert len(set(folds[clusters == cluster].tolist())) == 1
    assert folds.tolist() == stratified_folds(codes, clusters, n_folds, rng(seed)).tolist()


@given(st.lists(st.integers(0, 5), min_size=10, max_size=80), st.integers(2, 6))
def test_folds_of_single_images_differ_by_at_most_one_in_every_code(
    codes: list[int], n_folds: int
) -> None:
    array = np.array(codes)
    folds = stratified_folds(array, np.arange(len(array)), n_folds, rng())
    for code in np.unique(array):
        counts = np.bincount(folds[array == code], minlength=n_folds)
        assert np.ptp(counts) <= 1


def test_folds_of_clustered_faces_stay_alike() -> None:
    generator = rng(3)
    clusters = np.repeat(np.arange(150), generator.integers(1, 6, 150))
    codes = generator.integers(0, 4, 150)[clusters]
    folds = stratified_folds(codes, clusters, 5, generator)
    for code in range(4):
        counts = np.bincount(folds[codes == code], minlength=5)
        assert np.ptp(counts) <= 5  # no more than the largest cluster


def test_folds_change_with_the_generator() -> None:
    codes = np.repeat([0, 1], 20)
    one, other = (stratified_folds(codes, np.arange(40), 5, rng(seed)) for seed in (0, 1))
    assert one.tolist() != other.tolist()


@pytest.mark.parametrize("n_folds", [0, 1, 4])
def test_too_few_or_too_many_folds(n_folds: int) -> None:
    with pytest.raises(DataError, match="3 sets of images"):
        stratified_folds(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 2]), n_folds, rng())


# Warnings.


def faces_of(codes: list[tuple[int, int]], **more: object) -> Faces:
    return clustered(*table_and_scan(codes, **more))  # type: ignore[arg-type]


def test_a_full_balanced_table_warns_of_nothing() -> None:
    codes = [(i, j) for i in range(2) for j in range(2)] * 15
    assert warnings(faces_of(codes), 5) == ()


def test_few_effective_clusters_are_said_with_the_smallest_level() -> None:
    codes = [(i % 2, int(i % 3 == 0)) for i in range(240)]
    near = [0 if code == (1, 1) else i + 1 for i, code in enumerate(codes)]
    age, gender = warnings(faces_of(codes, near=near), 5)[1:]
    # 40 of 120 images are one cluster: (40^2 + 80)^2 / (40^4 + 80) = 1.1
    assert age.startswith("age: old has the smallest effective number of clusters, 1.1, fewer")
    assert gender.startswith("gender: m has the smallest effective number of clusters, 1.1, few")


def test_empty_small_and_missing_are_said() -> None:
    attributes = (Attribute("age", ("young", "old", "ancient")), Attribute("gender", ("f", "m")))
    faces = faces_of([(0, 0)] * 6 + [(1, 0)] * 2, attributes=attributes)
    text = "\n".join(warnings(faces, 5))
    assert "age: no image of ancient" in text
    assert "gender: no image of m" in text
    assert "gender: images of one group only" in text
    assert (
        "4 of 6 intersections have no image to use: young / m; old / m; ancient / f; ancient / m"
        in text
    )
    assert "1 intersections have fewer images than 5 folds: old / f (2)" in text
    assert "age: images of one level" not in text


def test_fewer_sets_than_folds_are_said() -> None:
    faces = faces_of([(0, 0), (0, 1), (1, 0), (1, 1)], near=[0, 0, 0, 1])
    assert any("2 independent sets" in warning for warning in warnings(faces, 5))


def some_faces(**more: object) -> Faces:
    return faces_of([(0, 0), (0, 1), (1, 1), (0, 0)], **more)


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
