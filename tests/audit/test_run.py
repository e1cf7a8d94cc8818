from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bias_audit.audit.cache import DiskCache
from bias_audit.audit.checking import data_lines
from bias_audit.audit.run import with_unique_names
from bias_audit.config.schema import AuditConfig
from bias_audit.progress import Silent
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


@pytest.mark.parametrize("folds", [(3,), (3, 8), (8, 3)])
def test_warnings_are_about_the_folds_that_were_asked_for(
    folds: tuple[int, ...], tmp_path: Path
) -> None:
    config = AuditConfig.model_validate(
        {
            "name": "x",
            "data": {"kind": "parametric"},
            "sampling": {"max_per_intersection": 7, "near_duplicates": False},
            "backbones": [{"kind": "bundled"}],
            "output": {"cache": str(tmp_path)},
            "analyses": [{"kind": "linear_probe", "folds": n} for n in folds],
        }
    )
    told = [line for line in data_lines(config, Silent()) if line.startswith("warning: ")]
    assert any("fewer images than 8 folds" in line for line in told) == (max(folds) == 8)
    assert not any("5 folds" in line for line in told)
