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
from PIL import Image, ImageOps

from bias_audit.data import scan as scanning
from bias_audit.data.duplicates import near_duplicate_sets
from bias_audit.data.faces import FaceTable, ImageReference
from bias_audit.data.images import UnusableImageError
from bias_audit.data.scan import Scan, fingerprint, scan
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
    files = [
        saved("good.jpg", jpeg),
        saved("cut.jpg", jpeg[: len(jpeg) // 2]),
        saved("text.jpg", b"this is text, not a photograph"),
        saved("tiny.png", encoded(Image.new("RGB", (1, 1)))),
        saved("bomb.png", bomb(30_000, 30_000)),
        saved("warned.png", bomb(10_000, 10_000)),
        tmp_path / "gone.jpg",
        saved("good2.png", encoded(picture(2))),
    ]
    seen = scanned(table_of(files, [(0, 0)] * len(files)))
    assert seen.usable.tolist() == [0, 7]
    assert reasons(seen) == {
        "cut.jpg": "corrupt image",
        "text.jpg": "not an image",
        "tiny.png": "too small",
        "bomb.png": "too large",
        "warned.png": "too large",
        "gone.jpg": "unreadable file",
    }
    assert all("expected" in entry.detail for entry in seen.exclusions)
    assert all(entry.effect == "left out" for entry in seen.exclusions)


def test_of_exact_duplicates_the_first_is_kept(saved: Save) -> None:
    data = encoded(picture(1))
    files = [
        saved("a.png", data),
        saved("b.png", encoded(picture(2))),
        saved("bytes.png", data),
        saved("pixels.bmp", encoded(picture(1), "BMP")),
    ]
    seen = scanned(table_of(files, [(0, 0), (1, 1), (0, 0), (0, 0)]))
    assert seen.usable.tolist() == [0, 1]
    assert reasons(seen) == {"bytes.png": "exact duplicate", "pixels.bmp": "exact duplicate"}
    assert all("a.png" in entry.detail for entry in seen.exclusions)


def test_exact_duplicates_with_conflicting_labels_are_all_left_out(saved: Save) -> None:
    data = encoded(picture(1))
    files = [saved(f"{i}.png", data) for i in range(3)] + [saved("x.png", encoded(picture(2)))]
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
    table = table_of(files, [(0, 0)] * 4)
    assert scanned(table).near_sets.tolist() == [0, 1, 0, 0]
    unsought = scanned(table, near=False)
    assert len(set(unsought.near_sets.tolist())) == 4
    assert any("not looked for" in notice for notice in unsought.notices)


def test_several_frames_are_said(saved: Save) -> None:
    frames = [picture(i) for i in range(2)]
    file = saved("a.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert any(
        "1 images hold several frames" in n for n in scanned(table_of([file], [(0, 0)])).notices
    )


def parquet_table(file: Path, n: int) -> FaceTable:
    rows = [{"bytes": encoded(picture(i)), "path": None} for i in range(n)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), file, row_group_size=3)
    table = table_of([file] * n, [(0, 0)] * n)
    references = tuple(ImageReference(file, row, "image.bytes") for row in range(n))
    return FaceTable(**{**table.__dict__, "references": references})


def test_a_second_scan_opens_no_image_and_sees_the_same(
    saved: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [saved(f"{i}.png", encoded(picture(i // 2))) for i in range(6)]
    files.append(saved("broken.png", b"no"))
    tables = [table_of(files, [(0, 0)] * 7), parquet_table(tmp_path / "x.parquet", 5)]
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
    table = table_of(files, [(0, 0)] * 2)
    first = scanned(table, tmp_path / "cache")
    saved("a.png", encoded(picture(3, 80)))
    again = scanned(table, tmp_path / "cache")
    assert again.sha256[0] != first.sha256[0]
    assert again.sha256[1] == first.sha256[1]


def test_a_damaged_cache_is_said_and_made_anew(
    saved: Save, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = table_of([saved("a.png", encoded(picture(1)))], [(0, 0)])
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

        return nullcontext(Stop())


def test_an_interruption_stops_promptly_and_keeps_what_was_seen(
    saved: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [saved(f"{i}.png", encoded(picture(i))) for i in range(200)]
    table = table_of(files, [(0, 0)] * 200)
    opened: Counter[str] = Counter()

    def slow(reference: ImageReference, record: np.void) -> None:
        time.sleep(0.005)
        opened[reference.label] += 1
        fingerprint(reference, record)

    monkeypatch.setattr(scanning, "fingerprint", slow)
    with pytest.raises(KeyboardInterrupt):
        scan(table, workers=2, near_duplicates=True, progress=Interrupting(), cache=tmp_path / "c")
    assert 0 < len(opened) < 100
    assert not [t for t in threading.enumerate() if t.name.startswith("scan")]
    seen = scanned(table, tmp_path / "c")
    assert len(seen.usable) == 200
    assert max(opened.values()) == 1


def test_the_same_images_are_not_compared_again(
    saved: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [saved(f"{i}.png", encoded(picture(i))) for i in range(3)]
    files.append(saved("mirrored.png", encoded(ImageOps.mirror(picture(0)))))
    table = table_of(files, [(0, 0)] * 4)
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
    assert scanned(table_of(files[:3], [(0, 0)] * 3), cache).near_sets.tolist() == [0, 1, 2]
    assert compared == [4, 3]
    for path in (cache / "near_duplicates").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    assert scanned(table, cache).near_sets.tolist() == [0, 1, 2, 0]
    assert compared == [4, 3, 4]  # what is damaged is not used


def test_unreadable_files_are_tried_again(
    saved: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of([saved("a.png", encoded(picture(1)))], [(0, 0)])

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
