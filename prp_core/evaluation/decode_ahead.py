"""Videos read a few ahead of their consumer, in order, broken ones included."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from prp_core.errors import BrokenVideo

Item = TypeVar("Item")
Value = TypeVar("Value")


def decode_ahead(
    items: Iterable[Item], read: Callable[[Item], Value], num_threads: int
) -> Iterator[tuple[Item, Value | BrokenVideo]]:
    """``(item, read(item))`` in the order of `items`, at most two per thread read ahead.

    A `BrokenVideo` is yielded in place of the value; any other error is raised. When the
    consumer stops, so does the reading.
    """
    with ThreadPoolExecutor(num_threads, thread_name_prefix="decode-ahead") as threads:
        waiting: deque[tuple[Item, Future[Value]]] = deque()
        try:
            for item in items:
                waiting.append((item, threads.submit(read, item)))
                if len(waiting) > 2 * num_threads:
                    first, future = waiting.popleft()
                    yield first, _value_or_broken(future)
            while waiting:
                first, future = waiting.popleft()
                yield first, _value_or_broken(future)
        finally:
            for _, future in waiting:
                future.cancel()


def _value_or_broken(future: Future[Any]) -> Any:
    try:
        return future.result()
    except BrokenVideo as broken:
        return broken
