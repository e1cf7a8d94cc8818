"""What was computed is kept for its owner, found again, and made again where it is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bias_audit.cache import Arrays, Cache, CacheEntry
from bias_audit.files import sha256_of


def entry(cache: Cache, *inputs: str) -> CacheEntry:
    return CacheEntry(cache, "count", inputs, sha256_of)


def made(number: int) -> Arrays:
    return {"n": np.array(number)}


def counted(begun: Arrays | None, stop: int = 3) -> Iterator[Arrays]:
    for number in range(1 + _n(begun), stop + 1):
        yield made(number)


def _n(found: Arrays | None) -> int:
    return 0 if found is None else int(found["n"])


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_is_kept_is_not_computed_again(tmp_path: Path, in_memory: bool) -> None:
    cache = Cache(None if in_memory else tmp_path / "cache")
    for number, inputs in enumerate((["a"], ["b"], ["a", "b"], ["ab"])):
        assert entry(cache, *inputs).read() is None
        for later in (number, 99):
            found = entry(cache, *inputs).or_computed(partial(made, later))
            assert _n(found) == number


def test_work_in_pieces_goes_on_where_it_was(tmp_path: Path) -> None:
    begun = entry(Cache(tmp_path))
    assert _n(begun.resumed(partial(counted, stop=2))) == _n(begun.read()) == 2
    assert [_n(state) for state in counted(begun.read())] == [3]
    for _ in range(2):  # the second time nothing is left to do
        assert _n(begun.resumed(counted)) == 3
    assert entry(Cache(tmp_path), "other").resumed(partial(counted, stop=0)) is None


def test_a_damaged_entry_is_computed_again(tmp_path: Path) -> None:
    kept = entry(Cache(tmp_path))
    kept.write({"x": np.arange(300)})
    kept.path.write_bytes(kept.path.read_bytes()[:200])
    assert kept.read() is None


def test_the_cache_is_for_its_owner_only(tmp_path: Path) -> None:
    entry(Cache(tmp_path / "cache")).write({"x": np.arange(3)})
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0
