"""Work on some frames at a time on all cores, each piece on one: frames are many and what is done to a few is small."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """What `work` makes of each item, in the items' order, as many at once as torch has threads.

    Sums over the results are therefore the same numbers on any count of cores. Results wait for at most one item more
    than there are threads, so memory does not grow with the items.

    Args:
        work: run in other threads, with gradients on or off as they are here; it must not change what others read.
        items: taken one after the other, in the caller's thread.
    Raises:
        whatever `work` raises, when the turn comes to its item.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield from map(work, items)
        return
    graded = torch.is_grad_enabled()

    def alone() -> None:
        # one thread for its operations: pieces side by side are quicker than one piece in parts
        torch.set_num_threads(1)
        torch.set_grad_enabled(graded)

    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, initializer=alone)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # of threads to come; a worker's own number is the worker's
