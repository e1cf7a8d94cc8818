from __future__ import annotations

from pathlib import Path

import numpy as np

from bias_audit.audit.cache import DiskCache
from bias_audit.audit.run import with_unique_names
from tests.report.synthetic import make_audit


def test_backbones_of_one_name_are_numbered() -> None:
    subjects = make_audit(backbones=("net", "other", "net")).result.subjects
    names = [subject.backbone.name for subject in with_unique_names(subjects)]
    assert names == ["net", "other", "net (2)"]


def test_the_cache_gives_back_what_was_put(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache")
    assert cache.get("a") is None
    cache.put("a", {"x": np.arange(3)})
    found = cache.get("a")
    assert found is not None
    assert found["x"].tolist() == [0, 1, 2]
    assert cache.get("b") is None


def test_a_damaged_cache_entry_is_computed_again(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    cache.put("a", {"x": np.arange(300)})
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:200])
    assert cache.get("a") is None


def test_the_cache_is_for_its_owner_only(tmp_path: Path) -> None:
    DiskCache(tmp_path / "cache").put("a", {"x": np.arange(3)})
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0
