"""Pieces of work side by side: in order, one core each, and stopped by what stops one."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from bias_audit.parallel import side_by_side


@pytest.fixture(autouse=True)
def _two_cores() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_several_threads() -> None:
    met = threading.Barrier(2, timeout=30)

    def work(item: int) -> tuple[int, int]:
        met.wait()  # both are at work at once
        return item, torch.get_num_threads()

    assert [*side_by_side(work, [0, 1, 2, 3], 2)] == [(each, 1) for each in range(4)]
    assert torch.get_num_threads() == 2
    lasting = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    found: list[int] = []
    lasting.start()
    lasting.join()
    assert found == [2]


@pytest.mark.parametrize("workers", [0, 1])
def test_one_worker_is_this_thread(workers: int) -> None:
    here = threading.get_ident()
    assert {*side_by_side(lambda _: threading.get_ident(), range(3), workers)} == {here}


def test_workers_start_no_workers() -> None:
    def inner(_: int) -> set[int]:
        return {*side_by_side(lambda _: threading.get_ident(), range(3), 2)}

    assert all(len(each) == 1 for each in side_by_side(inner, range(4), 2))


def test_an_error_stops_what_has_not_begun() -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        time.sleep(0.05)
        if item == 0:
            raise ValueError("item 0")

    with pytest.raises(ValueError, match="item 0"):
        [*side_by_side(work, range(50), 2)]
    assert len(begun) < 10
    assert torch.get_num_threads() == 2


def test_settings_of_numpy_reach_the_workers() -> None:
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        [*side_by_side(lambda n: np.float64(1) / np.float64(n), [0, 0], 2)]
