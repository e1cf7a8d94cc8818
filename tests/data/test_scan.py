"""Opening every image once, or a sample of them; what was opened once is remembered."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from bias_audit.audit.checking import data_lines, quick_lines
from bias_audit.config.load import load_config
from bias_audit.data import scan as scanning
from bias_audit.data.duplicates import near_duplicate_sets
from bias_audit.data.faces import FaceTable, ImageReference
from bias_audit.data.images import UnusableImageError
from bias_audit.data.scan import QuickLook, Scan, fingerprint, quick_look, scan, spread
from bias_audit.progress import Silent, Step
from tests.data.conftest import encoded, picture, table_of
from tests.data.test_images import bomb

Save = Callable[[str, bytes], Path]


def scanned(table: FaceTable, cache: Path | None = None, *, near: bool = True) -> Scan:
    return scan(table, workers=2, near_duplicates=near, progress=Silent(), cache=cache)


def reasons(seen: Scan) -> dict[str, str]:
    return {entry.reference.partition("/")[2]: entry.reason for entry in seen.exclusions}


def test_unusable_images_are_left_out_each_with_its_reason(saved: Save, tmp_path: Path) -> None:
    jpeg = encoded(picture(1, 128), "JPEG")
    contents = {
        "good.jpg": (jpeg, ""),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "corrupt image"),
        "text.jpg": (b"this is text, not a photograph", "not an image"),
        "tiny.png": (encoded(Image.new("RGB", (1, 1))), "too small"),
        "bomb.png": (bomb(30_000, 30_000), "too large"),
        "warned.png": (bomb(10_000, 10_000), "too large"),
        "good2.png": (encoded(picture(2)), ""),
    }
    files = [*(saved(name, data) for name, (data, _) in contents.items()), tmp_path / "gone.jpg"]
    seen = scanned(table_of(files))
    assert seen.usable.tolist() == [0, 6]
    expected = {name: reason for name, (_, reason) in contents.items() if reason}
    assert reasons(seen) == {**expected, "gone.jpg": "unreadable file"}
    assert all("expected" in entry.detail for entry in seen.exclusions)
    assert all(entry.effect == "left out" for entry in seen.exclusions)


def test_of_exact_duplicates_the_first_is_kept(saved: Save) -> None:
    data, same = encoded(picture(1)), encoded(picture(1), "BMP")
    contents = {"a": data, "b": encoded(picture(2)), "bytes": data, "pixels": same}
    seen = scanned(table_of([saved(f"{name}.png", own) for name, own in contents.items()]))
    assert seen.usable.tolist() == [0, 1]
    assert reasons(seen) == {"bytes.png": "exact duplicate", "pixels.png": "exact duplicate"}
    assert all("a.png" in entry.detail for entry in seen.exclusions)


def test_exact_duplicates_with_conflicting_labels_are_all_left_out(saved: Save) -> None:
    files = [saved(f"{i}.png", encoded(picture(i // 3))) for i in range(4)]
    seen = scanned(table_of(files, [(0, 0), (0, 0), (0, 1), (0, 0)]))
    assert seen.usable.tolist() == [3]
    assert set(reasons(seen).values()) == {"exact duplicates with conflicting labels"}
    assert len(seen.exclusions) == 3
    assert all("gender differ" in entry.detail for entry in seen.exclusions)


def test_near_duplicates_are_kept_in_one_set(saved: Save) -> None:
    image = picture(1, 96)
    files = [
        saved("a.png", encoded(image)),
        saved("b.png", encoded(picture(2, 96))),
        saved("a.jpg", encoded(image, "JPEG", quality=60)),
        saved("mirror.png", encoded(ImageOps.mirror(image))),
    ]
    assert scanned(table_of(files)).near_sets.tolist() == [0, 1, 0, 0]
    unsought = scanned(table_of(files), near=False)
    assert len(set(unsought.near_sets.tolist())) == 4
    assert any("not looked for" in notice for notice in unsought.notices)


def test_several_frames_are_said(saved: Save) -> None:
    frames = [picture(i) for i in range(2)]
    file = saved("a.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    notices = scanned(table_of([file])).notices
    assert any("1 images have several frames" in notice for notice in notices)


def parquet_table(file: Path, n: int) -> FaceTable:
    rows = [{"bytes": encoded(picture(i)), "path": None} for i in range(n)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), file, row_group_size=3)
    table = table_of([file] * n)
    references = tuple(ImageReference(file, row, "image.bytes") for row in range(n))
    return FaceTable(**{**table.__dict__, "references": references})


def test_a_second_scan_opens_no_image_and_sees_the_same(
    saved: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [saved(f"{i}.png", encoded(picture(i // 2))) for i in range(6)]
    files.append(saved("broken.png", b"no"))
    tables = [table_of(files), parquet_table(tmp_path / "x.parquet", 5)]
    before = [scanned(table, tmp_path / f"cache{i}") for i, table in enumerate(tables)]

    def never(reference: ImageReference, record: np.void) -> None:
        raise AssertionError(f"{reference.label} was opened")

    monkeypatch.setattr(scanning, "fingerprint", never)
    for i, (table, first) in enumerate(zip(tables, before, strict=True)):
        again = scanned(table, tmp_path / f"cache{i}")
        assert again.usable.tolist() == first.usable.tolist()
        assert again.near_sets.tolist() == first.near_sets.tolist()
        assert (again.sha256, again.exclusions) == (first.sha256, first.exclusions)


def test_a_changed_file_is_opened_again(saved: Save, tmp_path: Path) -> None:
    files = [saved("a.png", encoded(picture(1))), saved("b.png", encoded(picture(2)))]
    table = table_of(files)
    first = scanned(table, tmp_path / "cache")
    saved("a.png", encoded(picture(3, 80)))
    again = scanned(table, tmp_path / "cache")
    assert again.sha256[0] != first.sha256[0]
    assert again.sha256[1] == first.sha256[1]


def test_a_damaged_cache_is_said_and_made_anew(
    saved: Save, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = table_of([saved("a.png", encoded(picture(1)))])
    first = scanned(table, tmp_path / "cache")
    (stored,) = (tmp_path / "cache" / "scan").iterdir()
    assert (tmp_path / "cache" / "scan").stat().st_mode & 0o777 == 0o700
    stored.write_bytes(b"PK\x03\x04 half a file")
    again = scanned(table, tmp_path / "cache")
    assert again.sha256 == first.sha256
    assert "is damaged" in caplog.text


class Interrupting(Silent):
    """Raises what Ctrl-C raises after the first images are done."""

    def step(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Step]:  # noqa: ARG002
        class Stop:
            def advance(self, count: int = 1) -> None:  # noqa: ARG002
                raise KeyboardInterrupt

            def resume(self, count: int) -> None:
                """Nothing was done before."""

        return nullcontext(Stop())


def test_an_interruption_stops_promptly_and_keeps_what_was_seen(
    saved: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [saved(f"{i}.png", encoded(picture(i))) for i in range(200)]
    table = table_of(files)
    opened: Counter[str] = Counter()

    def slow(reference: ImageReference, record: np.void) -> None:
        time.sleep(0.005)
        opened[reference.label] += 1
        fingerprint(reference, record)

    monkeypatch.setattr(scanning, "fingerprint", slow)
    with pytest.raises(KeyboardInterrupt):
        scan(table, workers=2, near_duplicates=True, progress=Interrupting(), cache=tmp_path / "c")
    assert 0 < len(opened) < 100
    assert not [t for t in threading.enumerate() if t.name.startswith("image")]
    seen = scanned(table, tmp_path / "c")
    assert len(seen.usable) == 200
    assert max(opened.values()) == 1


def test_the_same_images_are_not_compared_again(
    saved: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [saved(f"{i}.png", encoded(picture(i))) for i in range(3)]
    files.append(saved("mirrored.png", encoded(ImageOps.mirror(picture(0)))))
    table = table_of(files)
    compared: list[int] = []

    def counted(hashes: np.ndarray, *others: np.ndarray, step: Step) -> np.ndarray:
        compared.append(len(hashes))
        return near_duplicate_sets(hashes, *others, step=step)

    counted.__module__ = near_duplicate_sets.__module__
    monkeypatch.setattr(scanning, "near_duplicate_sets", counted)
    cache = tmp_path / "cache"
    first = scanned(table, cache)
    assert first.near_sets.tolist() == [0, 1, 2, 0]
    assert scanned(table, cache).near_sets.tolist() == [0, 1, 2, 0]
    assert compared == [4]
    assert scanned(table_of(files[:3]), cache).near_sets.tolist() == [0, 1, 2]
    assert compared == [4, 3]
    for path in (cache / "near_duplicates").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    assert scanned(table, cache).near_sets.tolist() == [0, 1, 2, 0]
    assert compared == [4, 3, 4]  # what is damaged is not used


def test_unreadable_files_are_tried_again(
    saved: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of([saved("a.png", encoded(picture(1)))])

    def refused(reference: ImageReference) -> bytes:
        raise UnusableImageError("unreadable file", "expected a readable file: permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("bias_audit.data.scan.read_bytes", refused)
        assert len(scanned(table, tmp_path / "cache").usable) == 0
    assert len(scanned(table, tmp_path / "cache").usable) == 1


def test_real_utkface_holds_copies_under_other_labels(shared: Path, tmp_path: Path) -> None:
    from bias_audit.data.sources.utkface import PLUGIN, Params

    seen = scanned(PLUGIN.read(Params(root=shared / "data/utkface")), tmp_path)
    assert len(seen.usable) == 1719
    assert Counter(entry.reason for entry in seen.exclusions) == {
        "exact duplicate": 2,
        "exact duplicates with conflicting labels": 2,
    }


def look(table: FaceTable, cache: Path) -> QuickLook:
    return quick_look(table, workers=2, seed=0, progress=Silent(), cache=cache)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=300), st.integers(1, 60))
def test_every_intersection_has_its_share_of_the_sample(cells: list[int], n: int) -> None:
    of = np.array(cells)
    rows = spread(of, n, np.random.default_rng(0))
    assert len(rows) == len(set(rows.tolist())) == min(n, len(of))
    for cell in range(6):
        share = (of == cell).sum() * len(rows) / len(of)
        assert abs((of[rows] == cell).sum() - share) < 2


def test_every_image_is_as_likely_to_be_opened() -> None:
    cells = np.repeat([0, 1], [30, 10])
    draws = [spread(cells, 8, np.random.default_rng(seed)) for seed in range(500)]
    counts = np.bincount(np.concatenate(draws), minlength=40)
    assert np.abs(counts - 100).max() < 4.5 * np.sqrt(500 * 0.2 * 0.8)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each image was opened."""
    count: Counter[str] = Counter()

    def counted(reference: ImageReference, record: np.void) -> None:
        count[reference.label] += 1
        fingerprint(reference, record)

    monkeypatch.setattr(scanning, "fingerprint", counted)
    monkeypatch.setattr(scanning, "SAMPLE", 20)
    return count


