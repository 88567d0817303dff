"""Work on many frames: on all cores, and the same numbers on any count of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from headavatar.workers import in_order


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    waits = np.random.default_rng().uniform(0, 0.004, 20)

    def work(i: int) -> int:
        time.sleep(waits[i])
        return i * i

    assert list(in_order(work, range(20))) == [i * i for i in range(20)]


def test_pieces_are_worked_on_at_the_same_time_and_each_on_one_core(threads: int) -> None:
    together = threading.Barrier(threads, timeout=20)

    def work(_: int) -> tuple[int, bool]:
        together.wait()  # none would come through if they waited for one another
        return torch.get_num_threads(), torch.is_grad_enabled()

    with torch.no_grad():
        assert list(in_order(work, range(2 * threads))) == [(1, False)] * (2 * threads)
    assert torch.get_num_threads() == threads


def test_no_more_results_wait_than_there_are_threads(threads: int) -> None:
    taken = []

    def item(i: int) -> int:
        taken.append(i)
        return i

    for done, _ in enumerate(in_order(lambda i: i, map(item, range(100))), start=1):
        assert len(taken) <= done + threads


def test_an_error_arrives_with_its_item_and_ends_the_work(threads: int) -> None:
    started = []

    def work(i: int) -> int:
        started.append(i)
        if i == 3:
            raise ValueError("the fourth")
        return i

    results = in_order(work, range(1000))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(results)
    assert len(started) <= 4 + threads + 1
    assert torch.get_num_threads() == threads
