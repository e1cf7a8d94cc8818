"""A first look at a sample; what was opened once is remembered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bias_audit.audit.checking import data_lines, quick_lines
from bias_audit.config.load import load_config
from bias_audit.data import scan as scanning
from bias_audit.data.faces import FaceTable, ImageReference
from bias_audit.data.scan import QuickLook, fingerprint, quick_look, scan, spread
from bias_audit.progress import Silent
from tests.data.conftest import encoded, picture, table_of

Save = Callable[[str, bytes], Path]


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
    seen = look(table_of(files, [(0, 0)] * 2), tmp_path)
    assert seen.share == (0.5, 0.5)
    assert [entry.reason for entry in seen.unusable] == ["not an image"]


def test_images_that_only_lack_a_package_are_opened_again(
    saved: Save, tmp_path: Path, opened: Counter[str]
) -> None:
    table = table_of([saved("a.heic", b"\xff\x0a" + bytes(20))], [(0, 0)])
    for _ in range(2):
        assert look(table, tmp_path / "cache").unusable[0].reason == "format not installed"
    assert opened.total() == 2


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
    assert "faces: 48 images to use of 48 usable" in "\n".join(data_lines(config, Silent()))
    assert set(opened.values()) == {1}