def test_nothing_is_opened_twice(saved: Save, tmp_path: Path, opened: Counter[str]) -> None:
    files = [saved(f"{i}.png", encoded(picture(i, 32)) if i % 5 else b"no") for i in range(60)]
    table, cache = table_of(files, [(i % 2, 0) for i in range(60)]), tmp_path / "cache"
    first = look(table, cache)
    assert opened.total() == first.n_opened == 20
    lower, upper = first.share
    assert 0 < lower < len(first.unusable) / 20 < upper < 1
    assert look(table, cache) == first
    full = scan(table, workers=2, near_duplicates=True, progress=Silent(), cache=cache)
    assert len(full.usable) == 48
    assert look(table, cache) == first
    part = table.only(np.arange(10))
    scan(part, workers=2, near_duplicates=False, progress=Silent(), cache=cache)
    scan(table, workers=2, near_duplicates=False, progress=Silent(), cache=cache)
    assert set(opened.values()) == {1}
    assert len(opened) == 60


def test_all_of_a_small_data_set_is_opened(
    saved: Save, tmp_path: Path, opened: Counter[str]
) -> None:
    files = [saved("a.png", encoded(picture(1, 32))), saved("b.png", b"no")]
    seen = look(table_of(files), tmp_path)
    assert seen.share == (0.5, 0.5)
    assert [entry.reason for entry in seen.unusable] == ["not an image"]


def test_data_check_says_that_it_sampled(
    tmp_path: Path, opened: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["path,group"]
    for i in range(60):
        content = encoded(picture(i, 32)) if i % 5 else b"no"
        (tmp_path / f"{i}.png").write_bytes(content)
        rows.append(f"{i}.png,{'ab'[i % 2]}")
    (tmp_path / "faces.csv").write_text("\n".join(rows))
    (tmp_path / "c.yaml").write_text(
        "name: t\n"
        "data: {kind: manifest, file: faces.csv, attributes: {group: [a, b]}}\n"
        "backbones: [{kind: bundled}]\nanalyses: [{kind: linear_probe}]\n"
        "output: {cache: cache}\n"
    )
    monkeypatch.chdir(tmp_path)
    config = load_config(tmp_path / "c.yaml")
    text = "\n".join(quick_lines(config, Silent()))
    assert "faces: 60 images listed" in text
    assert "A random sample of 20 of 60 images" in text
    assert "95 % interval" in text
    assert "not an image (left out)" in text
    assert opened.total() == 20
    assert "faces: 48 images to use of 48 found" in "\n".join(data_lines(config, Silent()))
    assert set(opened.values()) == {1}
